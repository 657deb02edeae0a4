import { randomBytes } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { Kysely } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import {
  type Backend,
  collection,
  type Domain,
  isUnderpinError,
  openStore,
  type Store,
  type TransactionClient,
  verifyDomain,
} from '../src/index.ts'
import { type Holder, pgliteHolders, serverHolders } from './within/holders.ts'
import type { PrismaClient } from './within/prisma.ts'

const server = inject('postgres')
const url = 'url' in server ? server.url : ''
const missing = 'reason' in server ? server.reason : undefined

const domains = {
  app: {
    collections: {
      users: collection<{ email: string; age?: number; isAdmin?: boolean }>({
        fields: { email: 'string', age: 'number', isAdmin: 'boolean' },
        indexes: {
          by_email: { fields: ['email'], unique: true },
          by_age: { fields: ['age', 'isAdmin'], where: { email: "it's $1" } },
          by_admin: { fields: ['isAdmin', 'age'] },
        },
      }),
      notes: collection<unknown>(),
    },
  },
  other: { collections: { notes: collection<unknown>() } },
} as const

type AppStore = Store<typeof domains>

/** A store, a transaction's holder beside it, and the rows of the own table. */
interface Place {
  readonly store: AppStore
  readonly holder: Holder
  own(): Promise<number[]>
  close(): Promise<void>
}

const places: Record<string, () => Promise<Place>> = {}
for (const [name, make] of Object.entries(serverHolders))
  places[name] = async () => {
    const schema = `w_${randomBytes(4).toString('hex')}`
    const store = await openStore(`${url}?schema=${schema}`, { domains })
    const admin = new pg.Client(url)
    await admin.connect()
    await admin.query(`CREATE TABLE ${schema}.own (n integer)`)
    const holder = make(url, `${schema}.own`)
    return {
      store,
      holder,
      own: async () => (await admin.query(`SELECT n FROM ${schema}.own ORDER BY n`)).rows.map(({ n }) => n),
      async close() {
        await store.close()
        await holder.close()
        await admin.query(`DROP SCHEMA ${schema} CASCADE`)
        await admin.end()
      },
    }
  }

/** PostgreSQL inside this process takes seconds to start: one for all. */
let instance: PGlite | undefined
afterAll(() => instance?.close())
for (const [name, make] of Object.entries(pgliteHolders))
  places[name] = async () => {
    instance ??= new PGlite()
    const database = instance
    const schema = `w_${randomBytes(4).toString('hex')}`
    const store = await openStore(postgres(database, { schema }), { domains })
    await database.exec(`CREATE TABLE ${schema}.own (n integer)`)
    const holder = make(database, `${schema}.own`)
    const own = async () =>
      (await database.query<{ n: number }>(`SELECT n FROM ${schema}.own ORDER BY n`)).rows.map(({ n }) => n)
    return { store, holder, own, close: () => store.close() }
  }

/** Texts that an array literal, a template or a placeholder could mistake for something else. */
const odd = [
  '',
  'NULL',
  'null',
  '{}',
  '{"a",b}',
  'a"b',
  "it's $1",
  'back\\slash',
  '\\"',
  '$2 ?',
  'Größe 🧱',
  'a\nb\t',
]

