import { describe, expect, it } from 'vitest'
import { limits } from '../src/model/limit.ts'
import { type DurableKey, DurableMap, openStoreSync } from '../src/sync.ts'
import { file, openDomain, stores } from './sync-place.ts'

describe('DurableMap', () => {
  it('survives a restart with its order', () => {
    const map = new DurableMap<DurableKey, unknown>(openDomain(file()), 'users')
    map.set('b', 1).set('a', { n: 2 }).set(1, 3).set(Number.NaN, 4).set('', 5).set(false, 6)
    map.set('b', 10)
    map.delete('a')
    map.set('a', { n: 20 })
    const before = [...map]
    stores.pop()?.close()
    const reopened = new DurableMap<DurableKey, unknown>(openDomain(file()), 'users')
    expect([...reopened]).toEqual(before)
    expect([...reopened.keys()]).toEqual(['b', 1, Number.NaN, '', false, 'a'])
    reopened.set('b', 11).set('c', 12)
    expect([...reopened.keys()]).toEqual(['b', 1, Number.NaN, '', false, 'a', 'c'])
  })

  it('returns copies, and keeps a copy of what it is given', () => {
    const map = new DurableMap<string, { tags: string[] }>(openDomain('memory:'), 'users')
    const given = { tags: ['x'] }
    map.set('a', given)
    given.tags.push('y')
    map.get('a')?.tags.push('z')
    for (const value of map.values()) value.tags.push('w')
    map.forEach((value) => void value.tags.push('v'))
    expect(map.get('a')).toEqual({ tags: ['x'] })
  })

  it('refuses values that JSON does not keep, and writes nothing', () => {
    const domain = openDomain('memory:')
    const map = new DurableMap<string, unknown>(domain, 'users').set('a', 1)
    const head = domain.head()
    const inside = [
      undefined,
      () => {},
      new Date(),
      new Map(),
      Number.NaN,
      -0,
      1n,
      Symbol('x'),
      '\ud800',
      'a\0',
    ]
    const values = [...inside, ...inside.map((value) => ({ field: [value] })), new Array(1), { 'a\0': 1 }]
    for (const value of values) {
      expect(() => map.set('a', value)).toThrow(expect.objectContaining({ code: 'invalid' }))
      expect(() => map.set('b', value)).toThrow(expect.objectContaining({ code: 'invalid' }))
    }
    expect(domain.head()).toBe(head)
    expect([...map]).toEqual([['a', 1]])
  })

  it('names the path of the field that it refuses', () => {
    const map = new DurableMap<string, unknown>(openDomain('memory:'), 'users')
    expect(() => map.set('a', { user: { born: new Date() } })).toThrow(
      expect.objectContaining({ details: { path: 'user.born' } }),
    )
  })

  it('refuses keys that are not strings, numbers or booleans, or that no store can keep, and writes nothing', () => {
    const domain = openDomain('memory:')
    const map = new DurableMap<string, number>(domain, 'users')
    const head = domain.head()
    for (const key of [
      {},
      null,
      undefined,
      Symbol('x'),
      1n,
      () => {},
      '\ud800',
      'a\0b',
    ] as unknown as string[])
      expect(() => map.set(key, 1)).toThrow(expect.objectContaining({ code: 'invalid' }))
    expect(domain.head()).toBe(head)
    expect(map.size).toBe(0)
  })

  it('takes keys and values up to the limits, and refuses longer ones with too-large', () => {
    const domain = openDomain('memory:')
    const map = new DurableMap<string, string>(domain, 'users')
    const tooLarge = expect.objectContaining({ code: 'too-large' })
    map.set('k'.repeat(limits.idBytes), 'v')
    expect(() => map.set('k'.repeat(limits.idBytes + 1), 'v')).toThrow(tooLarge)
    const longest = 'v'.repeat(limits.valueBytes - 66)
    map.set('a', longest).set('a', longest)
    expect(map.get('a')).toBe(longest)
    expect(() => map.set('b', `${longest}v`)).toThrow(tooLarge)
    expect(map.size).toBe(2)
  })

  it('refuses a name that is no name of a collection', () => {
    const domain = openDomain('memory:')
    expect(() => new DurableMap(domain, 'No Name')).toThrow(expect.objectContaining({ code: 'invalid' }))
    expect(() => new DurableMap(domain, '$commits')).toThrow(expect.objectContaining({ code: 'invalid' }))
  })

  it('refuses a collection that holds something else', () => {
    const store = openStoreSync('memory:', { domains: { app: { collections: { users: {} } } } })
    stores.push(store)
    const domain = store.domain('app')
    domain.documents('users').put('a', 5)
    expect(() => new DurableMap(domain, 'users')).toThrow(expect.objectContaining({ code: 'foreign' }))
  })

  it('sees at once what another map of its name does, in its order', () => {
    const domain = openDomain('memory:')
    const [one, two] = [
      new DurableMap<string, number>(domain, 'users'),
      new DurableMap<string, number>(domain, 'users'),
    ]
    one.set('a', 1)
    expect(two.get('a')).toBe(1)
    two.set('b', 2)
    one.set('c', 3)
    two.set('a', 10)
    expect([...one]).toEqual([...two])
    expect([...one.keys()]).toEqual(['a', 'b', 'c'])
    expect(one.delete('b')).toBe(true)
    expect(two.delete('b')).toBe(false)
    two.clear()
    expect(one.size).toBe(0)
  })

  it('sees what another process does to the same file, also during iteration', () => {
    const one = new DurableMap<string, number>(openDomain(file()), 'users')
    const two = new DurableMap<string, number>(openDomain(file()), 'users')
    one.set('a', 1).set('b', 2).set('c', 3)
    expect([...two.keys()]).toEqual(['a', 'b', 'c'])
    const keys = one.keys()
    expect(keys.next().value).toBe('a')
    two.delete('b')
    two.set('d', 4)
    two.delete('a')
    two.set('a', 5)
    expect([...keys]).toEqual(['c', 'd', 'a'])
    expect(two.set('c', 30).get('c')).toBe(30)
    expect(one.get('c')).toBe(30)
  })

  it('loses no write of two writers that take turns without looking', () => {
    const maps = [file(), file()].map((target) => new DurableMap<string, number>(openDomain(target), 'users'))
    for (let i = 0; i < 60; i++) maps[i % 2]?.set(`k${i % 7}`, i).set(`own${i}`, i)
    const [one, two] = maps.map((map) => [...map])
    expect(one).toEqual(two)
    expect(one).toHaveLength(67)
    expect(maps[0]?.get('k4')).toBe(53)
  })

  it('is not confused by other changes in its domain', () => {
    const store = openStoreSync('memory:', { domains: { app: { collections: { orders: {} } } } })
    stores.push(store)
    const domain = store.domain('app')
    const map = new DurableMap<string, number>(domain, 'users')
    map.set('a', 1)
    domain.documents('orders').put('a', 'another a')
    domain.log.append('users', { type: 'x', data: null })
    map.set('b', 2)
    domain.documents('orders').delete('b')
    expect([...map]).toEqual([
      ['a', 1],
      ['b', 2],
    ])
  })

  it('catches up over many pages of the feed', () => {
    const [one, two] = [file(), file()].map(
      (target) => new DurableMap<string, number>(openDomain(target), 'users'),
    )
    const domain = openDomain(file())
    new DurableMap(domain, 'users')
    one?.set('first', 0)
    domain.transaction((transaction) => {
      for (let i = 0; i < 3_000; i++) transaction.put('users' as never, `k${i}`, { value: i } as never)
    })
    one?.set('k0', -1)
    expect(two?.size).toBe(3_001)
    expect([...(two ?? [])].slice(0, 2)).toEqual([
      ['first', 0],
      ['k0', -1],
    ])
    expect([...(two ?? [])]).toEqual([...(one ?? [])])
  })

  it('clears more entries than one commit takes', () => {
    const domain = openDomain('memory:')
    const map = new DurableMap<string, number>(domain, 'users')
    const count = limits.commitItems + 5
    for (let from = 0; from < count; from += 5_000)
      domain.transaction((transaction) => {
        for (let i = from; i < Math.min(from + 5_000, count); i++)
          transaction.put('users' as never, `k${i}`, { value: i } as never)
      })
    expect(map.size).toBe(count)
    map.clear()
    expect(map.size).toBe(0)
    expect(new DurableMap(domain, 'users').size).toBe(0)
  })

  it('keeps ordinary string keys readable as ids of documents', () => {
    const domain = openDomain('memory:')
    new DurableMap<DurableKey, number>(domain, 'users').set('alice@example.org', 1).set(7, 2).set('', 3)
    const ids = domain
      .changes()
      .items.flatMap((item) => (item.kind === 'document' && item.collection === 'users' ? item.id : []))
    expect(ids).toEqual(['alice@example.org', '#7', '#'])
  })

  it('inserts only what is not there with getOrInsert and getOrInsertComputed', () => {
    const map = new DurableMap<string, number>(openDomain('memory:'), 'users')
    expect(map.getOrInsert('a', 1)).toBe(1)
    expect(map.getOrInsert('a', 2)).toBe(1)
    expect(map.getOrInsertComputed('b', (key) => key.length)).toBe(1)
    expect(map.getOrInsertComputed('b', () => 9)).toBe(1)
    expect(map.size).toBe(2)
  })

  it('does nothing after close but fail with closed', () => {
    const map = new DurableMap<string, number>(openDomain(file()), 'users').set('a', 1)
    stores.pop()?.close()
    const closed = expect.objectContaining({ code: 'closed' })
    expect(() => map.get('a')).toThrow(closed)
    expect(() => map.set('a', 2)).toThrow(closed)
    expect(() => [...map]).toThrow(closed)
  })
})
