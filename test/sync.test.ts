import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { type Clock, systemClock } from '../src/clock.ts'
import { collection, events } from '../src/index.ts'
import {
  DurableArray,
  type DurableKey,
  DurableMap,
  openStoreSync,
  SyncDocuments,
  SyncDomain,
  SyncLog,
} from '../src/sync.ts'

let folder: string
let stores: { close(): void }[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-sync-'))
  stores = []
})

afterEach(() => {
  for (const store of stores) store.close()
  rmSync(folder, { recursive: true, force: true })
})

const file = () => `sqlite:${join(folder, 'app.db')}`

interface Order {
  readonly total: number
  readonly status?: string
}
type Placed = { type: 'Placed'; data: { total: number } }
type Paid = { type: 'Paid'; data: { by: string } }

const schema = z.object({ email: z.email(), age: z.number().optional() })
const domains = {
  shop: {
    events: events<Placed | Paid>(),
    collections: {
      orders: collection<Order>({
        fields: { status: 'string' },
        indexes: { by_status: { fields: ['status'] } },
      }),
      users: collection({
        schema,
        fields: { email: 'string' },
        indexes: { by_email: { fields: ['email'], unique: true } },
      }),
    },
  },
  chat: {},
} as const

function open(target: string | Backend, clock: Clock = systemClock) {
  const store = openStoreSync(target, { domains, clock })
  stores.push(store)
  return store
}

const failing = (code: string) => expect.objectContaining({ code })

