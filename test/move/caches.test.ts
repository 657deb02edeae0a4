/** What processes keep in memory of a domain stays right while it leaves a backend, returns, and is copied anew. */
import pg from 'pg'
import { beforeEach, describe, expect, it } from 'vitest'
import { collection, type Domains, type Store } from '../../src/index.ts'
import { cutover, giveUp, start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { turned } from '../../src/move/sides.ts'
import { compareSides } from '../../src/move/verify.ts'
import { DurableMap, openStoreSync } from '../../src/sync.ts'
import { placePairs } from '../places.ts'
import { type BothSides, bothSides, catchUp, moveAndComplete, moveOver, sidesOf } from './both-sides.ts'

interface Thing {
  n: number
}
const plain = { app: { collections: { things: collection<Thing>() } } } as const
const indexed = {
  app: {
    collections: {
      things: collection<Thing>({ fields: { n: 'number' }, indexes: { by_n: { fields: ['n'] } } }),
    },
  },
} as const
const more = {
  app: {
    collections: {
      things: collection<Thing>({
        fields: { n: 'number', m: 'number' },
        indexes: { by_n: { fields: ['n'] }, by_m: { fields: ['m'] } },
      }),
    },
  },
} as const
const unique = {
  app: {
    collections: {
      things: collection<Thing>({
        fields: { n: 'number' },
        indexes: { one_n: { fields: ['n'], unique: true } },
      }),
    },
  },
} as const

describe.each(placePairs)('a process that writes $name', (pair) => {
  const { a, b } = pair
  let places: BothSides
  beforeEach((context) => {
    places = bothSides(context, pair)
  })
  const things = (store: Store<typeof plain>) => store.domain('app').documents('things')
  const append = (store: Store<typeof plain>) => store.domain('app').log.append('s', { type: 'E', data: 0 })

  it.each([
    ['holds less at it', plain],
    ['has no index there yet', more],
  ] as const)(
    'does not take a copy that was made anew for the one it knew at the same head: it %s',
    async (_what, then) => {
      const mover = await places.open(plain)
      const there = sidesOf(mover as Store<Domains>)
      await moveAndComplete(there)
      // This one writes at b, and remembers what b holds at this head.
      const late = await places.open(indexed)
      await things(late).put('x', { n: 1 })
      await things(late).put('y', { n: 1 })
      const known = (await append(late)).positions[0] as number
      await moveAndComplete(turned(there))
      // What supersedes it is further on in the feed: the new copy will lack it at that head.
      await things(mover).put('x', { n: 2 })
      const again = await places.open(then)
      const sides = sidesOf(again as Store<Domains>)
      await start(sides)
      while ((await mirrorPage(sides, 1)).position < known);
      expect((await sides.target.fence('app')).head).toBe(known)
      const lateSides = sidesOf(late as Store<Domains>)
      await catchUp(lateSides)
      expect(await compareSides(lateSides)).toMatchObject({ differences: [], isEqual: true })
      await cutover(lateSides)
      const found = await things(late).list({ index: 'by_n', equals: [2] } as never)
      expect(found.documents.map(({ id }) => id)).toEqual(['x'])
      await things(late).put('x', { n: 3 })
      await things(again as never).put('y', { n: 3 })
      expect((await things(late).list()).documents.map(({ value }) => value)).toEqual([{ n: 3 }, { n: 3 }])
      expect((await append(late)).seqs).toEqual([2])
    },
  )

  it('writes on what is there when authority comes back that left behind its back', async () => {
    const mover = await places.open(plain)
    const stopped = await places.open(plain)
    await things(stopped).put('x', { n: 1 })
    await append(stopped)
    const there = sidesOf(mover as Store<Domains>)
    await moveAndComplete(there)
    await things(mover).put('x', { n: 2 })
    await append(mover)
    await moveAndComplete(turned(there))
    await expect(things(stopped).put('x', { n: 9 }, { expect: 'absent' })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect((await things(stopped).get('x'))?.value).toEqual({ n: 2 })
    expect((await append(stopped)).seqs).toEqual([3])
  })

  it('declares a unique index while the follower holds documents that are in its way', async () => {
    const store = await places.open(plain)
    const sides = sidesOf(store as Store<Domains>)
    const docs = things(store)
    for (const id of ['p', 'q', 'r', 's']) await docs.put(id, { n: 1 })
    await start(sides)
    await catchUp(sides)
    // The follower holds four of one key. In the feed the definition comes first, then what made room for it.
    await docs.put('q', { n: 2 })
    await docs.delete('r')
    await docs.put('s', { n: 4 })
    const declaring = await places.open(unique)
    await docs.put('q', { n: 3 })
    await docs.put('r', { n: 2 })
    await catchUp(sides, 1)
    expect(await compareSides(sides)).toMatchObject({ differences: [], isEqual: true })
    await cutover(sides)
    expect((await sides.target.fence('app')).role).toBe('authority')
    await expect(things(declaring as never).put('t', { n: 1 })).rejects.toMatchObject({ code: 'conflict' })
    await expect(docs.put('q', { n: 2 })).rejects.toMatchObject({ code: 'conflict' })
    const all = (await docs.list()).documents.map(({ id, value }) => [id, value.n])
    expect(all).toEqual([
      ['p', 1],
      ['q', 3],
      ['r', 2],
      ['s', 4],
    ])
    // And back: the old side takes the index that the new one enforces.
    await docs.put('p', { n: 5 })
    await catchUp(turned(sides))
    await cutover(turned(sides))
    await expect(docs.put('p', { n: 2 })).rejects.toMatchObject({ code: 'conflict' })
  })

  it('through a synchronous store is refused while the domain is elsewhere, told where, and goes on when it is back', async ({
    skip,
  }) => {
    // Reason: a synchronous store is embedded.
    skip(a.name === 'postgres', 'PostgreSQL has no synchronous verbs')
    const mover = await places.open(plain)
    const sync = openStoreSync(places.targets.a, { domains: plain })
    const map = new DurableMap<string, number>(sync.domain('app'), 'users').set('x', 1)
    const there = sidesOf(mover as Store<Domains>)
    await moveOver(there)
    for (const call of [() => map.get('x'), () => map.set('x', 2), () => sync.domain('app').log.seq('s')])
      expect(call).toThrow(
        expect.objectContaining({
          code: 'fenced',
          message: 'Domain app is follower here: it was moved',
          hint: expect.stringContaining('openStore'),
        }),
      )
    const elsewhere = await places.open({ app: { collections: { users: {} } } })
    const [stored] = (await elsewhere.domain('app').documents('users').list()).documents
    await elsewhere
      .domain('app')
      .documents('users')
      .delete(stored?.id as string)
    await catchUp(turned(there))
    await cutover(turned(there))
    expect(map.has('x')).toBe(false)
    expect(map.set('y', 3).get('y')).toBe(3)
    if (typeof places.targets.a === 'string') sync.close()
  })

  it('within a transaction of its own commits where the domain is now', async ({ skip }) => {
    // Reason: only PostgreSQL commits in a caller's transaction.
    skip(a.name === 'postgres' || b.name !== 'postgres', 'a move to PostgreSQL is meant')
    const mover = await places.open(plain)
    const late = await places.open(plain)
    await append(late)
    const pool = new pg.Pool({ connectionString: String(places.targets.b).split('?')[0] })
    const client = await pool.connect()
    const inTransaction = async () => {
      await client.query('BEGIN')
      try {
        const result = await late.domain('app').within(client).log.append('s', { type: 'E', data: 1 })
        await client.query('COMMIT')
        return result
      } catch (error) {
        await client.query('ROLLBACK')
        throw error
      }
    }
    try {
      await expect(inTransaction()).rejects.toMatchObject({ code: 'unsupported' })
      await moveOver(sidesOf(mover as Store<Domains>))
      expect((await inTransaction()).seqs).toEqual([2])
      await catchUp(turned(sidesOf(mover as Store<Domains>)))
      await giveUp(turned(sidesOf(mover as Store<Domains>)))
      expect((await inTransaction()).seqs).toEqual([3])
    } finally {
      client.release()
      await pool.end()
    }
  })
})
