import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import {
  type Clock,
  type CollectionOptions,
  collection,
  events,
  type IndexOptions,
  openStore,
  systemClock,
} from '../src/index.ts'
import { Forward } from '../src/wrapper/forward.ts'

let folder: string
let stores: { close(): Promise<void> }[]
let now: number

const clock: Clock = { ...systemClock, now: () => now }

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-facets-'))
  stores = []
  now = 1_000_000
})

afterEach(async () => {
  for (const store of stores) await store.close()
  rmSync(folder, { recursive: true, force: true })
})

type Placed = { type: 'Placed'; data: { total: number }; meta?: { by: string } }
type Paid = { type: 'Paid'; data: null }
interface Order {
  readonly total: number
  readonly status?: string | null
  readonly code?: string
}

const userSchema = z.object({ email: z.email(), address: z.object({ city: z.string() }).optional() })
const domains = {
  shop: {
    events: events<Placed | Paid>(),
    collections: {
      orders: collection<Order>({
        fields: { status: 'string', total: 'number', code: 'string' },
        indexes: {
          by_status: { fields: ['status', 'total'] },
          one_code: { fields: ['code'], unique: true },
          one_open: { fields: ['total'], unique: true, where: { status: 'open' } },
        },
      }),
      users: collection({ schema: userSchema }),
      counters: collection<number>(),
    },
  },
  chat: {},
} as const

async function open(target: string | Backend, deadlineMs = 10_000) {
  const store = await openStore(target, { domains, clock, deadlineMs })
  stores.push(store)
  return store
}

const failing = (code: string) => expect.objectContaining({ code })
const placed = (total: number): Placed => ({ type: 'Placed', data: { total } })

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of from) items.push(item)
  return items
}

/** The same place each time within a test, so that a second `open` is a second process or a restart. */
const places: [string, () => () => string | Backend][] = [
  [
    'memory',
    () => {
      const backend = memory()
      return () => backend
    },
  ],
  ['sqlite', () => () => `sqlite:${join(folder, 'app.db')}`],
]

