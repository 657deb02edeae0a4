import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { limits } from '../src/model/limit.ts'
import { type DurableKey, DurableMap, openStoreSync, type SyncDomain, SyncStore } from '../src/sync.ts'

let folder: string
let stores: { close(): void }[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-map-'))
  stores = []
})

afterEach(() => {
  for (const store of stores) store.close()
  rmSync(folder, { recursive: true, force: true })
})

function openDomain(target: string): SyncDomain {
  const store = openStoreSync(target, { domains: { app: {} } })
  expect(store).toBeInstanceOf(SyncStore)
  stores.push(store)
  return store.domain('app')
}

const file = () => `sqlite:${join(folder, 'app.db')}`

const kinds: Record<string, <K extends DurableKey, V>() => Map<K, V>> = {
  'the built-in Map': () => new Map(),
  'DurableMap on memory': () => new DurableMap(openDomain('memory:'), 'users'),
  'DurableMap on sqlite': () => new DurableMap(openDomain(file()), 'users'),
}

describe.each(Object.entries(kinds))('%s', (_kind, make) => {
  it('begins empty', () => {
    const map = make<string, number>()
    expect(map.size).toBe(0)
    expect([...map]).toEqual([])
    expect(map.get('a')).toBeUndefined()
    expect(map.has('a')).toBe(false)
  })

  it('gives back what was set, and returns itself from set', () => {
    const map = make<string, unknown>()
    expect(map.set('a', 1)).toBe(map)
    map
      .set('b', { deep: [true, null, 'text'] })
      .set('c', null)
      .set('d', '')
    expect(map.get('a')).toBe(1)
    expect(map.get('b')).toEqual({ deep: [true, null, 'text'] })
    expect(map.get('c')).toBeNull()
    expect(map.get('d')).toBe('')
    expect(map.size).toBe(4)
  })

  it('keeps the place of a key that is set again, and moves one that is deleted and set to the end', () => {
    const map = make<string, number>().set('a', 1).set('b', 2).set('c', 3)
    map.set('a', 10)
    expect([...map]).toEqual([
      ['a', 10],
      ['b', 2],
      ['c', 3],
    ])
    map.delete('a')
    map.set('a', 11)
    expect([...map.keys()]).toEqual(['b', 'c', 'a'])
  })

  it('keeps insertion order where the order of ids would be another', () => {
    const map = make<string, number>()
    for (const key of ['z', 'é', 'a', '10', '9', 'Z']) map.set(key, 1)
    expect([...map.keys()]).toEqual(['z', 'é', 'a', '10', '9', 'Z'])
  })

  it('says whether delete deleted something', () => {
    const map = make<string, number>().set('a', 1)
    expect(map.delete('a')).toBe(true)
    expect(map.delete('a')).toBe(false)
    expect(map.delete('never')).toBe(false)
    expect(map.size).toBe(0)
  })

  it('is empty after clear, and can be filled again', () => {
    const map = make<string, number>().set('a', 1).set('b', 2)
    expect(map.clear()).toBeUndefined()
    expect(map.size).toBe(0)
    expect(map.has('a')).toBe(false)
    map.clear()
    map.set('b', 3).set('a', 4)
    expect([...map]).toEqual([
      ['b', 3],
      ['a', 4],
    ])
  })

  it('visits entries with forEach in order, with value, key, map and this', () => {
    const map = make<string, number>().set('b', 1).set('a', 2)
    const seen: unknown[] = []
    map.forEach(function (this: unknown, value, key, self) {
      seen.push([value, key, self === map, this])
    }, 'me')
    expect(seen.map((entry) => (entry as unknown[]).slice(0, 3))).toEqual([
      [1, 'b', true],
      [2, 'a', true],
    ])
    expect(String((seen[0] as unknown[])[3])).toBe('me')
  })

  it('iterates keys, values and entries', () => {
    const map = make<string, number>().set('b', 1).set('a', 2)
    expect([...map.keys()]).toEqual(['b', 'a'])
    expect([...map.values()]).toEqual([1, 2])
    expect([...map.entries()]).toEqual([...map])
    expect(new Map(map)).toEqual(
      new Map([
        ['b', 1],
        ['a', 2],
      ]),
    )
    expect(Object.fromEntries(map)).toEqual({ a: 2, b: 1 })
  })

  it('has iterators that are their own iterables and go on after a break', () => {
    const map = make<string, number>().set('a', 1).set('b', 2).set('c', 3)
    const keys = map.keys()
    expect(keys[Symbol.iterator]()).toBe(keys)
    for (const key of keys) {
      expect(key).toBe('a')
      break
    }
    expect(keys.next()).toEqual({ done: false, value: 'b' })
    expect([...keys]).toEqual(['c'])
    expect(keys.next()).toEqual({ done: true, value: undefined })
    map.set('d', 4)
    expect(keys.next()).toEqual({ done: true, value: undefined })
  })

  it('visits what is added during iteration and not what is deleted before its turn', () => {
    const map = make<string, number>().set('a', 1).set('b', 2).set('c', 3)
    const seen: string[] = []
    for (const [key] of map) {
      seen.push(key)
      if (key === 'a') map.delete('b')
      if (key === 'a') map.set('d', 4)
      if (key === 'd' && !map.has('e')) map.set('e', 5)
    }
    expect(seen).toEqual(['a', 'c', 'd', 'e'])
  })

  it('visits a key again that is deleted and set during iteration', () => {
    const map = make<string, number>().set('a', 1).set('b', 2)
    const seen: string[] = []
    map.forEach((_value, key) => {
      seen.push(key)
      if (seen.length > 3) return
      map.delete(key)
      map.set(key, 0)
    })
    expect(seen).toEqual(['a', 'b', 'a', 'b', 'a'])
  })

  it('goes on with what is set after a clear during iteration', () => {
    const map = make<string, number>().set('a', 1).set('b', 2)
    const values = map.values()
    expect(values.next().value).toBe(1)
    map.clear()
    map.set('c', 3)
    expect([...values]).toEqual([3])
  })

  it('tells 1 from "1" and true from "true"', () => {
    const map = make<DurableKey, string>()
      .set(1, 'number')
      .set('1', 'text')
      .set(true, 'yes')
      .set('true', 'word')
    expect(map.size).toBe(4)
    expect(map.get(1)).toBe('number')
    expect(map.get('1')).toBe('text')
    expect(map.get(true)).toBe('yes')
    expect(map.get('true')).toBe('word')
    expect(map.has(false)).toBe(false)
    expect([...map.keys()]).toEqual([1, '1', true, 'true'])
  })

  it('takes -0 for 0 and NaN for NaN, and keeps other numbers apart', () => {
    const map = make<number, string>()
      .set(-0, 'zero')
      .set(Number.NaN, 'nan')
      .set(1e21, 'large')
      .set(0.1, 'small')
    map.set(Number.NEGATIVE_INFINITY, 'low')
    expect(map.get(0)).toBe('zero')
    expect(map.get(Number.NaN)).toBe('nan')
    expect(map.get(Number.NEGATIVE_INFINITY)).toBe('low')
    expect(Object.is([...map.keys()][0], 0)).toBe(true)
    expect([...map.keys()]).toEqual([0, Number.NaN, 1e21, 0.1, Number.NEGATIVE_INFINITY])
    expect(map.delete(Number.NaN)).toBe(true)
    expect(map.delete(0)).toBe(true)
    expect(map.size).toBe(3)
  })

  it('takes any string for a key: empty, __proto__, with # and emoji', () => {
    const map = make<string, number>()
    const keys = ['', '#', '##', '#1', '#true', '__proto__', 'constructor', 'a/b c', '🚀', 'ключ', "'; --"]
    for (const [i, key] of keys.entries()) map.set(key, i)
    expect([...map]).toEqual(keys.map((key, i) => [key, i]))
    for (const key of keys) expect(map.delete(key)).toBe(true)
    expect(map.size).toBe(0)
  })

  it('keeps __proto__ in a value as ordinary data', () => {
    const map = make<string, unknown>().set('a', JSON.parse('{"__proto__":{"x":1}}'))
    expect(JSON.stringify(map.get('a'))).toBe('{"__proto__":{"x":1}}')
  })

  it('says of keys that it cannot hold that they are not there', () => {
    const map = make<string, number>().set('a', 1) as Map<unknown, number>
    expect(map.get({})).toBeUndefined()
    expect(map.has(undefined)).toBe(false)
    expect(map.delete(Symbol.iterator)).toBe(false)
  })

  it('is a Map by its tag', () => {
    expect(Object.prototype.toString.call(make())).toBe('[object Map]')
    expect(Object.prototype.toString.call(make().entries())).toMatch(/Iterator\]$/)
  })
})