describe.each([
  ['memory', () => 'memory:'],
  ['sqlite', file],
] as [string, () => string][])('a synchronous store on %s', (_name, target) => {
  it('appends events and reads them back, forwards and backwards', () => {
    const { log } = open(target()).domain('shop')
    expect(log).toBeInstanceOf(SyncLog)
    const result = log.append('order-1', [
      { type: 'Placed', data: { total: 5 } },
      { type: 'Paid', data: { by: 'card' } },
    ])
    expect(result.seqs).toEqual([1, 2])
    expect(result.positions.at(-1)).toBe(result.position)
    expect(log.read('order-1').events.map(({ seq, type, data }) => [seq, type, data])).toEqual([
      [1, 'Placed', { total: 5 }],
      [2, 'Paid', { by: 'card' }],
    ])
    expect(log.read('order-1', { backwards: true, limit: 1 }).events.map(({ seq }) => seq)).toEqual([2])
    expect(log.seq('order-1')).toBe(2)
    expect(log.seq('order-2')).toBe(0)
  })

  it('walks a stream page by page', () => {
    const { log } = open(target()).domain('chat')
    log.append(
      's',
      Array.from({ length: 25 }, (_, i) => ({ type: 'said', data: i })),
    )
    const first = log.read('s', { limit: 10 })
    expect(first.next).toMatchObject({ after: 10 })
    expect(log.read('s', first.next).events[0]?.seq).toBe(11)
    expect([...log.events('s', { after: 20 })].map(({ seq }) => seq)).toEqual([21, 22, 23, 24, 25])
    expect([...log.events('s', { backwards: true, limit: 3 })].map(({ data }) => data)).toEqual([24, 23, 22])
  })

  it('refuses an append whose expectation does not hold, as conflict with what was found', () => {
    const { log } = open(target()).domain('shop')
    const event: Placed = { type: 'Placed', data: { total: 1 } }
    log.append('o', event, { expect: 'none' })
    expect(() => log.append('o', event, { expect: 'none' })).toThrow(failing('conflict'))
    expect(() => log.append('o', event, { expect: 2 })).toThrow(
      expect.objectContaining({
        details: { failed: [{ kind: 'stream', stream: 'o', expected: 2, found: 1 }] },
      }),
    )
    log.append('o', event, { expect: 1 })
    log.append('o', event, { expect: 'some' })
    expect(log.seq('o')).toBe(3)
  })

  it('applies a commit with an id once', () => {
    const { log } = open(target()).domain('shop')
    const event: Placed = { type: 'Placed', data: { total: 1 } }
    const first = log.append('o', event, { id: 'request-1' })
    const again = log.append('o', event, { id: 'request-1' })
    expect(again).toEqual({ ...first, isReplay: true })
    expect(log.seq('o')).toBe(1)
    expect(() => log.append('o', { ...event, data: { total: 2 } }, { id: 'request-1' })).toThrow(
      failing('mismatch'),
    )
  })

  it('puts, gets, lists and deletes documents', () => {
    const orders = open(target()).domain('shop').documents('orders')
    expect(orders).toBeInstanceOf(SyncDocuments)
    const { position } = orders.put('a', { total: 1, status: 'open' })
    orders.put('b', { total: 2, status: 'open' })
    orders.put('c', { total: 3, status: 'paid' })
    expect(orders.get('a')).toMatchObject({
      id: 'a',
      value: { total: 1 },
      revision: position,
      expiresAt: undefined,
    })
    expect(orders.get('x')).toBeUndefined()
    const unpaid = orders.list({ index: 'by_status', equals: ['open'], limit: 1 })
    expect(unpaid.documents.map(({ id }) => id)).toEqual(['a'])
    expect([...orders.all({ limit: 2 })].map(({ id }) => id)).toEqual(['a', 'b', 'c'])
    expect([...orders.all({ backwards: true, prefix: '' })].map(({ id }) => id)).toEqual(['c', 'b', 'a'])
    orders.delete('a')
    expect(orders.get('a')).toBeUndefined()
    expect(() => orders.put('b', { total: 9 }, { expect: 'absent' })).toThrow(failing('conflict'))
    expect(() => orders.delete('b', { expect: 1 })).toThrow(failing('conflict'))
    expect(orders.get('b')?.value).toEqual({ total: 2, status: 'open' })
  })

  it('refuses a document that does not fit its schema, its fields or its unique index', () => {
    const domain = open(target()).domain('shop')
    const head = domain.head()
    expect(() => domain.documents('users').put('u', { email: 'nonsense' })).toThrow(/email/)
    expect(() => domain.documents('orders').put('o', { total: 1, status: 5 as never })).toThrow(
      failing('invalid'),
    )
    expect(domain.head()).toBe(head)
    domain.documents('users').put('u', { email: 'a@example.org' })
    expect(() => domain.documents('users').put('v', { email: 'a@example.org' })).toThrow(failing('conflict'))
  })

  it('commits a transaction over log and documents, all or nothing', () => {
    const domain = open(target()).domain('shop')
    expect(domain).toBeInstanceOf(SyncDomain)
    const { value, seqs } = domain.transaction((transaction) => {
      transaction.append('order-1', { type: 'Placed', data: { total: 5 } }, { expect: 'none' })
      transaction.put('orders', 'order-1', { total: 5 }, { expect: 'absent' })
      transaction.checkDocument('users', 'nobody', 'absent')
      return 'done'
    })
    expect([value, seqs]).toEqual(['done', [1]])
    const head = domain.head()
    const overtaken = () =>
      domain.transaction((transaction) => {
        transaction.append('order-1', { type: 'Paid', data: { by: 'card' } })
        transaction.delete('orders', 'order-1')
        transaction.checkStream('order-1', 7)
      })
    expect(overtaken).toThrow(failing('conflict'))
    const thrown = () =>
      domain.transaction((transaction) => {
        transaction.delete('orders', 'order-1')
        throw new Error('changed my mind')
      })
    expect(thrown).toThrow('changed my mind')
    expect(domain.head()).toBe(head)
    expect(domain.documents('orders').get('order-1')?.value).toEqual({ total: 5 })
  })

  it('refuses an asynchronous callback, by its type and when it runs', () => {
    using store = openStoreSync('memory:', { domains: { app: {} } })
    const domain = store.domain('app')
    // @ts-expect-error what it does after its first await would be lost
    expect(() => domain.transaction(async (tx) => tx.append('s', { type: 't', data: 1 }))).toThrow(TypeError)
    expect(domain.head()).toBe(0)
  })

  it('delivers the feed of a domain, and keeps domains apart', () => {
    const store = open(target())
    const [shop, chat] = [store.domain('shop'), store.domain('chat')]
    const before = shop.head()
    shop.log.append('o', { type: 'Paid', data: { by: 'me' } })
    shop.documents('orders').put('o', { total: 1 })
    shop.documents('orders').delete('o')
    const { items, next, head } = shop.changes({ after: before })
    expect(items.map(({ kind }) => kind)).toEqual(['event', 'tombstone'])
    expect([next, head]).toEqual([before + 3, shop.head()])
    expect(chat.head()).toBe(0)
    expect(chat.log.read('o').events).toEqual([])
  })

  it('dates records and judges expiry by the injected clock', () => {
    let now = 1_000
    const clock: Clock = { ...systemClock, now: () => now }
    const orders = open(target(), clock).domain('shop').documents('orders')
    orders.put('a', { total: 1 }, { expiresAt: 2_000 })
    expect(orders.get('a')).toMatchObject({ at: 1_000, expiresAt: 2_000 })
    now = 2_000
    expect(orders.get('a')).toBeUndefined()
    expect(orders.list().documents).toEqual([])
    orders.put('a', { total: 2 }, { expect: 'absent' })
    expect(orders.get('a')).toMatchObject({ at: 2_000, value: { total: 2 } })
  })

  it('fails with closed after close, which may be called again', () => {
    const store = open(target())
    const domain = store.domain('shop')
    store.close()
    store.close()
    expect(() => domain.log.seq('o')).toThrow(failing('closed'))
    expect(() => domain.documents('orders').put('o', { total: 1 })).toThrow(failing('closed'))
  })

  it('knows only the domains and collections that it was opened with', () => {
    const store = open(target())
    expect(() => store.domain('nowhere' as 'shop')).toThrow(failing('invalid'))
    expect(() => store.domain('shop').documents('nothing' as 'orders')).toThrow(failing('invalid'))
  })
})