describe.each(places)('the log on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('appends one event or several, and reads them with type, data, meta, time and position', async () => {
    const { log } = await shop()
    const one = await log.append('o1', { ...placed(5), meta: { by: 'ann' } })
    const two = await log.append('o1', [placed(6), { type: 'Paid', data: null }])
    expect(one).toMatchObject({ seqs: [1], isReplay: false })
    expect(two.seqs).toEqual([2, 3])
    expect(two.positions).toEqual([one.position + 1, one.position + 2])
    const { events, next } = await log.read('o1')
    expect(events[0]).toEqual({
      stream: 'o1',
      seq: 1,
      type: 'Placed',
      data: { total: 5 },
      meta: { by: 'ann' },
      at: now,
      position: one.position,
    })
    expect(events.map(({ type, meta }) => [type, meta])).toEqual([
      ['Placed', { by: 'ann' }],
      ['Placed', undefined],
      ['Paid', undefined],
    ])
    expect(next).toBeUndefined()
  })

  it('reads parts of a stream in both directions', async () => {
    const { log } = await shop()
    await log.append(
      'o1',
      Array.from({ length: 10 }, (_, i) => placed(i + 1)),
    )
    const seqs = async (options: Parameters<typeof log.read>[1]) =>
      (await log.read('o1', options)).events.map(({ seq }) => seq)
    expect(await seqs({ after: 3, before: 6 })).toEqual([4, 5])
    expect(await seqs({ backwards: true, limit: 2 })).toEqual([10, 9])
    expect(await seqs({ backwards: true, after: 8 })).toEqual([10, 9])
    const first = await log.read('o1', { backwards: true, limit: 4, before: 9 })
    expect(first.next).toMatchObject({ before: 5, backwards: true })
    expect(await seqs(first.next)).toEqual([4, 3, 2, 1])
    expect((await collect(log.events('o1', { backwards: true, limit: 3 }))).map(({ seq }) => seq)).toEqual([
      10, 9, 8,
    ])
    expect(await collect(log.events('o1', { after: 4 }))).toHaveLength(6)
    expect(await log.seq('o1')).toBe(10)
    expect(await log.seq('none')).toBe(0)
  })

  it('expects an exact seq, none, or some, and says what it found instead', async () => {
    const { log } = await shop()
    await expect(log.append('o', placed(1), { expect: 'some' })).rejects.toEqual(failing('conflict'))
    await log.append('o', placed(1), { expect: 'none' })
    await log.append('o', placed(2), { expect: 1 })
    await log.append('o', placed(3), { expect: 'some' })
    await expect(log.append('o', placed(4), { expect: 1 })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'stream', stream: 'o', expected: 1, found: 3 }] },
    })
    await expect(log.append('o', placed(4), { expect: 'none' })).rejects.toEqual(failing('conflict'))
    await expect(log.append('o', placed(4), { expect: -1 })).rejects.toEqual(failing('invalid'))
    expect(await log.seq('o')).toBe(3)
  })

  it('refuses an expectation that is undefined, rather than taking it for none', async () => {
    const { log, documents } = await shop().then((domain) => ({
      log: domain.log,
      documents: domain.documents('counters'),
    }))
    const options = { expect: undefined } as unknown as { expect: number }
    await expect(log.append('o', placed(1), options)).rejects.toEqual(failing('invalid'))
    await expect(documents.put('a', 1, options)).rejects.toEqual(failing('invalid'))
    await expect(documents.delete('a', options)).rejects.toEqual(failing('invalid'))
    expect(await log.seq('o')).toBe(0)
  })

  it('rejects bad input instead of throwing, and writes nothing of it', async () => {
    const domain = await shop()
    const head = await domain.head()
    const bad = [placed(1), { type: 'Placed', data: { total: Number.NaN } }] as Placed[]
    await expect(domain.log.append('o', bad)).rejects.toMatchObject({
      code: 'invalid',
      details: { path: 'total' },
    })
    await expect(domain.log.append('', placed(1))).rejects.toEqual(failing('invalid'))
    await expect(domain.log.append('o', placed(1), { id: '' })).rejects.toEqual(failing('invalid'))
    expect(await domain.head()).toBe(head)
  })

  it('applies a commit with an id once, also after a restart, and refuses the id for other changes', async () => {
    const place = at()
    const first = (await open(place())).domain('shop')
    const done = await first.log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })
    expect(await first.log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })).toEqual({
      ...done,
      isReplay: true,
    })
    await stores.pop()?.close()
    const { log } = (await open(place())).domain('shop')
    expect(await log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })).toEqual({
      ...done,
      isReplay: true,
    })
    await expect(log.append('o', placed(3), { id: 'r1' })).rejects.toEqual(failing('mismatch'))
    expect(await log.seq('o')).toBe(2)
  })

  it('forgets a commit id when it expires', async () => {
    const { log } = await shop()
    await log.append('o', placed(1), { id: 'r1', idExpiresInMs: 1_000 })
    now += 1_000
    expect(await log.append('o', placed(1), { id: 'r1', idExpiresInMs: 1_000 })).toMatchObject({
      seqs: [2],
      isReplay: false,
    })
  })

  it('applies one of many commits with the same id that are sent at once', async () => {
    const { log } = await shop()
    const results = await Promise.all(
      Array.from({ length: 10 }, () => log.append('o', placed(1), { id: 'r1' })),
    )
    expect(results.filter(({ isReplay }) => !isReplay)).toHaveLength(1)
    expect(new Set(results.map(({ position }) => position)).size).toBe(1)
  })
})