type Step = (real: Map<DurableKey, unknown>, durable: Map<DurableKey, unknown>) => void

const anyKey = fc.oneof(
  fc.constantFrom<DurableKey>('', '#', '1', 1, 0, -0, Number.NaN, true, 'true', '__proto__', 'a', 'b'),
  fc.string({ unit: 'grapheme', maxLength: 3 }).filter((key) => !key.includes('\0')),
)
/** JSON values that may be stored: no NUL, no -0. */
const anyValue: fc.Arbitrary<unknown> = fc
  .jsonValue()
  .filter((value) => !JSON.stringify(value).includes('\\u0000'))
  .map((value) => JSON.parse(JSON.stringify(value)))
const anyStep: fc.Arbitrary<readonly [string, Step]> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(anyKey, anyValue)
      .map(([key, value]) => toStep('set', (map) => void map.set(key, value))),
  },
  { weight: 4, arbitrary: anyKey.map((key) => toStep('delete', (map) => map.delete(key))) },
  {
    weight: 2,
    arbitrary: anyKey.map((key) => toStep('get', (map) => [map.get(key), map.has(key), map.size])),
  },
  { weight: 1, arbitrary: fc.constant(toStep('clear', (map) => map.clear())) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(anyKey, anyKey)
      .map(([a, b]) => toStep('iterate and change', (map) => walk(map, a, b))),
  },
)

