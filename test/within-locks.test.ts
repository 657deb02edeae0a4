/** What a transaction that holds a domain means for others: isolation, waiting, deadlocks, load. */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type Backend, openStore, type Store, type TransactionClient, verifyDomain } from '../src/index.ts'
import { type Holder, pgHolder } from './within/holders.ts'

const server = inject('postgres')
const url = 'url' in server ? server.url : ''
const domains = { app: { collections: { notes: {} } }, other: {} } as const

let schema: string
let store: Store<typeof domains>
let holder: Holder
let admin: pg.Client
const holders: Holder[] = []
const holding = (begin?: string) => {
  const made = pgHolder(url, `${schema}.own`, begin)
  holders.push(made)
  return made
}

beforeEach(async ({ skip }) => {
  skip('reason' in server, 'reason' in server ? server.reason : '')
  schema = `l_${randomBytes(4).toString('hex')}`
  store = await openStore(`${url}?schema=${schema}`, { domains })
  admin = new pg.Client(url)
  await admin.connect()
  await admin.query(`CREATE TABLE ${schema}.own (n integer)`)
  holder = holding()
})
afterEach(async () => {
  await Promise.all([store?.close(), ...holders.splice(0).map((made) => made.close())])
  await admin?.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await admin?.end()
})

const event = (n: number) => ({ type: 'x', data: n })
const backendOf = (opened: Store<typeof domains>) => [...opened.backends.values()][0] as Backend

describe('a domain within a caller’s transaction', () => {
  it('is locked from the first commit on, not before, and until the caller commits', async () => {
    const app = store.domain('app')
    const other = await openStore(`${url}?schema=${schema}`, { domains })
    let isDone = false
    let waiting: Promise<unknown> = Promise.resolve()
    await holder.transaction(async ({ client, write }) => {
      const held = app.within(client)
      await write(1)
      expect(await held.log.seq('s')).toBe(0)
      await other.domain('app').log.append('s', event(1))
      await app.log.append('s', event(2))
      expect((await held.log.append('s', event(3))).seqs).toEqual([3])
      waiting = Promise.all([
        other.domain('app').log.append('s', event(4)),
        app.log.append('s', event(5)),
      ]).then(() => (isDone = true))
      await other.domain('other').log.append('s', event(1))
      await delay(200)
      expect(isDone).toBe(false)
      expect(await app.log.seq('s')).toBe(2)
    })
    await waiting
    expect((await app.log.read('s')).events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5])
    await other.close()
  })

  it('is never seen by the feed before it is committed, and is then seen once', async () => {
    const app = store.domain('app')
    const stop = new AbortController()
    const seen: unknown[] = []
    const following = (async () => {
      for await (const item of app.follow({ after: await app.head(), signal: stop.signal }))
        if (item.kind === 'event') seen.push(item.data)
    })()
    await holder.transaction(async ({ client }) => {
      await app.within(client).log.append('s', event(1))
      await delay(150)
      expect(seen).toEqual([])
    })
    const rolledBack = holder.transaction(async ({ client }) => {
      await app.within(client).log.append('s', event(2))
      throw new Error('no')
    })
    await expect(rolledBack).rejects.toThrow('no')
    await app.log.append('s', event(3))
    while (!seen.includes(3)) await delay(5)
    stop.abort()
    await following
    expect(seen).toEqual([1, 3])
  })

  it('that failed a check is let go at once', async () => {
    const app = store.domain('app')
    await holder.transaction(async ({ client }) => {
      const held = app.within(client)
      await expect(held.log.append('s', event(1), { expect: 'some' })).rejects.toMatchObject({
        code: 'conflict',
      })
      // It would wait for this transaction, which waits for it.
      await app.log.append('s', event(1))
      await held.log.append('s', event(2), { expect: 1 })
    })
    expect(await app.log.seq('s')).toBe(2)
  })

  it('takes a commit id once, across transactions, and not at all when rolled back', async () => {
    const app = store.domain('app')
    const attempt = (fail: boolean) =>
      holder.transaction(async ({ client }) => {
        const result = await app.within(client).log.append('s', event(1), { id: 'request' })
        const again = await app.within(client).log.append('s', event(1), { id: 'request' })
        expect(again).toMatchObject({ isReplay: true, positions: result.positions })
        if (fail) throw new Error('rolled back')
        return result
      })
    await expect(attempt(true)).rejects.toThrow('rolled back')
    expect(await app.log.seq('s')).toBe(0)
    expect((await attempt(false)).isReplay).toBe(false)
    expect((await attempt(false)).isReplay).toBe(true)
    expect((await app.log.append('s', event(1), { id: 'request' })).isReplay).toBe(true)
    expect(await app.log.seq('s')).toBe(1)
  })

  it('runs a transaction facet again when something it read was changed meanwhile', async () => {
    const app = store.domain('app')
    await app.documents('notes').put('n', 0)
    let runs = 0
    await holder.transaction(async ({ client }) => {
      await app.within(client).transaction(async (tx) => {
        const found = (await tx.get('notes', 'n')) as { value: number } | undefined
        if (runs++ === 0) await app.documents('notes').put('n', 10)
        tx.put('notes', 'n', (found?.value ?? 0) + 1)
      })
    })
    expect(runs).toBe(2)
    expect((await app.documents('notes').get('n'))?.value).toBe(11)
  })

  it('stands beside another domain in one transaction, by calls that come at once', async () => {
    await holder.transaction(async ({ client, write }) => {
      const [app, other] = [store.domain('app').within(client), store.domain('other').within(client)]
      await Promise.all([
        app.log.append('s', event(1)),
        other.log.append('s', event(1)),
        expect(other.log.append('s', event(0), { expect: 7 })).rejects.toMatchObject({ code: 'conflict' }),
        app.log.append('s', event(2)),
        other.log.append('s', event(2)),
      ])
      await write(1)
    })
    for (const name of ['app', 'other'] as const)
      expect((await store.domain(name).log.read('s')).events.map(({ data }) => data)).toEqual([1, 2])
  })

  it('declares a collection in the caller’s transaction, and the store knows it afterwards', async () => {
    const put = (name: string) => [
      {
        kind: 'put',
        collection: '$collections',
        id: name,
        data: '{"fields":{},"indexes":{}}',
        expiresAt: null,
      },
    ]
    const backend = backendOf(store)
    await holder.transaction(async ({ client }) => {
      const [outcome] = await backend
        .within(client)
        .commit('app', 1, [{ at: 1, writes: put('late') as never, checks: [] }])
      expect(outcome).toMatchObject({ kind: 'committed' })
    })
    const write = { kind: 'put', collection: 'late', id: 'd', data: '1', expiresAt: null }
    const [outcome] = await backend.commit('app', 1, [{ at: 1, writes: [write] as never, checks: [] }])
    expect(outcome).toMatchObject({ kind: 'committed' })
  })
})

