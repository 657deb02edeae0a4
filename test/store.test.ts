import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CollectionOptions, type IndexOptions, openStore } from '../src/index.ts'
import { clock, failing, open, places, stores } from './shop.ts'

describe('a store on a backend that answers within the call', () => {
  it('lets other work go on under a loop of commits', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'underpin-store-'))
    const store = await openStore(`sqlite:${join(folder, 'loop.db')}`, { domains: { chat: {} } })
    let isOver = false
    setTimeout(() => (isOver = true), 5)
    let commits = 0
    for (; !isOver && commits < 100_000; commits++)
      await store.domain('chat').log.append('o', { type: 'said', data: 1 })
    expect(commits).toBeLessThan(100_000)
    await store.close()
    rmSync(folder, { recursive: true })
  })
})

describe('the backends of a store', () => {
  it('may be called what they are', async () => {
    const store = await openStore({ sqlite: 'memory:', postgres: 'memory:' }, { domains: { chat: {} } })
    expect([...store.backends.keys()]).toEqual(['sqlite', 'postgres'])
    await store.close()
    const bad = { 'sqlite DB': 'memory:' }
    await expect(openStore(bad, { domains: { chat: {} } })).rejects.toThrow(failing('invalid'))
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
