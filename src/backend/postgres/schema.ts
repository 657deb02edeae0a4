/** The schema: its migrations, and what there is of them. */
import type { Supports } from '../backend.ts'
import { type Applied, loadMigrations, pendingMigrations } from '../sql/migration.ts'
import type { Database, Query } from './driver.ts'
import { checkServer } from './settings.ts'
import type { Tables } from './table.ts'

/** Brings the schema up to date, and says what an acknowledgement of this server outlives. No DDL if all is current. */
export async function prepareSchema(database: Database, tables: Tables): Promise<Supports['durability']> {
  await database.checkSessions?.()
  const durability = await checkServer(database.query)
  const { pending } = await inspectSchema(database.query, tables)
  if (pending.length > 0) await migrate(database, tables)
  return durability
}

export interface SchemaState {
  readonly applied: readonly string[]
  readonly pending: readonly string[]
}

/** Which migrations a schema has and which it lacks; one that is not there lacks all. Changes nothing. */
export async function inspectSchema(query: Query, tables: Tables): Promise<SchemaState> {
  const isThere = (await query('SELECT to_regclass($1) IS NOT NULL', [migrationsOf(tables)]))[0]?.[0]
  const applied = isThere === true ? await appliedTo(query, tables) : []
  const names = (migrations: readonly { name: string }[]) => migrations.map(({ name }) => name)
  return { applied: names(applied), pending: names(pendingMigrations(known(), applied)) }
}

function known() {
  return loadMigrations(new URL('./migration/', import.meta.url))
}

function migrationsOf(tables: Tables): string {
  return `${tables.schema}.underpin_migrations`
}

async function appliedTo(query: Query, tables: Tables): Promise<Applied[]> {
  const rows = await query(`SELECT number, name, checksum FROM ${migrationsOf(tables)} ORDER BY number`)
  return rows.map(([number, name, checksum]) => ({
    number: Number(number),
    name: String(name),
    checksum: String(checksum),
  }))
}

/** Under a lock of its own, so that of two processes that start together one does it. */
async function migrate(database: Database, tables: Tables): Promise<void> {
  await database.transaction(async (query) => {
    await query('SELECT pg_advisory_xact_lock(hashtext($1))', [`underpin migrations of ${tables.schema}`])
    // Asked for first: a role that may create tables in its schema, but no schemas, may not even say IF NOT EXISTS.
    const [row] = await query('SELECT to_regnamespace($1) IS NULL', [tables.schema])
    if (row?.[0] === true) await query(`CREATE SCHEMA ${tables.schema}`)
    if ((await inspectSchema(query, tables)).applied.length === 0)
      await query(
        `CREATE TABLE IF NOT EXISTS ${migrationsOf(tables)} (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)`,
      )
    for (const { number, name, sql, checksum } of pendingMigrations(
      known(),
      await appliedTo(query, tables),
    )) {
      await query(`SET LOCAL search_path TO ${tables.schema}`)
      for (const statement of sql.split(/;\s*$/m))
        if (/\S/.test(statement.replace(/^--.*$/gm, ''))) await query(statement)
      await query(`INSERT INTO ${migrationsOf(tables)} (number, name, checksum) VALUES ($1, $2, $3)`, [
        number,
        name,
        checksum,
      ])
    }
  })
}