describe('the isolation of a caller’s transaction', () => {
  it.each(['REPEATABLE READ', 'SERIALIZABLE'])(
    '%s: commits, and is refused when somebody came between',
    async (level) => {
      const app = store.domain('app')
      const strict = holding(`BEGIN ISOLATION LEVEL ${level}`)
      await strict.transaction(async ({ client }) => {
        const held = app.within(client)
        await held.log.append('s', event(1))
        await held.log.append('s', event(2))
        expect(await held.log.seq('s')).toBe(2)
      })
      const late = strict.transaction(async ({ client, write }) => {
        const held = app.within(client)
        expect(await held.log.seq('s')).toBe(2)
        await app.log.append('s', event(3))
        await write(1)
        await held.log.append('s', event(4))
      })
      await expect(late).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining('whole transaction'),
      })
      expect(await app.log.seq('s')).toBe(3)
      expect((await admin.query(`SELECT n FROM ${schema}.own`)).rows).toEqual([])
    },
  )

  it('two transactions that lock two domains crosswise end in a deadlock, which one of them survives', async () => {
    let bothAreThere = () => {}
    const meeting = new Promise<void>((resolve) => (bothAreThere = resolve))
    let arrived = 0
    const crosswise = (first: 'app' | 'other', second: 'app' | 'other') =>
      holder.transaction(async ({ client }) => {
        await store.domain(first).within(client).log.append('s', event(1))
        if (++arrived === 2) bothAreThere()
        await meeting
        await store.domain(second).within(client).log.append('s', event(2))
      })
    const results = await Promise.allSettled([crosswise('app', 'other'), crosswise('other', 'app')])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const failed = results.find(({ status }) => status === 'rejected') as PromiseRejectedResult
    expect(failed.reason).toMatchObject({ code: 'unavailable', message: expect.stringContaining('deadlock') })
    for (const name of ['app', 'other'] as const) expect(await store.domain(name).log.seq('s')).toBe(1)
  })
})