describe.each(places)('documents on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('puts, gets, replaces and deletes, with revisions that only grow', async () => {
    const orders = (await shop()).documents('orders')
    const one = await orders.put('a', { total: 1 }, { expect: 'absent' })
    expect(await orders.get('a')).toEqual({
      id: 'a',
      value: { total: 1 },
      revision: one.position,
      at: now,
      expiresAt: undefined,
    })
    const two = await orders.put('a', { total: 2 }, { expect: one.position })
    expect(two.position).toBeGreaterThan(one.position)
    await expect(orders.put('a', { total: 3 }, { expect: one.position })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'document', expected: one.position, found: two.position }] },
    })
    await orders.delete('a', { expect: 'present' })
    expect(await orders.get('a')).toBeUndefined()
    await expect(orders.delete('a', { expect: 'present' })).rejects.toEqual(failing('conflict'))
    await orders.put('a', { total: 4 }, { expect: 'absent' })
    expect((await orders.get('a'))?.value).toEqual({ total: 4 })
  })

  it('gets several documents in the order of the ids', async () => {
    const orders = (await shop()).documents('orders')
    await orders.put('a', { total: 1 })
    await orders.put('b', { total: 2 })
    await orders.delete('b')
    const found = await orders.getMany(['b', 'a', 'x', 'a'])
    expect(found.map((document) => document?.value.total)).toEqual([undefined, 1, undefined, 1])
    expect(await orders.getMany([])).toEqual([])
  })

  it('stores what the schema returns, and names the path of what does not fit', async () => {
    const users = (await shop()).documents('users')
    await users.put('u', { email: 'a@example.org', address: { city: 'Oslo', extra: 1 } } as never)
    expect((await users.get('u'))?.value).toEqual({ email: 'a@example.org', address: { city: 'Oslo' } })
    const misfit = users.put('v', { email: 'a@example.org', address: { city: 5 as never } })
    await expect(misfit).rejects.toMatchObject({
      code: 'invalid',
      details: { issues: [{ path: 'address.city' }] },
    })
    await expect(misfit).rejects.toThrow(/address\.city/)
    expect(await users.get('v')).toBeUndefined()
  })

  it('refuses a declared field of another type', async () => {
    const orders = (await shop()).documents('orders')
    await expect(orders.put('a', { total: 1, status: 7 as never })).rejects.toMatchObject({
      code: 'invalid',
      details: { path: 'status' },
    })
    await orders.put('a', { total: 1, status: null })
  })

  it('lists by id prefix and by index, with bounds, in both directions', async () => {
    const orders = (await shop()).documents('orders')
    for (const [i, status] of ['new', 'paid', 'new', 'paid', 'new'].entries())
      await orders.put(`o${i}`, { total: 10 * i, status })
    await orders.put('x', { total: 1 })
    const ids = async (options: Parameters<typeof orders.list>[0]) =>
      (await orders.list(options)).documents.map(({ id }) => id)
    expect(await ids({ prefix: 'o', backwards: true })).toEqual(['o4', 'o3', 'o2', 'o1', 'o0'])
    expect(await ids({ index: 'by_status', equals: ['new'] })).toEqual(['o0', 'o2', 'o4'])
    expect(await ids({ index: 'by_status', equals: ['new'], from: 20 })).toEqual(['o2', 'o4'])
    expect(await ids({ index: 'by_status', equals: ['new'], below: 20 })).toEqual(['o0'])
    expect(await ids({ index: 'by_status', backwards: true, from: 'new', below: 'o' })).toEqual([
      'o4',
      'o2',
      'o0',
    ])
    expect((await ids({ index: 'by_status' }))[0]).toBe('x')
    await expect(orders.list({ equals: ['new'] })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ index: 'nothing' })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ index: 'by_status', prefix: 'o' })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ limit: 0 })).rejects.toEqual(failing('invalid'))
  })

  it.each([false, true])(
    'goes on by cursor without skipping or repeating under writes (backwards: %s)',
    async (backwards) => {
      const orders = (await shop()).documents('orders')
      for (let i = 10; i < 30; i++) await orders.put(`o${i}`, { total: i, status: i % 2 ? 'odd' : 'even' })
      for (const query of [{}, { index: 'by_status' }]) {
        const seen: string[] = []
        let cursor: string | undefined
        do {
          const page = await orders.list({
            ...query,
            backwards,
            limit: 3,
            ...(cursor === undefined ? {} : { cursor }),
          })
          seen.push(...page.documents.map(({ id }) => id))
          cursor = page.cursor
          await orders
            .put(seen.at(-1) as string, { total: 500, status: 'zzz' })
            .then(() => orders.delete(seen.at(-1) as string))
          await orders.put(seen.at(-1) as string, {
            total: Number(seen.at(-1)?.slice(1)),
            status: Number(seen.at(-1)?.slice(1)) % 2 ? 'odd' : 'even',
          })
        } while (cursor !== undefined)
        const all = await collect(orders.all({ ...query, backwards, limit: 7 }))
        expect(seen).toEqual(all.map(({ id }) => id))
        expect(seen).toHaveLength(20)
      }
    },
  )

  it('holds one document for each key of a unique index, and one in its part for a partial one', async () => {
    const orders = (await shop()).documents('orders')
    await orders.put('a', { total: 1, code: 'X', status: 'open' })
    await expect(orders.put('b', { total: 2, code: 'X' })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'unique', index: 'one_code', holder: 'a' }] },
    })
    await expect(orders.put('b', { total: 1, status: 'open' })).rejects.toEqual(failing('conflict'))
    await orders.put('b', { total: 1, status: 'paid' })
    await orders.put('c', { total: 1 })
    await orders.put('a', { total: 1, status: 'paid' })
    await orders.put('c', { total: 1, code: 'X', status: 'open' })
    await orders.delete('c')
    await orders.put('d', { total: 1, code: 'X', status: 'open' })
  })

  it('counts a document as absent from its expiry on, by the injected clock', async () => {
    const orders = (await shop()).documents('orders')
    const { position } = await orders.put('a', { total: 1, code: 'X' }, { expiresAt: now + 100 })
    now += 99
    expect((await orders.get('a'))?.expiresAt).toBe(1_000_100)
    now += 1
    expect(await orders.get('a')).toBeUndefined()
    expect(await orders.getMany(['a'])).toEqual([undefined])
    expect((await orders.list()).documents).toEqual([])
    await expect(orders.put('a', { total: 2 }, { expect: position })).rejects.toEqual(failing('conflict'))
    await orders.put('b', { total: 3, code: 'X' })
    await orders.put('a', { total: 4 }, { expect: 'absent' })
    expect((await orders.list()).documents.map(({ id }) => id)).toEqual(['a', 'b'])
  })

  it('sweeps what has expired, at most so many at once', async () => {
    const domain = await shop()
    const orders = domain.documents('orders')
    for (let i = 0; i < 5; i++) await orders.put(`o${i}`, { total: i }, { expiresAt: now + i })
    await orders.put('forever', { total: 9 })
    now += 3
    expect([await orders.sweep(3), await orders.sweep(3), await orders.sweep()]).toEqual([3, 1, 0])
    const { items } = await domain.changes()
    expect(items.filter(({ kind }) => kind === 'tombstone')).toHaveLength(4)
    expect((await collect(orders.all())).map(({ id }) => id)).toEqual(['forever', 'o4'])
  })

  it('updates from the current value, so that no one of many at once is lost', async () => {
    const counters = (await shop()).documents('counters')
    await Promise.all(Array.from({ length: 20 }, () => counters.update('n', (value = 0) => value + 1)))
    expect((await counters.get('n'))?.value).toBe(20)
    await counters.put('e', 1, { expiresAt: now + 50 })
    await counters.update('e', (value = 0) => value + 1)
    expect(await counters.get('e')).toMatchObject({ value: 2, expiresAt: now + 50 })
    await expect(
      counters.update('n', () => {
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
  })
})

describe.each(places)('transactions on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('commits events and documents together, or neither', async () => {
    const domain = await shop()
    const { value, seqs, positions } = await domain.transaction((transaction) => {
      transaction.append('o', placed(1), { expect: 'none' })
      transaction.put('orders', 'o', { total: 1 })
      return 'done'
    })
    expect([value, seqs, positions.length]).toEqual(['done', [1], 2])
    const head = await domain.head()
    const refused = domain.transaction((transaction) => {
      transaction.append('o', placed(2))
      transaction.put('orders', 'o', { total: 2 }, { expect: 'absent' })
    })
    await expect(refused).rejects.toEqual(failing('conflict'))
    expect(await domain.head()).toBe(head)
  })

  it('runs again when something that it read was changed meanwhile', async () => {
    const domain = await shop()
    await domain.documents('counters').put('n', 1)
    let runs = 0
    const { value } = await domain.transaction(async (transaction) => {
      const found = await transaction.get('counters', 'n')
      if (++runs === 1) await domain.documents('counters').put('n', 10)
      transaction.put('counters', 'n', (found?.value ?? 0) + 1)
      return runs
    })
    expect(value).toBe(2)
    expect((await domain.documents('counters').get('n'))?.value).toBe(11)
  })

  it('depends on a stream that it read, and on an absent document', async () => {
    const domain = await shop()
    let runs = 0
    await domain.transaction(async (transaction) => {
      const [read, missing] = [await transaction.read('o'), await transaction.get('orders', 'o')]
      if (++runs === 1) await domain.log.append('o', placed(1))
      if (runs === 2) await domain.documents('orders').put('o', { total: 5 })
      transaction.put('counters', 'seen', read.length + (missing?.value.total ?? 0))
    })
    expect(runs).toBe(3)
    expect((await domain.documents('counters').get('seen'))?.value).toBe(6)
  })

  it('gives up after so many retries, and at once for a check that running again cannot mend', async () => {
    const domain = await shop()
    let runs = 0
    const always = domain.transaction(
      async (transaction) => {
        await transaction.get('counters', 'n')
        await domain.documents('counters').put('n', ++runs)
        transaction.append('o', placed(1))
      },
      { retries: 2 },
    )
    await expect(always).rejects.toEqual(failing('conflict'))
    expect(runs).toBe(3)
    const never = domain.transaction((transaction) => {
      runs++
      transaction.checkStream('o', 5)
      transaction.append('o', placed(1))
    })
    await expect(never).rejects.toEqual(failing('conflict'))
    expect(runs).toBe(4)
  })

  it('checks streams and documents that it does not write', async () => {
    const domain = await shop()
    await domain.documents('orders').put('o', { total: 1 })
    await domain.transaction((transaction) => {
      transaction.checkDocument('orders', 'o', 'present')
      transaction.checkStream('o', 'none')
      transaction.append('other', placed(1))
    })
    const refused = domain.transaction((transaction) => {
      transaction.checkDocument('orders', 'o', 'absent')
      transaction.append('other', placed(2))
    })
    await expect(refused).rejects.toEqual(failing('conflict'))
    expect(await domain.log.seq('other')).toBe(1)
  })

  it('writes nothing when its callback throws or asks for something invalid', async () => {
    const domain = await shop()
    const head = await domain.head()
    const thrown = domain.transaction((transaction) => {
      transaction.append('o', placed(1))
      throw new Error('changed my mind')
    })
    await expect(thrown).rejects.toThrow('changed my mind')
    const invalid = domain.transaction((transaction) => {
      transaction.append('o', placed(1))
      transaction.put('users', 'u', { email: 'nonsense' })
    })
    await expect(invalid).rejects.toEqual(failing('invalid'))
    expect(await domain.head()).toBe(head)
  })

  it('is applied once with an id', async () => {
    const domain = await shop()
    const run = () =>
      domain.transaction(
        (transaction) => {
          transaction.append('o', placed(1))
          transaction.put('orders', 'o', { total: 1 })
        },
        { id: 'r1' },
      )
    const first = await run()
    expect(await run()).toMatchObject({ positions: first.positions, seqs: first.seqs, isReplay: true })
    expect(await domain.log.seq('o')).toBe(1)
  })
})

