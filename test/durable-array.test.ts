import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { limits } from '../src/model/limit.ts'
import { DurableArray, DurableMap, openStoreSync, type SyncDomain } from '../src/sync.ts'

let folder: string
let stores: { close(): void }[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-array-'))
  stores = []
})

afterEach(() => {
  for (const store of stores) store.close()
  rmSync(folder, { recursive: true, force: true })
})

function openDomain(target: string): SyncDomain {
  const store = openStoreSync(target, { domains: { app: {} } })
  stores.push(store)
  return store.domain('app')
}

const file = () => `sqlite:${join(folder, 'app.db')}`

/** What an array and a DurableArray both have. */
interface List<T> extends Iterable<T> {
  readonly length: number
  push(...items: T[]): number
  at(index: number): T | undefined
  slice(start?: number, end?: number): T[]
  forEach(callback: (item: T, index: number) => void): void
  some(predicate: (item: T, index: number) => boolean): boolean
  every(predicate: (item: T, index: number) => boolean): boolean
  find(predicate: (item: T, index: number) => boolean): T | undefined
  findIndex(predicate: (item: T, index: number) => boolean): number
  filter(predicate: (item: T, index: number) => boolean): T[]
  map<U>(change: (item: T, index: number) => U): U[]
  reduce<R>(step: (result: R, item: T, index: number) => R, seed: R): R
  entries(): Iterable<[number, T]>
  values(): Iterable<T>
}

const kinds: Record<string, <T>() => List<T>> = {
  'the built-in array': () => [],
  'DurableArray on memory': () => new DurableArray(openDomain('memory:'), 'audit'),
  'DurableArray on sqlite': () => new DurableArray(openDomain(file()), 'audit'),
}

describe.each(Object.entries(kinds))('%s', (_kind, make) => {
  it('begins empty', () => {
    const list = make<number>()
    expect(list.length).toBe(0)
    expect([...list]).toEqual([])
    expect(list.at(0)).toBeUndefined()
    expect(list.some(() => true)).toBe(false)
    expect(list.every(() => false)).toBe(true)
  })

  it('returns the new length from push, also of none and of several', () => {
    const list = make<number>()
    expect(list.push(1)).toBe(1)
    expect(list.push()).toBe(1)
    expect(list.push(2, 3)).toBe(3)
    expect(list.length).toBe(3)
    expect([...list]).toEqual([1, 2, 3])
  })

  it('gives the item at an index, from the end too', () => {
    const list = make<string>()
    list.push('a', 'b', 'c')
    expect([0, 2, 3, -1, -3, -4].map((index) => list.at(index))).toEqual([
      'a',
      'c',
      undefined,
      'c',
      'a',
      undefined,
    ])
  })

  it('reads as an array does', () => {
    const list = make<number>()
    list.push(5, 6, 7, 8)
    const isEven = (item: number) => item % 2 === 0
    expect(list.slice(1, -1)).toEqual([6, 7])
    expect(list.slice()).toEqual([5, 6, 7, 8])
    expect(list.some(isEven)).toBe(true)
    expect(list.every(isEven)).toBe(false)
    expect(list.find(isEven)).toBe(6)
    expect(list.find((item) => item > 8)).toBeUndefined()
    expect(list.findIndex(isEven)).toBe(1)
    expect(list.findIndex((item) => item > 8)).toBe(-1)
    expect(list.filter(isEven)).toEqual([6, 8])
    expect(list.map((item, index) => item * index)).toEqual([0, 6, 14, 24])
    expect(list.reduce((sum, item, index) => sum + item * index, 1)).toBe(45)
    expect([...list.entries()].at(-1)).toEqual([3, 8])
    expect([...list.values()]).toEqual([5, 6, 7, 8])
    expect(JSON.stringify({ list })).toBe('{"list":[5,6,7,8]}')
  })

  it('visits with for-of what is pushed meanwhile, and with forEach not', () => {
    const list = make<number>()
    list.push(1, 2)
    const seen: number[] = []
    for (const item of list) {
      seen.push(item)
      if (item < 3) list.push(item + 2)
    }
    expect(seen).toEqual([1, 2, 3, 4])
    const indexes: number[] = []
    list.forEach((item, index) => {
      indexes.push(index)
      list.push(item)
    })
    expect(indexes).toEqual([0, 1, 2, 3])
    expect(list.length).toBe(8)
  })
})

