import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Domain, openStore, type Store } from '../src/index.ts'
import { encodeValue, parseJsonText } from '../src/model/value.ts'

let store: Store<{ app: { collections: { things: object } } }>
let app: Domain
beforeEach(async () => {
  store = (await openStore('sqlite::memory:', {
    domains: { app: { collections: { things: {} } } },
  })) as typeof store
  app = store.domain('app') as unknown as Domain
})
afterEach(() => store.close())

class Account {
  readonly owner = 'ann'
}
class Tags extends Array<string> {}

const cycle: { self?: unknown } = {}
cycle.self = cycle
const ring: unknown[] = []
ring.push({ ring })

/** A hole that a named property hides from a count of the keys. */
const hidden: unknown[] = Object.assign(new Array(1), { name: 'x' })

/** Each kind of value that is refused, with the words that must name it. */
const refused: readonly (readonly [what: string, value: unknown, named: RegExp])[] = [
  ['undefined', undefined, /undefined/],
  ['NaN', Number.NaN, /NaN/],
  ['Infinity', Number.POSITIVE_INFINITY, /Infinity/],
  ['-Infinity', Number.NEGATIVE_INFINITY, /-Infinity/],
  ['-0', -0, /-0/],
  ['a BigInt', 1n, /bigint/],
  ['a function', () => 1, /function/],
  ['a symbol', Symbol('s'), /symbol/],
  ['an object with a symbol for a key', { [Symbol('s')]: 1 }, /symbol key/],
  ['an instance of a class', new Account(), /Account/],
  ['an instance of a class of arrays', Tags.from(['a']), /Tags/],
  ['a Date', new Date(0), /Date/],
  ['a Map', new Map(), /Map/],
  ['a Set', new Set(), /Set/],
  ['a RegExp', /x/, /RegExp/],
  ['an Error', new Error('x'), /Error/],
  ['bytes', new Uint8Array(2), /Uint8Array/],
  ['a Buffer', Buffer.from('x'), /Buffer/],
  ['a boxed string', Object('x'), /String/],
  ['a promise', Promise.resolve(1), /Promise/],
  ['an array with a hole', new Array(1), /holes/],
  ['an array with a named property', Object.assign([1], { name: 'x' }), /named properties/],
  ['an array with a hole and a named property', hidden, /holes/],
  ['a lone high surrogate', 'a\ud800b', /surrogate/],
  ['a lone low surrogate', '\udc00', /surrogate/],
  ['a key with a lone surrogate', { '\ud800': 1 }, /surrogate/],
  ['an array with a symbol for a key', Object.assign([1], { [Symbol('s')]: 1 }), /symbol key/],
  ['NUL', 'a\0b', /NUL/],
  ['a key with NUL', { 'a\0': 1 }, /NUL/],
]

const invalid = (path: string, message: RegExp) =>
  expect.objectContaining({
    code: 'invalid',
    details: { path },
    message: expect.stringMatching(message),
    hint: expect.stringMatching(/\w/),
  })

describe('a value that JSON would lose or change', () => {
  it.each(refused)(
    'is refused: %s, alone and inside, with the path to it and before anything is written',
    async (_what, value, named) => {
      const things = app.documents('things')
      const head = await app.head()
      const keyed =
        typeof value === 'object' &&
        value !== null &&
        Object.keys(value).some((key) => /[\0\ud800]/.test(key))
      const at = (path: string) => (keyed ? expect.stringContaining(path) : path)
      for (const [wrapped, path] of [
        [value, ''],
        [{ a: value }, 'a'],
        [[1, value], '[1]'],
        [{ a: [{ b: value }] }, 'a[0].b'],
      ] as const) {
        const refusal = invalid(at(path), named)
        await expect(things.put('x', wrapped)).rejects.toEqual(refusal)
        await expect(app.log.append('s', { type: 't', data: wrapped })).rejects.toEqual(refusal)
        await expect(app.log.append('s', { type: 't', data: 1, meta: { m: wrapped } })).rejects.toMatchObject(
          { code: 'invalid' },
        )
      }
      expect(await app.head()).toBe(head)
    },
  )

  it.each([
    ['an object in itself', cycle],
    ['an array in itself', ring],
  ])('is refused: %s', async (_what, value) => {
    await expect(app.documents('things').put('x', value)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/cycle/),
    })
  })

  it.each([
    ['too many digits', '12345678901234567890'],
    ['too many decimals', '0.12345678901234567890'],
    ['too large', '1e400'],
    ['minus zero', '-0'],
    ['inside', '{"a":[9007199254740993]}'],
    ['no JSON', '{a:1}'],
    ['a lone surrogate', '"\\ud800"'],
    ['NUL', '{"\\u0000":1}'],
  ])('is refused as text from outside: %s', (_what, given) => {
    expect(() => parseJsonText(given)).toThrow(expect.objectContaining({ code: 'invalid' }))
  })

  it.each([
    '1',
    '0.1',
    '1e21',
    '-1.50',
    '9007199254740991',
    '9007199254740992',
    '5e-324',
    '{"a":[1,"2"]}',
    '" 12345678901234567890 "',
  ])('is something else than the text %s, which is taken', (given) => {
    expect(JSON.parse(parseJsonText(given))).toEqual(JSON.parse(given))
  })
})

describe('a value that JSON keeps', () => {
  it.each([
    ['null', null],
    ['an empty object', {}],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ['keys named like members of objects', JSON.parse('{"__proto__":{"a":1},"constructor":1,"toString":2}')],
    [
      'the largest and the smallest numbers',
      [Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, Number.MAX_SAFE_INTEGER],
    ],
    ['text of all planes, with escapes', '\u0001\n"\\/\u2028é€🚀\uffff'],
    ['text that looks like an escape', 'a\\ud800 \\u0000'],
    ['objects and arrays of another realm', runInNewContext('({ a: [1, { b: [] }] })')],
    [
      'the same part twice',
      (() => {
        const part = { a: 1 }
        return [part, part]
      })(),
    ],
  ])('comes back as it went in: %s', async (_what, value) => {
    const things = app.documents<'things'>('things' as never)
    await things.put('x', value as never)
    const found = await things.get('x')
    expect(JSON.stringify(found?.value)).toBe(JSON.stringify(value))
  })

  it('is a copy: a caller that changes its object afterwards changes nothing', async () => {
    const given = { tags: ['a'] }
    const writing = app.log.append('s', { type: 't', data: given })
    given.tags.push('b')
    await writing
    const [event] = (await app.log.read('s')).events
    expect(event?.data).toEqual({ tags: ['a'] })
  })
})

describe('encodeValue, whatever it is given', () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  })

  it(`gives text that reads as the same value, or refuses with invalid (SEED=${seed})`, () => {
    let taken = 0
    let refusals = 0
    fc.assert(
      fc.property(anything, (value) => {
        let encoded: string
        try {
          encoded = encodeValue(value)
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid' })
          refusals++
          return
        }
        taken++
        expect(encoded).toBe(JSON.stringify(value))
        expect(JSON.parse(encoded)).toEqual(value)
      }),
      { seed, numRuns: 3_000 },
    )
    expect(taken).toBeGreaterThan(100)
    expect(refusals).toBeGreaterThan(100)
  })
})
