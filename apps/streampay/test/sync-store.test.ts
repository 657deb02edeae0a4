import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSyncStore, getStore, type SyncStore, setStore } from '../lib/db.ts'
import { created } from '../lib/stream.ts'
import { newFolder } from './places.ts'

const terms = { sender: 'a', recipient: 'b', currency: 'EUR', deposit: 1_000, ratePerHour: 100 }
const record = created('stream_1', terms, 7).record
const open: SyncStore[] = []
let url = ''
beforeEach(() => {
  url = `sqlite:${join(newFolder(), 'streampay.db')}`
})
afterEach(() => {
  setStore(undefined)
  for (const store of open.splice(0)) store.close()
})

function createdAt(place = url): SyncStore {
  const store = createSyncStore(place)
  open.push(store)
  return store
}

describe('a synchronous store', () => {
  it('is a Map to the code that uses it, and an array for the audit', () => {
    const { streams, exports, idempotency } = createdAt()
    streams.streams.set('b', { ...record, id: 'b' }).set('a', record)
    expect([streams.streams.size, streams.streams.has('a'), streams.streams.get('a')]).toEqual([
      2,
      true,
      record,
    ])
    expect([...streams.streams.entries()].map(([id]) => id)).toEqual(['b', 'a'])
    expect([...streams.streams.values()].map(({ id }) => id)).toEqual(['b', 'stream_1'])
    const seen: string[] = []
    streams.streams.forEach((_stream, id) => {
      seen.push(id)
    })
    expect(seen).toEqual(['b', 'a'])
    expect([streams.streams.delete('b'), streams.streams.delete('b')]).toEqual([true, false])
    streams.streams.clear()
    expect(streams.streams.size).toBe(0)
    exports.audit.push({ tenant: 'a', export: '1', type: 'requested', at: 1 })
    exports.audit.push({ tenant: 'a', export: '1', type: 'downloaded', at: 2 })
    expect([...exports.audit].map(({ type }) => type)).toEqual(['requested', 'downloaded'])
    expect(idempotency.responses.get('none')).toBeUndefined()
  })

  it('is as it was behind a restart, but for the promises of what was under way', () => {
    const before = createSyncStore(url)
    before.streams.streams.set('stream_1', record)
    before.streams.users.set('a', { wallet: 'a', createdAt: 7 })
    before.streams.activity.push({ stream: 'stream_1', type: 'stream.created', at: 7, amount: 1_000 })
    before.idempotency.responses.set('token', { status: 201, body: { id: 1 }, expiresAt: 9 })
    before.idempotency.processing.set('token', Promise.resolve({ status: 201, body: 1, expiresAt: 9 }))
    before.exports.jobs.set('1', { tenant: 'a', id: '1', kind: 'streams', state: 'ready', requestedAt: 7 })
    before.exports.processing.set('1', Promise.resolve())
    before.close()
    const { streams, idempotency, exports } = createdAt()
    expect(streams.streams.get('stream_1')).toEqual(record)
    expect(streams.users.get('a')).toEqual({ wallet: 'a', createdAt: 7 })
    expect(streams.activity.toArray()).toHaveLength(1)
    expect(idempotency.responses.get('token')).toEqual({ status: 201, body: { id: 1 }, expiresAt: 9 })
    expect(exports.jobs.get('1')?.state).toBe('ready')
    expect([idempotency.processing.size, exports.processing.size]).toEqual([0, 0])
  })

  it('shows what another process writes', () => {
    const here = createdAt()
    const lib = fileURLToPath(new URL('../lib/db.ts', import.meta.url))
    const program = `import { createSyncStore } from ${JSON.stringify(lib)}
      const store = createSyncStore(${JSON.stringify(url)})
      store.idempotency.responses.set('there', { status: 200, body: null, expiresAt: 1 })
      store.close()`
    execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
    })
    expect(here.idempotency.responses.get('there')?.status).toBe(200)
  })

  it('has each repository emptied by its own reset', () => {
    const store = createdAt()
    store.streams.streams.set('stream_1', record)
    store.streams.activity.push({ stream: 'stream_1', type: 'stream.created', at: 7, amount: 1_000 })
    store.idempotency.responses.set('token', { status: 201, body: 1, expiresAt: 9 })
    store.exports.audit.push({ tenant: 'a', export: '1', type: 'requested', at: 1 })
    store.streams.reset()
    expect([store.streams.streams.size, store.streams.activity.length]).toEqual([0, 0])
    expect([store.idempotency.responses.size, store.exports.audit.length]).toEqual([1, 1])
    store.idempotency.reset()
    store.exports.reset()
    expect([store.idempotency.responses.size, store.exports.audit.length]).toEqual([0, 0])
  })

  it('works on one stream at a time, in the order of the calls, also behind one that fails', async () => {
    const { streams } = createdAt('memory:')
    const order: string[] = []
    const work =
      (name: string, isBad = false) =>
      async () => {
        order.push(`${name} begins`)
        await new Promise((resolve) => setImmediate(resolve))
        order.push(`${name} ends`)
        if (isBad) throw new Error(name)
        return name
      }
    const calls = [
      streams.withLock('s', work('1', true)),
      streams.withLock('s', work('2')),
      streams.withLock('s', work('3')),
    ]
    const results = await Promise.allSettled(calls)
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
    expect(order).toEqual(['1', '2', '3'].flatMap((name) => [`${name} begins`, `${name} ends`]))
  })

  it('is swapped in for route code by setStore', () => {
    expect(() => getStore()).toThrow(/setStore/)
    const [one, two] = [createdAt(), createdAt('memory:')]
    expect(setStore(one)).toBeUndefined()
    getStore().streams.streams.set('stream_1', record)
    expect(setStore(two)).toBe(one)
    expect(getStore().streams.streams.size).toBe(0)
  })
})