describe.each(places)('the feed on %s', (_name, at) => {
  it('delivers every event and the latest of each document, in order, in whole commits', async () => {
    const domain = (await open(at()())).domain('shop')
    const after = await domain.head()
    await domain.log.append('o', [placed(1), placed(2), placed(3)])
    await domain.documents('counters').put('n', 1)
    await domain.documents('counters').put('n', 2)
    await domain.documents('counters').put('m', 1, { expiresAt: now + 5 })
    await domain.documents('counters').delete('m')
    const first = await domain.changes({ after, limit: 1 })
    expect(first.items).toHaveLength(3)
    expect([first.next, first.head]).toEqual([after + 3, after + 7])
    const rest = await domain.changes({ after: first.next })
    expect(rest.items).toEqual([
      {
        kind: 'document',
        collection: 'counters',
        id: 'n',
        value: 2,
        expiresAt: undefined,
        at: now,
        position: after + 5,
      },
      { kind: 'tombstone', collection: 'counters', id: 'm', at: now, position: after + 7 },
    ])
    expect(rest.next).toBe(rest.head)
    expect((await domain.changes({ after: rest.next })).items).toEqual([])
  })

  it('follows: catches up, goes on live with no gap, and ends at abort', async () => {
    const place = at()
    const [reading, writing] = [(await open(place())).domain('chat'), (await open(place())).domain('chat')]
    const say = (i: number) => writing.log.append('s', { type: 'said', data: i })
    for (let i = 1; i <= 30; i++) await say(i)
    const ending = new AbortController()
    const seen: number[] = []
    const following = (async () => {
      for await (const item of reading.follow({ signal: ending.signal, limit: 7 })) {
        seen.push(item.position)
        if (seen.length === 90) ending.abort()
      }
    })()
    await Promise.all(Array.from({ length: 30 }, (_, i) => say(31 + i)))
    for (let i = 61; i <= 95; i++) await say(i)
    await following
    expect(seen).toEqual(Array.from({ length: 90 }, (_, i) => i + 1))
  })

  it('ends a follower that waits when its signal aborts, and when the store closes', async () => {
    const store = await open(at()())
    const ending = new AbortController()
    const aborted = collect(store.domain('chat').follow({ signal: ending.signal }))
    const closed = collect(store.domain('chat').follow({ signal: new AbortController().signal }))
    await new Promise((resolve) => setTimeout(resolve, 30))
    ending.abort()
    expect(await aborted).toEqual([])
    await store.close()
    expect(await closed).toEqual([])
    expect(await collect(store.domain('chat').follow({ signal: AbortSignal.abort() }))).toEqual([])
  })
})

