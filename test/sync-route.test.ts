import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { memory } from '../src/backend/memory.ts'
import { type Backend, collection, openStore } from '../src/index.ts'
import { plainCollection } from '../src/model/collection.ts'
import { DurableMap, openStoreSync } from '../src/sync.ts'

let folder: string
const stores: { close(): unknown }[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-sync-route-'))
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  rmSync(folder, { recursive: true, force: true })
})

const places: [string, () => string | Backend][] = [
  ['memory', memory],
  ['sqlite', () => `sqlite:${join(folder, 'app.db')}`],
]

const failing = (code: string) => expect.objectContaining({ code })
const people = collection({
  schema: z.object({ value: z.number() }),
  fields: { value: 'number' },
  indexes: { by_value: { fields: ['value'] } },
})

describe.each(places)('a synchronous domain on %s', (_name, makePlace) => {
  let place: string | Backend
  beforeEach(() => {
    place = makePlace()
  })
  function openApp<C extends Record<string, ReturnType<typeof collection>>>(collections: C) {
    const store = openStoreSync(place, { domains: { app: { collections } } })
    stores.push(store)
    return store.domain('app')
  }

  it('has the collections that are stored, declared or not, with their indexes', async () => {
    const first = await openStore(place, { domains: { app: { collections: { people } } } })
    await first.domain('app').documents('people').put('ann', { value: 7 })
    await first.close()
    const app = openApp({})
    const stored = app.documents('people' as never)
    expect(stored.get('ann')).toMatchObject({ value: { value: 7 } })
    expect(stored.list({ index: 'by_value', equals: [7] }).documents).toHaveLength(1)
    expect(() => stored.put('bob', { value: 'seven' } as never)).toThrow(failing('invalid'))
    expect(() => app.documents('nowhere' as never)).toThrow(failing('invalid'))
  })

  it('writes no definition again that is stored as it is declared', () => {
    const before = openApp({ people }).head()
    stores.splice(0).map((store) => store.close())
    expect(openApp({ people }).head()).toBe(before)
  })

  it('keeps the schema of a collection that is declared again without one', () => {
    const app = openApp({ people })
    app.port.declare('people', { definition: plainCollection, schema: undefined })
    new DurableMap(app, 'people')
    const documents = app.documents('people')
    expect(() => documents.put('ann', { value: 'seven' } as never)).toThrow(failing('invalid'))
    documents.put('ann', { value: 7 })
    expect(documents.list({ index: 'by_value' }).documents).toHaveLength(1)
  })

  it('takes another schema when one is given', () => {
    const app = openApp({ people })
    app.port.declare('people', { definition: plainCollection, schema: z.object({ value: z.literal(1) }) })
    expect(() => app.documents('people').put('ann', { value: 7 })).toThrow(failing('invalid'))
  })

  it.each(['', 'No Name', '$commits', 'a__b', 'x'.repeat(29)])('declares no collection named %j', (name) => {
    const app = openApp({})
    const head = app.head()
    expect(() => app.port.declare(name, { definition: plainCollection, schema: undefined })).toThrow(
      failing('invalid'),
    )
    expect(app.head()).toBe(head)
  })

  it('does not have a definition that was refused', () => {
    const app = openApp({ people })
    app.documents('people').put('ann', { value: 7 })
    app.documents('people').put('bob', { value: 7 })
    const one_value = { fields: ['value'], unique: true, where: {} }
    const definition = { fields: { value: 'number' as const }, indexes: { one_value } }
    expect(() => app.port.declare('people', { definition, schema: undefined })).toThrow(failing('conflict'))
    expect(app.port.collection('people').definition.indexes).not.toHaveProperty('one_value')
    expect(() =>
      app.port.declare('new', { definition: { ...definition, fields: {} }, schema: undefined }),
    ).toThrow(failing('invalid'))
    expect(() => app.documents('new' as never)).toThrow(failing('invalid'))
  })
})
