import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DurableKey, DurableMap, openStoreSync } from '../src/sync.ts'

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