describe('what cannot be done within a transaction', () => {
  it('a client of another database is refused, though it has a domain of that name', async () => {
    const name = `db_${schema}`
    await admin.query(`CREATE DATABASE ${name}`)
    const elsewhere = new URL(url)
    elsewhere.pathname = `/${name}`
    const copy = await openStore(`${elsewhere.href}?schema=${schema}`, { domains })
    const client = new pg.Client(elsewhere.href)
    await client.connect()
    await client.query('BEGIN')
    const lost = store.domain('app').within(client).log.append('s', event(1))
    await expect(lost).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('another database'),
    })
    await client.query('COMMIT')
    expect(await copy.domain('app').log.seq('s')).toBe(0)
    await client.end()
    await copy.close()
    await admin.query(`DROP DATABASE ${name}`)
  })

  it('is refused by name', async () => {
    await holder.transaction(async ({ client }) => {
      const within = backendOf(store).within(client)
      const fence = await within.fence('app')
      for (const call of [
        () => within.open(),
        () => within.close(),
        () => within.apply('app', 1, { items: [], next: 1, epoch: 1, role: 'authority', head: 1 }),
        () => within.transition('app', fence, fence),
        async () => within.watch('app', new AbortController().signal),
        async () => within.within(client),
        async () => store.domain('app').within(client).within(client),
      ])
        await expect(call()).rejects.toMatchObject({ code: 'unsupported' })
    })
  })

  it('is refused on a backend that cannot, before anything is written', async () => {
    const kept = await openStore(memory(), { domains })
    expect(() => kept.domain('app').within(async () => [])).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    )
    await kept.close()
  })

  it('a pool, a database or nothing at all is no client, by type and at run time', () => {
    const pool = new pg.Pool({ connectionString: url })
    const app = store.domain('app')
    // @ts-expect-error each query of a pool may go to another session
    expect(() => app.within(pool)).toThrow(TypeError)
    for (const none of [undefined, null, 1, 'BEGIN', {}])
      expect(() => app.within(none as never)).toThrow(TypeError)
  })

  it('a transaction that has failed already takes nothing, and the store that was closed neither', async () => {
    const app = store.domain('app')
    const failed = holder.transaction(async ({ client }) => {
      await expect((client as pg.Client).query('SELECT 1/0')).rejects.toMatchObject({ code: '22012' })
      await app.within(client).log.append('s', event(1))
    })
    await expect(failed).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('failed already'),
    })
    await holder.transaction(async ({ client }) => {
      const held = app.within(client as TransactionClient)
      await held.log.append('s', event(1))
      await store.close()
      await expect(held.log.append('s', event(2))).rejects.toMatchObject({ code: 'closed' })
    })
  })

  it('a plain commit of the same domain, awaited inside, waits for its own caller until the deadline', async () => {
    const hasty = await openStore(`${url}?schema=${schema}`, { domains, deadlineMs: 1_500 })
    await holder.transaction(async ({ client }) => {
      await hasty.domain('app').within(client).log.append('s', event(1))
      await expect(hasty.domain('app').log.append('s', event(2))).rejects.toMatchObject({ code: 'unknown' })
    })
    await hasty.close()
    // It was under way, and went on when the transaction ended: that is what unknown says.
    expect(await store.domain('app').log.seq('s')).toBe(2)
  })
})

describe('8 callers within transactions beside 16 plain ones', () => {
  it('leave positions without a gap, nothing lost, nothing double, and own rows that match', async () => {
    const app = store.domain('app')
    const first = await app.head()
    const rounds = 12
    const kept: number[] = []
    const within = Array.from({ length: 8 }, async (_, caller) => {
      for (let round = 0; round < rounds; round++) {
        const n = 1_000 * (caller + 1) + round
        await holder
          .transaction(async ({ client, write }) => {
            await write(n)
            await app.within(client).log.append(`s-${n % 3}`, event(n))
            if (round % 4 === 3) throw new Error('rolled back')
          })
          .then(
            () => kept.push(n),
            (error: Error) => expect(error.message).toBe('rolled back'),
          )
      }
    })
    const plain = Array.from({ length: 16 }, async (_, caller) => {
      for (let round = 0; round < rounds * 2; round++) {
        const n = 100_000 * (caller + 1) + round
        await app.log.append(`s-${n % 3}`, event(n))
        kept.push(n)
      }
    })
    await Promise.all([...within, ...plain])
    const positions: number[] = []
    const found: number[] = []
    for (let after = first, head = Number.POSITIVE_INFINITY; after < head; ) {
      const page = await app.changes({ after })
      for (const item of page.items) {
        positions.push(item.position)
        if (item.kind === 'event') found.push(item.data as number)
      }
      after = page.next
      head = page.head
    }
    expect(positions).toEqual(kept.map((_, i) => first + 1 + i))
    expect(found.sort((a, b) => a - b)).toEqual(kept.sort((a, b) => a - b))
    const { rows } = await admin.query(`SELECT n FROM ${schema}.own ORDER BY n`)
    expect(rows.map(({ n }) => n)).toEqual(kept.filter((n) => n < 100_000))
    expect(await verifyDomain(backendOf(store), 'app')).toMatchObject({ isSound: true })
  }, 60_000)
})