describe('openStoreSync', () => {
  it('refuses a backend that has no synchronous verbs', () => {
    const asynchronous = new Proxy(memory(), {
      get: (target, key) => (key === 'sync' ? undefined : Reflect.get(target, key)),
    })
    expect(() => open(asynchronous)).toThrow(failing('unsupported'))
    expect(() => open('postgres://localhost/app')).toThrow(failing('unsupported'))
  })

  it('refuses a domain whose name is none', () => {
    expect(() => openStoreSync('memory:', { domains: { 'No Name': {} } })).toThrow(failing('invalid'))
  })

  it('lets two stores share a file: each sees the other at once, and their checks exclude each other', () => {
    const [one, two] = [open(file()).domain('shop'), open(file()).domain('shop')]
    one.log.append('o', { type: 'Placed', data: { total: 1 } })
    expect(two.log.seq('o')).toBe(1)
    two.log.append('o', { type: 'Paid', data: { by: 'x' } }, { expect: 1 })
    expect(() => one.log.append('o', { type: 'Paid', data: { by: 'y' } }, { expect: 1 })).toThrow(
      failing('conflict'),
    )
    const { position } = one.documents('orders').put('o', { total: 1 })
    two.documents('orders').put('o', { total: 2 }, { expect: position })
    expect(() => one.documents('orders').put('o', { total: 3 }, { expect: position })).toThrow(
      failing('conflict'),
    )
    expect(one.documents('orders').get('o')?.value.total).toBe(2)
    expect(one.head()).toBe(two.head())
  })

  it('keeps everything through a restart, with definitions merged', () => {
    const first = open(file()).domain('shop')
    first.documents('orders').put('a', { total: 1, status: 'open' })
    const head = first.head()
    stores.pop()?.close()
    const store = openStoreSync(file(), {
      domains: {
        shop: {
          collections: {
            orders: { fields: { total: 'number' }, indexes: { by_total: { fields: ['total'] } } },
          },
        },
      },
    })
    stores.push(store)
    const orders = store.domain('shop').documents('orders')
    expect(orders.list({ index: 'by_status', equals: ['open'] }).documents).toHaveLength(1)
    expect(orders.list({ index: 'by_total', from: 1 }).documents).toHaveLength(1)
    expect(store.domain('shop').head()).toBe(head + 1)
  })

  it('is disposed of as a resource', () => {
    const store = open('memory:')
    store[Symbol.dispose]()
    expect(() => store.domain('chat').head()).toThrow(failing('closed'))
  })

  describe('after its domain was moved away', () => {
    function moved() {
      const backend = memory()
      const domain = open(backend).domain('chat')
      const map = new DurableMap<string, number>(domain, 'users').set('a', 1)
      const fence = backend.sync.fence('chat')
      backend.sync.transition('chat', fence, { ...fence, role: 'sealed', epoch: fence.epoch + 1 })
      return { domain, map }
    }

    it('neither reads nor writes there', () => {
      const { domain, map } = moved()
      expect(() => domain.log.seq('s')).toThrow(failing('fenced'))
      expect(() => domain.log.append('s', { type: 'said', data: 1 })).toThrow(failing('fenced'))
      expect(() => map.set('a', 2)).toThrow(failing('fenced'))
    })

    it('does not answer from what a DurableMap remembers', () => {
      const { domain, map } = moved()
      expect(() => domain.head()).toThrow(failing('fenced'))
      expect(() => map.get('a')).toThrow(failing('fenced'))
    })
  })
})