describe.each(places)('a store on %s', (_name, at) => {
  it('keeps its domains apart', async () => {
    const store = await open(at()())
    await store.domain('chat').log.append('o', { type: 'said', data: 1 })
    expect(await store.domain('shop').log.seq('o')).toBe(0)
    expect(await store.domain('chat').head()).toBe(1)
    expect(() => store.domain('nowhere' as 'chat')).toThrow(failing('invalid'))
    expect(() => store.domain('chat').documents('orders' as never)).toThrow(failing('invalid'))
  })

  it('merges what different openings declare, and refuses what contradicts', async () => {
    const place = at()
    const options = (declared: CollectionOptions<unknown>) => ({
      domains: { app: { collections: { things: declared } } },
      clock,
    })
    const first = await openStore(
      place(),
      options({ fields: { a: 'string' }, indexes: { by_a: { fields: ['a'] } } }),
    )
    await first.domain('app').documents('things').put('x', { a: 'A', b: 1 })
    await first.close()
    const second = await openStore(
      place(),
      options({ fields: { b: 'number' }, indexes: { by_b: { fields: ['b'] } } }),
    )
    const things = second.domain('app').documents('things')
    await things.put('y', { a: 'B', b: 2 })
    const list = async (index: string) => (await things.list({ index })).documents.map(({ id }) => id)
    expect([await list('by_a'), await list('by_b')]).toEqual([
      ['x', 'y'],
      ['x', 'y'],
    ])
    await second.close()
    await expect(openStore(place(), options({ fields: { a: 'number' } }))).rejects.toEqual(
      failing('mismatch'),
    )
    const changed = options({ fields: { a: 'string' }, indexes: { by_a: { fields: ['a'], unique: true } } })
    await expect(openStore(place(), changed)).rejects.toEqual(failing('mismatch'))
    const third = await openStore(place(), { domains: { app: {} }, clock })
    stores.push(third)
    expect(
      (await third.domain('app').documents('things').list({ index: 'by_b', from: 2 })).documents,
    ).toHaveLength(1)
  })

  it('adds an index to existing documents, but no unique one over duplicates, and then changes nothing', async () => {
    const place = at()
    const options = (indexes: Record<string, IndexOptions>) => ({
      domains: { app: { collections: { things: { fields: { a: 'string' }, indexes } } } } as const,
      clock,
    })
    const first = await openStore(place(), options({}))
    for (const [id, a] of [
      ['x', 'A'],
      ['y', 'B'],
      ['z', 'A'],
    ])
      await first
        .domain('app')
        .documents('things')
        .put(id as string, { a })
    const head = await first.domain('app').head()
    await first.close()
    const unique = options({ one_a: { fields: ['a'], unique: true } })
    await expect(openStore(place(), unique)).rejects.toEqual(failing('conflict'))
    const second = await openStore(place(), options({}))
    expect(await second.domain('app').head()).toBe(head)
    await expect(second.domain('app').documents('things').list({ index: 'one_a' })).rejects.toEqual(
      failing('invalid'),
    )
    await second.domain('app').documents('things').delete('z')
    await second.close()
    const third = await openStore(place(), unique)
    stores.push(third)
    const things = third.domain('app').documents('things')
    expect((await things.list({ index: 'one_a', backwards: true })).documents.map(({ id }) => id)).toEqual([
      'y',
      'x',
    ])
    await expect(things.put('z', { a: 'A' })).rejects.toEqual(failing('conflict'))
  })

  it('lets several stores open one place at once, each with its own declarations', async () => {
    const place = at()
    const opened = await Promise.all([1, 2, 3].map(() => open(place())))
    await Promise.all(
      opened.map((store, i) => store.domain('chat').log.append('s', { type: 'said', data: i })),
    )
    expect(await opened[0]?.domain('chat').log.seq('s')).toBe(3)
  })

  it('refuses a domain that nobody has when it may not create it', async () => {
    await expect(openStore(at()(), { domains: { app: {} }, create: false })).rejects.toEqual(
      failing('invalid'),
    )
  })

  it('finishes commits under way when it closes, and answers closed afterwards', async () => {
    const place = at()
    const store = await open(place())
    const { log } = store.domain('chat')
    const pending = Array.from({ length: 20 }, (_, i) => log.append('s', { type: 'said', data: i }))
    const [results] = await Promise.all([Promise.all(pending), store.close(), store.close()])
    expect(results.at(-1)?.seqs).toEqual([20])
    await expect(log.append('s', { type: 'said', data: 0 })).rejects.toEqual(failing('closed'))
    await expect(log.seq('s')).rejects.toEqual(failing('closed'))
    expect(await (await open(place())).domain('chat').log.seq('s')).toBe(20)
  })

  it('refuses a call whose signal has aborted before it began', async () => {
    const domain = (await open(at()())).domain('chat')
    const signal = AbortSignal.abort()
    await expect(domain.log.append('s', { type: 'said', data: 1 }, { signal })).rejects.toEqual(
      failing('aborted'),
    )
    await expect(domain.log.read('s', { signal })).rejects.toEqual(failing('aborted'))
    await expect(domain.head({ signal })).rejects.toEqual(failing('aborted'))
    expect(await domain.log.seq('s')).toBe(0)
  })
})