describe.each([
  ['memory', 'memory:'],
  ['sqlite', 'sqlite::memory:'],
])('DurableArray against a model on %s', (_name, target) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.array(fc.integer(), { maxLength: 4 }) },
    { weight: 1, arbitrary: fc.constant('clear' as const) },
    { weight: 1, arbitrary: fc.constant('read' as const) },
  )

  it(`holds what was pushed since the last clear, whichever of two lists did it (SEED=${seed})`, () => {
    const sequences = fc.array(fc.tuple(step, fc.boolean()), { maxLength: 40 })
    fc.assert(
      fc.property(sequences, (steps) => {
        const store = openStoreSync(target, { domains: { app: {} } })
        const pair = [0, 1].map(() => new DurableArray<number>(store.domain('app'), 'audit'))
        let real: number[] = []
        for (const [what, isSecond] of steps) {
          const list = pair[isSecond ? 1 : 0] as DurableArray<number>
          if (what === 'clear') list.clear()
          if (what === 'clear') real = []
          else if (what === 'read') expect(list.toArray()).toEqual(real)
          else expect(list.push(...what)).toBe(real.push(...what))
        }
        for (const list of [...pair, new DurableArray<number>(store.domain('app'), 'audit')])
          expect([...list]).toEqual(real)
        store.close()
      }),
      { seed, numRuns: 150 },
    )
  })
})