/** What an application has today: its state in three Maps and an array. Only the constructors are new. */
interface Audit {
  push(...items: string[]): number
  readonly length: number
  some(is: (item: string) => boolean): boolean
}

interface Stream {
  readonly id: string
  readonly balance: number
  readonly status: 'active' | 'ended'
}

interface Make {
  map<K extends DurableKey, V>(name: string): Map<K, V>
  list(name: string): Audit
}

class Payments {
  readonly streams: Map<string, Stream>
  readonly replies: Map<string, { status: number; body: unknown }>
  readonly totals: Map<number, number>
  readonly audit: Audit

  constructor(make: Make) {
    this.streams = make.map('streams')
    this.replies = make.map('replies')
    this.totals = make.map('totals')
    this.audit = make.list('audit')
  }

  open(id: string, balance: number) {
    if (this.streams.has(id)) throw new Error(`there is a stream ${id}`)
    this.streams.set(id, { id, balance, status: 'active' })
    this.audit.push(`open ${id}`)
  }

  /** Answers a repeated request as the first time. */
  withdraw(token: string, id: string, amount: number) {
    const known = this.replies.get(token)
    if (known !== undefined) return known
    const stream = this.streams.get(id)
    const isPaid = stream?.status === 'active' && stream.balance >= amount
    if (isPaid) this.streams.set(id, { ...stream, balance: stream.balance - amount })
    if (isPaid) this.totals.set(amount, (this.totals.get(amount) ?? 0) + 1)
    const reply = isPaid
      ? { status: 200, body: { left: stream.balance - amount } }
      : { status: 409, body: null }
    this.replies.set(token, reply)
    this.audit.push(`withdraw ${id}`, `reply ${reply.status}`)
    return reply
  }

  page(after: string | undefined, limit: number) {
    const ids = [...this.streams.keys()]
    return ids.slice(after === undefined ? 0 : ids.indexOf(after) + 1).slice(0, limit)
  }

  /** Forgets ended streams while walking over all of them. */
  sweep() {
    for (const [id, { balance }] of this.streams) if (balance === 0) this.streams.delete(id)
    this.replies.forEach(({ status }, token) => void (status === 409 && this.replies.delete(token)))
  }
}

const durable = (target: string): Make => {
  const domain = open(target).domain('chat')
  return { map: (name) => new DurableMap(domain, name), list: (name) => new DurableArray(domain, name) }
}

describe.each<[string, () => Make]>([
  ['Map and array', () => ({ map: () => new Map(), list: () => [] })],
  ['DurableMap and DurableArray on memory', () => durable('memory:')],
  ['DurableMap and DurableArray on sqlite', () => durable(file())],
])('an application that holds its state in %s', (_name, make) => {
  it('opens streams once, and lists them in the order in which they came', () => {
    const payments = new Payments(make())
    for (const id of ['s2', 's10', 's1']) payments.open(id, 10)
    expect(() => payments.open('s1', 5)).toThrow('there is a stream s1')
    expect(payments.page(undefined, 2)).toEqual(['s2', 's10'])
    expect(payments.page('s10', 2)).toEqual(['s1'])
    expect(payments.streams.get('s1')).toEqual({ id: 's1', balance: 10, status: 'active' })
  })

  it('answers a repeated request as the first time, and pays once', () => {
    const payments = new Payments(make())
    payments.open('s1', 10)
    const first = payments.withdraw('t1', 's1', 4)
    expect(payments.withdraw('t1', 's1', 4)).toEqual(first)
    expect(payments.withdraw('t2', 's1', 7).status).toBe(409)
    expect(payments.streams.get('s1')?.balance).toBe(6)
    expect([...payments.totals]).toEqual([[4, 1]])
  })

  it('keeps an audit and sweeps what has ended', () => {
    const payments = new Payments(make())
    payments.open('s1', 4)
    payments.open('s2', 4)
    payments.withdraw('t1', 's1', 4)
    payments.withdraw('t2', 's9', 1)
    payments.sweep()
    expect([...payments.streams.keys()]).toEqual(['s2'])
    expect([...payments.replies.keys()]).toEqual(['t1'])
    expect(payments.audit.length).toBe(6)
    expect(payments.audit.some((item) => item === 'reply 409')).toBe(true)
  })
})