function toStep(name: string, run: (map: Map<DurableKey, unknown>) => unknown): readonly [string, Step] {
  return [name, (real, durable) => expect(run(durable)).toEqual(run(real))]
}

/** Deletes one key and sets another while iterating. */
function walk(map: Map<DurableKey, unknown>, deleted: DurableKey, added: DurableKey): unknown[] {
  const seen: unknown[] = []
  for (const [key] of map) {
    seen.push(key)
    if (seen.length === 1) map.delete(deleted)
    if (seen.length === 2) map.delete(added)
    if (seen.length === 2) map.set(added, seen.length)
  }
  return seen
}

describe.each([
  ['memory', 'memory:'],
  ['sqlite', 'sqlite::memory:'],
])('DurableMap against a model on %s', (_name, target) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  // Of two maps of one name, each step takes either: both must be what one Map is.
  it(`does what a Map does, whatever is asked of it (SEED=${seed})`, () => {
    const steps = fc.array(fc.tuple(anyStep, fc.boolean()), { maxLength: 40 })
    fc.assert(
      fc.property(steps, (sequence) => {
        const store = openStoreSync(target, { domains: { app: {} } })
        const real = new Map<DurableKey, unknown>()
        const pair = [0, 1].map(() => new DurableMap<DurableKey, unknown>(store.domain('app'), 'users'))
        for (const [[, step], isSecond] of sequence)
          step(real, pair[isSecond ? 1 : 0] as Map<DurableKey, unknown>)
        for (const map of [...pair, new DurableMap<DurableKey, unknown>(store.domain('app'), 'users')])
          expect([...map]).toEqual([...real])
        store.close()
      }),
      { seed, numRuns: 150 },
    )
  })
})

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