describe('DurableArray', () => {
  it('survives a restart, with what was cleared cleared', () => {
    const list = new DurableArray<unknown>(openDomain(file()), 'audit')
    list.push('old', 'older')
    list.clear()
    list.push({ n: 1 }, null, 'text')
    stores.pop()?.close()
    const reopened = new DurableArray<unknown>(openDomain(file()), 'audit')
    expect(reopened.toArray()).toEqual([{ n: 1 }, null, 'text'])
    expect(reopened.push(4)).toBe(4)
  })

  it('loads more items than a page has, back to the last clear', () => {
    const domain = openDomain('memory:')
    const list = new DurableArray<number>(domain, 'audit')
    const numbers = Array.from({ length: 2_500 }, (_, i) => i)
    list.push(...numbers)
    expect(new DurableArray(domain, 'audit').toArray()).toEqual(numbers)
    list.clear()
    expect(new DurableArray(domain, 'audit').length).toBe(0)
    list.push(...numbers.slice(0, 1_001))
    expect(new DurableArray(domain, 'audit').toArray()).toEqual(numbers.slice(0, 1_001))
  })

  it('counts from the last clear, and writes nothing when an empty list is cleared', () => {
    const domain = openDomain('memory:')
    const list = new DurableArray<number>(domain, 'audit')
    list.clear()
    expect(domain.head()).toBe(0)
    list.push(1, 2)
    list.clear()
    list.clear()
    expect(domain.head()).toBe(3)
    expect(list.length).toBe(0)
    expect(list.push(3)).toBe(1)
    expect(list.at(0)).toBe(3)
  })

  it('keeps what was cleared in the stream', () => {
    const domain = openDomain('memory:')
    const list = new DurableArray<number>(domain, 'audit')
    list.push(1)
    list.clear()
    expect(domain.log.read('audit').events.map(({ type, data }) => [type, data])).toEqual([
      ['pushed', 1],
      ['cleared', null],
    ])
  })

  it('returns copies, and keeps a copy of what it is given', () => {
    const list = new DurableArray<{ tags: string[] }>(openDomain('memory:'), 'audit')
    const given = { tags: ['x'] }
    list.push(given)
    given.tags.push('y')
    list.at(0)?.tags.push('z')
    for (const item of list) item.tags.push('w')
    list.toArray()[0]?.tags.push('v')
    expect(list.at(0)).toEqual({ tags: ['x'] })
  })

  it.each([
    ['undefined', undefined],
    ['a function', () => {}],
    ['a Date', { at: new Date() }],
    ['a class instance', [new Set()]],
    ['Infinity', Number.POSITIVE_INFINITY],
  ])('refuses %s as an item and pushes none of its neighbours', (_what, item) => {
    const domain = openDomain('memory:')
    const list = new DurableArray<unknown>(domain, 'audit')
    expect(() => list.push('before', item, 'after')).toThrow(expect.objectContaining({ code: 'invalid' }))
    expect(domain.head()).toBe(0)
    expect(list.length).toBe(0)
  })

  it('pushes as many items as a commit takes, and refuses one more with too-large', () => {
    const domain = openDomain('memory:')
    const list = new DurableArray<number>(domain, 'audit')
    const items = Array.from({ length: limits.commitItems + 1 }, (_, i) => i)
    expect(() => list.push(...items)).toThrow(expect.objectContaining({ code: 'too-large' }))
    expect(list.length).toBe(0)
    expect(list.push(...items.slice(1))).toBe(limits.commitItems)
  })

  it('refuses a stream that holds something else, and an empty name', () => {
    const domain = openDomain('memory:')
    domain.log.append('audit', { type: 'Placed', data: 1 })
    expect(() => new DurableArray(domain, 'audit')).toThrow(expect.objectContaining({ code: 'foreign' }))
    expect(() => new DurableArray(domain, '')).toThrow(expect.objectContaining({ code: 'invalid' }))
  })

  it('sees at once what another list of the same file pushes and clears', () => {
    const one = new DurableArray<string>(openDomain(file()), 'audit')
    const two = new DurableArray<string>(openDomain(file()), 'audit')
    one.push('a')
    expect(two.at(-1)).toBe('a')
    expect(two.push('b')).toBe(2)
    expect(one.push('c')).toBe(3)
    expect([...one]).toEqual(['a', 'b', 'c'])
    two.clear()
    expect(one.length).toBe(0)
    expect(one.push('d')).toBe(1)
    expect([...two]).toEqual(['d'])
  })

  it('shares its domain with maps and other lists', () => {
    const domain = openDomain('memory:')
    const [audit, errors] = [
      new DurableArray<number>(domain, 'audit'),
      new DurableArray<number>(domain, 'errors'),
    ]
    const map = new DurableMap<string, number>(domain, 'audit')
    for (let i = 0; i < 10; i++) {
      expect(audit.push(i)).toBe(i + 1)
      map.set(`k${i % 3}`, i)
      if (i % 2 === 0) errors.push(i)
    }
    expect(audit.length).toBe(10)
    expect([...errors]).toEqual([0, 2, 4, 6, 8])
    expect([...map.values()]).toEqual([9, 7, 8])
  })

  it('loses and doubles nothing while three processes push and set at once', {
    timeout: 60_000,
  }, async () => {
    new DurableArray<string>(openDomain(file()), 'audit')
    const source = fileURLToPath(new URL('../src/sync.ts', import.meta.url))
    const program = `
      import { DurableArray, DurableMap, openStoreSync } from ${JSON.stringify(source)}
      const store = openStoreSync(${JSON.stringify(file())}, { domains: { app: {} } })
      const list = new DurableArray(store.domain('app'), 'audit')
      const map = new DurableMap(store.domain('app'), 'users')
      for (let i = 0; i < 40; i++) {
        list.push(process.argv[1] + i)
        map.set('shared' + (i % 3), process.argv[1] + i).set(process.argv[1] + i, i)
        if (i % 4 === 0) map.delete('shared' + (i % 3))
      }
      store.close()`
    const run = (name: string) =>
      promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program, name])
    await Promise.all(['a', 'b', 'c'].map(run))
    const domain = openDomain(file())
    const list = new DurableArray<string>(domain, 'audit')
    const map = new DurableMap<string, number>(domain, 'users')
    for (const name of ['a', 'b', 'c']) {
      const own = Array.from({ length: 40 }, (_, i) => `${name}${i}`)
      expect(list.filter((item) => item.startsWith(name))).toEqual(own)
      expect([...map.keys()].filter((key) => key.startsWith(name))).toEqual(own)
    }
    expect(list.length).toBe(120)
  })
})
