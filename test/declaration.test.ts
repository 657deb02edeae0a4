import { afterEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type IndexOptions, openStore } from '../src/index.ts'
import { limits } from '../src/model/limit.ts'
import { openStoreSync } from '../src/sync.ts'

const places: [string, () => string][] = [
  ['memory', () => 'memory:'],
  ['sqlite', () => 'sqlite::memory:'],
]
const stores: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

const name = (bytes: number) => 'x'.repeat(bytes)
const domainsWith = (domain: string, collectionName: string, indexes: Record<string, IndexOptions>) => {
  const fields = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`f${i}`, 'string' as const]))
  return { domains: { [domain]: { collections: { [collectionName]: { fields, indexes } } } } }
}
const fieldNames = (n: number) => Array.from({ length: n }, (_, i) => `f${i}`)
const declarations: readonly {
  what: string
  limit: number
  declared: (n: number) => ReturnType<typeof domainsWith>
}[] = [
  {
    what: 'the name of a domain',
    limit: limits.nameBytes,
    declared: (n) => domainsWith(name(n), 'things', {}),
  },
  {
    what: 'the name of a collection',
    limit: limits.nameBytes,
    declared: (n) => domainsWith('app', name(n), {}),
  },
  {
    what: 'the name of an index',
    limit: limits.nameBytes,
    declared: (n) => domainsWith('app', 'things', { [name(n)]: { fields: ['f0'] } }),
  },
  {
    what: 'the indexes of a collection',
    limit: limits.indexes,
    declared: (n) =>
      domainsWith(
        'app',
        'things',
        Object.fromEntries(Array.from({ length: n }, (_, i) => [`by_${i}`, { fields: ['f0'] }])),
      ),
  },
  {
    what: 'the fields of an index',
    limit: limits.indexFields,
    declared: (n) => domainsWith('app', 'things', { by_all: { fields: fieldNames(n) } }),
  },
  {
    what: 'the fields in the where of an index',
    limit: limits.indexFields,
    declared: (n) =>
      domainsWith('app', 'things', {
        some: { fields: ['f0'], where: Object.fromEntries(fieldNames(n).map((field) => [field, 'x'])) },
      }),
  },
]

describe.each(places)('a declaration on %s', (_name, place) => {
  it.each(declarations)(
    'may reach the limit of $limit for $what; one more is refused',
    async ({ limit, declared }) => {
      await expect(openStore(place(), declared(limit + 1))).rejects.toMatchObject({ code: 'invalid' })
      const store = await openStore(place(), declared(limit))
      stores.push(store)
    },
  )
})

describe('the indexes of several openings', () => {
  const half = (from: number) =>
    domainsWith(
      'app',
      'things',
      Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`by_${from + i}`, { fields: ['f0'] }])),
    )

  it('may not exceed the limit together', async () => {
    const backend = memory()
    await (await openStore(backend, half(0))).close()
    await expect(openStore(backend, half(9))).rejects.toMatchObject({ code: 'invalid' })
    stores.push(await openStore(backend, half(7)))
  })
})

const withFields = (...fields: string[]) => ({
  domains: {
    app: {
      collections: {
        things: { fields: Object.fromEntries(fields.map((field) => [field, 'string' as const])) },
      },
    },
  },
})
const onlyCase = expect.objectContaining({ code: 'invalid', message: expect.stringMatching(/case/) })

describe.each(places)('fields that differ only in case on %s', (_name, place) => {
  it.each([[['email', 'Email']], [['address.city', 'Address.city']], [['a', 'b', 'A']]])(
    'are refused when they are declared: %j',
    async (fields) => {
      await expect(openStore(place(), withFields(...fields))).rejects.toEqual(onlyCase)
      expect(() => openStoreSync(place(), withFields(...fields))).toThrow(onlyCase)
    },
  )

  it('are told apart from fields that differ otherwise', async () => {
    stores.push(await openStore(place(), withFields('email', 'Email2', 'e_mail', 'a.email', 'A.Mail')))
  })
})

describe('what several openings declare together', () => {
  it('may not have fields that differ only in case, and the stored definition stays as it was', async () => {
    const backend = memory()
    await (await openStore(backend, withFields('email'))).close()
    await expect(openStore(backend, withFields('EMAIL'))).rejects.toEqual(onlyCase)
    const store = await openStore(backend, withFields('email', 'phone'))
    stores.push(store)
    const { items } = await store.domain('app').changes()
    expect(items.map((item) => item.kind === 'document' && item.value)).toEqual([
      { fields: { email: 'string', phone: 'string' }, indexes: {} },
    ])
  })

  it('is taken up also where a domain has more collections than a page of them', async () => {
    const names = Array.from({ length: 1_100 }, (_, i) => `c${i}`)
    const collections = Object.fromEntries(names.map((collection) => [collection, {}]))
    const backend = memory()
    await (await openStore(backend, { domains: { app: { collections } } })).close()
    const store = await openStore(backend, { domains: { app: { collections: { c999: {} } } } })
    stores.push(store)
    for (const collection of names)
      expect(
        await store
          .domain('app')
          .documents(collection as 'c999')
          .get('x'),
      ).toBeUndefined()
  })
})