describe.each(Object.keys(places))('a transaction held with %s', (name) => {
  const isMissing = name in serverHolders ? missing : undefined
  let place: Place
  beforeAll(async () => {
    if (isMissing === undefined) place = await (places[name] as () => Promise<Place>)()
    // PGlite starts a database inside the process.
  }, 60_000)
  afterAll(() => place?.close())
  beforeEach(({ skip }) => skip(isMissing !== undefined, isMissing))

  it('commits events, documents and a table of one’s own together', async () => {
    const app = place.store.domain('app')
    const before = await app.head()
    await place.holder.transaction(async ({ client, write }) => {
      await write(1)
      const held = app.within(client)
      const first = await held.log.append('together', [
        { type: 'x', data: 1 },
        { type: 'y', data: 2, meta: {} },
      ])
      expect(first).toMatchObject({ positions: [before + 1, before + 2], seqs: [1, 2] })
      await held.documents('notes').put('together', { n: 1 })
    })
    expect(await place.own()).toContain(1)
    expect(await app.log.seq('together')).toBe(2)
    expect((await app.documents('notes').get('together'))?.revision).toBe(before + 3)
    // The store did not see these commits pass, and goes on behind them.
    expect((await app.log.append('together', { type: 'z', data: 3 })).position).toBe(before + 4)
  })

  it('rolls all of it back together', async () => {
    const app = place.store.domain('app')
    const before = await app.head()
    const rolledBack = place.holder.transaction(async ({ client, write }) => {
      await write(2)
      const held = app.within(client)
      await held.log.append('never', { type: 'x', data: 1 })
      await held.documents('notes').put('never', 1)
      expect(await held.head()).toBe(before + 2)
      throw new Error('changed my mind')
    })
    await expect(rolledBack).rejects.toThrow('changed my mind')
    expect(await place.own()).not.toContain(2)
    expect(await app.head()).toBe(before)
    expect(await app.documents('notes').get('never')).toBeUndefined()
    expect(await app.log.append('never', { type: 'x', data: 1 })).toMatchObject({
      position: before + 1,
      seqs: [1],
    })
  })

  it('sees what it wrote itself, and nobody else does before it commits', async () => {
    const app = place.store.domain('app')
    await app.documents('users').put('own-ada', { email: 'own-ada', age: 36, isAdmin: true })
    await place.holder.transaction(async ({ client }) => {
      const held = app.within(client)
      await held.log.append('own', { type: 'x', data: [1, 'two', null] })
      await held.documents('users').put('own-eve', { email: 'own-eve', age: 36.5, isAdmin: true })
      await held
        .documents('users')
        .put('own-bob', { email: 'own-bob', age: -1, isAdmin: true }, { expiresAt: 9e12 })
      await held.documents('users').delete('own-ada')
      expect((await held.log.read('own')).events.map(({ seq, data }) => [seq, data])).toEqual([
        [1, [1, 'two', null]],
      ])
      expect(await held.documents('users').get('own-ada')).toBeUndefined()
      const listed: string[] = []
      for await (const { id } of held.documents('users').all({ index: 'by_admin', equals: [true], limit: 1 }))
        listed.push(id)
      expect(listed).toEqual(['own-bob', 'own-eve'])
      const page = await held.changes({ after: (await held.head()) - 4 })
      expect(page.items.map(({ kind }) => kind)).toEqual(['event', 'document', 'document', 'tombstone'])
    })
    expect(await app.documents('users').get('own-ada')).toBeUndefined()
    expect((await app.documents('users').get('own-bob'))?.expiresAt).toBe(9e12)
  })

  it('is usable after a failed check, which says what it found', async () => {
    const app = place.store.domain('app')
    await app.documents('users').put('first', { email: 'taken' })
    await app.log.append('used', { type: 'x', data: 1 })
    await place.holder.transaction(async ({ client, write }) => {
      const held = app.within(client)
      const conflicts = [
        () => held.log.append('used', { type: 'x', data: 2 }, { expect: 'none' }),
        () => held.documents('users').put('second', { email: 'taken' }),
        () => held.documents('users').put('first', { email: 'new' }, { expect: 'absent' }),
      ]
      for (const conflict of conflicts) await expect(conflict()).rejects.toMatchObject({ code: 'conflict' })
      await write(3)
      await held.log.append('used', { type: 'x', data: 2 }, { expect: 1 })
    })
    expect(await place.own()).toContain(3)
    expect(await app.log.seq('used')).toBe(2)
  })

  it('carries every text to the byte', async () => {
    const app = place.store.domain('app')
    const names = odd.map((text) => `n${text}`)
    await place.holder.transaction(async ({ client }) => {
      const held = app.within(client)
      await held.transaction((tx) => {
        for (const [i, name] of names.entries()) {
          tx.append(`odd ${name}`, {
            type: name,
            data: { [name]: odd[i] },
            ...(i % 2 === 0 ? { meta: { [name]: odd[i] } } : {}),
          })
          tx.put(
            'users',
            name,
            { email: odd[i] as string, age: i },
            i % 2 === 0 ? {} : { expiresAt: 9e12 + i },
          )
        }
      })
      for (const name of names) expect((await held.documents('users').get(name))?.id).toBe(name)
      // The condition of this index holds a placeholder in quotes.
      const { documents } = await held.documents('users').list({ index: 'by_age' })
      expect(documents.map(({ value }) => value.email)).toEqual(["it's $1"])
    })
    for (const [i, name] of names.entries()) {
      const [event] = (await app.log.read(`odd ${name}`)).events
      expect(event).toMatchObject({ type: name, data: { [name]: odd[i] } })
      expect(event?.meta).toEqual(i % 2 === 0 ? { [name]: odd[i] } : undefined)
      expect(await app.documents('users').get(name)).toMatchObject({ value: { email: odd[i], age: i } })
    }
    const [backend] = place.store.backends.values()
    expect(await verifyDomain(backend as Backend, 'app')).toMatchObject({ isSound: true })
  })

  it('that cannot be serialized says so as unavailable, and to run all of it again', async ({ skip }) => {
    skip(!(name in serverHolders), 'PGlite has one connection: nobody can come between')
    const app = place.store.domain('app')
    const late = place.holder.transaction(async ({ client, run }) => {
      await run('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
      const held = app.within(client)
      await held.head()
      await app.log.append('between', { type: 'x', data: 1 })
      await held.log.append('between', { type: 'x', data: 2 })
    })
    await expect(late).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('whole transaction'),
    })
    expect(await app.log.seq('between')).toBe(1)
  })

  it('is refused when there is none, before anything is written', async () => {
    const app = place.store.domain('app')
    const before = await app.head()
    const outside = async () =>
      app.within(place.holder.outside as TransactionClient).log.append('no', { type: 'x', data: 1 })
    const error = await outside().then(
      () => undefined,
      (found: unknown) => found,
    )
    expect(error instanceof TypeError || isUnderpinError(error, 'invalid'), String(error)).toBe(true)
    expect(await app.head()).toBe(before)
  })
})

describe('a database outside of its transaction', () => {
  it('is no client, by its type', () => {
    const refused = (
      app: Domain,
      pool: pg.Pool,
      pglite: PGlite,
      drizzled: NodePgDatabase,
      kysely: Kysely<unknown>,
      prisma: InstanceType<typeof PrismaClient>,
    ) => {
      // @ts-expect-error each query of a pool may go to another session
      app.within(pool)
      // @ts-expect-error PGlite itself
      app.within(pglite)
      // @ts-expect-error Drizzle's database
      app.within(drizzled)
      // @ts-expect-error Kysely's database
      app.within(kysely)
      // @ts-expect-error Prisma's client
      app.within(prisma)
    }
    expect(refused).toBeTypeOf('function')
  })
})
