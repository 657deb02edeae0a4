/** Ways to hold a transaction: each driver and query builder that `domain.within` takes, behind one small interface. */
import type { PGlite, Transaction as PGliteTransaction } from '@electric-sql/pglite'
import { PrismaPg } from '@prisma/adapter-pg'
import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePGlite } from 'drizzle-orm/pglite'
import { CamelCasePlugin, Kysely, sql as kyselySql, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { TransactionClient } from '../../src/index.ts'
import { PrismaClient } from './prisma.ts'

/** A transaction that is held: the client for `within`, and a way to write a table of one's own by the same means. */
export interface Held {
  readonly client: TransactionClient
  run(statement: string): PromiseLike<unknown>
  /** Writes a row into the own table. */
  write(n: number): PromiseLike<unknown>
}

export interface Holder {
  /** Begins, runs `work`, and commits; rolls back and throws what `work` threw. */
  transaction<T>(work: (held: Held) => Promise<T>): Promise<T>
  /** A client that is in no transaction, or a pool. */
  readonly outside: unknown
  close(): Promise<void>
}

const heldBy = (client: TransactionClient, table: string, run: Held['run']): Held => ({
  client,
  run,
  write: (n) => run(`INSERT INTO ${table} (n) VALUES (${n})`),
})

/** On the server, with the own table named; `begin` for another isolation. */
export function pgHolder(url: string, table: string, begin = 'BEGIN'): Holder {
  const pool = new pg.Pool({ connectionString: url, max: 20 })
  return {
    outside: pool,
    async transaction(work) {
      const client = await pool.connect()
      try {
        await client.query(begin)
        const result = await work(heldBy(client, table, (text) => client.query(text)))
        await client.query('COMMIT')
        return result
      } catch (error) {
        await client.query('ROLLBACK')
        throw error
      } finally {
        client.release()
      }
    },
    close: () => pool.end(),
  }
}

/** A driver that is not known: a function that runs statements and gives rows as objects, `bigint` as texts. */
function functionHolder(url: string, table: string): Holder {
  const inner = pgHolder(url, table)
  const run = (client: pg.Pool) => async (text: string, parameters: (string | null)[]) =>
    (await client.query(text, parameters)).rows as object[]
  return {
    ...inner,
    outside: run(inner.outside as pg.Pool),
    transaction: (work) =>
      inner.transaction((held) => work({ ...held, client: run(held.client as unknown as pg.Pool) })),
  }
}

function drizzleHolder(url: string, table: string): Holder {
  const pool = new pg.Pool({ connectionString: url })
  const db = drizzlePg(pool)
  return {
    outside: db,
    transaction: (work) =>
      db.transaction((tx) => work(heldBy(tx, table, (text) => tx.execute(drizzleSql.raw(text))))),
    close: () => pool.end(),
  }
}

function kyselyHolder(url: string, table: string): Holder {
  const pool = new pg.Pool({ connectionString: url })
  // A plugin that renames columns must not matter.
  const db = new Kysely({ dialect: new PostgresDialect({ pool }), plugins: [new CamelCasePlugin()] })
  return {
    outside: db,
    transaction: (work) =>
      db.transaction().execute((tx) => work(heldBy(tx, table, (text) => kyselySql.raw(text).execute(tx)))),
    close: () => db.destroy(),
  }
}

function prismaHolder(url: string, table: string): Holder {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })
  return {
    outside: prisma,
    transaction: (work) =>
      prisma.$transaction((tx) => work(heldBy(tx, table, (text) => tx.$executeRawUnsafe(text)))),
    close: () => prisma.$disconnect(),
  }
}

function pgliteHolder(instance: PGlite, table: string): Holder {
  return {
    outside: instance,
    transaction: (work) =>
      instance.transaction((tx: PGliteTransaction) =>
        work(heldBy(tx, table, (text) => tx.query(text))),
      ) as never,
    async close() {},
  }
}

function drizzlePGliteHolder(instance: PGlite, table: string): Holder {
  const db = drizzlePGlite(instance)
  return {
    outside: db,
    transaction: (work) =>
      db.transaction((tx) => work(heldBy(tx, table, (text) => tx.execute(drizzleSql.raw(text))))),
    async close() {},
  }
}

/** By name; those on the server take its URL, those on PGlite its instance. */
export const serverHolders: Record<string, (url: string, table: string) => Holder> = {
  pg: pgHolder,
  'a function': functionHolder,
  Drizzle: drizzleHolder,
  Kysely: kyselyHolder,
  Prisma: prismaHolder,
}
export const pgliteHolders: Record<string, (instance: PGlite, table: string) => Holder> = {
  PGlite: pgliteHolder,
  'Drizzle on PGlite': drizzlePGliteHolder,
}
