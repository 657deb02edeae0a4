import { describe, expect, it } from 'vitest'
import { type DurableKey, DurableMap } from '../src/sync.ts'
import { file, openDomain } from './sync-place.ts'

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