/** A backend over a network that has gone silent: calls reach nobody, or reach it and the answer is lost. */
class Silent extends Forward {
  isSilent = false

  override get supports() {
    return { ...this.inner.supports, sync: false, durability: 'durable' } as const
  }

  override get sync() {
    return undefined
  }

  override async commit(...call: Parameters<Backend['commit']>) {
    const outcomes = await this.inner.commit(...call)
    return this.isSilent ? forever<typeof outcomes>() : outcomes
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.isSilent ? forever<Awaited<ReturnType<Backend['read']>>>() : this.inner.read(...call)
  }
}

const forever = <T>() => new Promise<T>(() => {})

describe('a store whose backend does not answer', () => {
  async function openSilent() {
    const backend = new Silent(memory())
    const store = await open(backend, 100)
    const { log } = store.domain('chat')
    await log.append('s', { type: 'said', data: 0 })
    backend.isSilent = true
    return { backend, store, log }
  }

  it('ends a read with timeout and a commit with unknown, within the deadline', async () => {
    const { log } = await openSilent()
    const since = performance.now()
    await expect(log.read('s')).rejects.toEqual(failing('timeout'))
    await expect(log.append('s', { type: 'said', data: 1 })).rejects.toEqual(failing('unknown'))
    expect(performance.now() - since).toBeLessThan(1_000)
  })

  it('ends a read with aborted and a commit in flight with unknown when the signal aborts', async () => {
    const { log } = await openSilent()
    const calls = (['read', 'append'] as const).map((verb) => {
      const ending = new AbortController()
      setTimeout(() => ending.abort(), 20)
      const { signal } = ending
      return verb === 'read'
        ? log.read('s', { signal })
        : log.append('s', { type: 'said', data: 1 }, { signal })
    })
    const results = await Promise.allSettled(calls)
    expect(results).toEqual(
      ['aborted', 'unknown'].map((code) => ({ status: 'rejected', reason: failing(code) })),
    )
  })

  it('has settled every pending call when close returns', async () => {
    const { store, log } = await openSilent()
    const settled: string[] = []
    const note = (error: { code: string }) => void settled.push(error.code)
    log.read('s').catch(note)
    log.append('s', { type: 'said', data: 1 }).catch(note)
    await store.close()
    expect(settled.toSorted()).toHaveLength(2)
  })

  it('finds out by its id, when the line is back, that a commit had been applied', async () => {
    const { backend, log } = await openSilent()
    const event = { type: 'said', data: 1 }
    await expect(log.append('s', event, { id: 'r1' })).rejects.toEqual(failing('unknown'))
    backend.isSilent = false
    expect(await log.append('s', event, { id: 'r1' })).toMatchObject({ seqs: [2], isReplay: true })
    expect(await log.seq('s')).toBe(2)
  })

  it('resolves an unknown outcome by itself for a commit with an id', async () => {
    const { backend, log } = await openSilent()
    setTimeout(() => (backend.isSilent = false), 50)
    expect(await log.append('s', { type: 'said', data: 1 }, { id: 'r1' })).toMatchObject({
      seqs: [2],
      isReplay: true,
    })
  })
})
