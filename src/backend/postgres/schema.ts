/** The schema: its migrations, and the settings of the server that a promise depends on. */
import { UnderpinError } from '../../error.ts'
import type { Supports } from '../backend.ts'
import { type Applied, loadMigrations, pendingMigrations } from '../sql/migration.ts'
import type { Database, Query } from './driver.ts'
import type { Tables } from './table.ts'

/** Brings the schema up to date, and says what an acknowledgement of this server outlives. */
export async function prepareSchema(database: Database, tables: Tables): Promise<Supports['durability']> {
  const durability = await checkServer(database.query)
  if (!(await isCurrent(database.query, tables))) await migrate(database, tables)
  return durability
}

async function checkServer(query: Query): Promise<Supports['durability']> {
  const setting = async (name: string) => String((await query(`SELECT current_setting('${name}')`))[0]?.[0])
  const version = Number(await setting('server_version_num'))
  if (version < 140_000)
    throw new UnderpinError(
      'unsupported',
      `PostgreSQL ${Math.floor(version / 10_000)} is too old; 14 or later is needed`,
    )
  if ((await query('SELECT pg_is_in_recovery()'))[0]?.[0] === true)
    throw new UnderpinError('unsupported', 'The server is a standby: it cannot write', {
      hint: 'Connect to the primary.',
    })
  if ((await setting('transaction_read_only')) === 'on')
    throw new UnderpinError('unsupported', 'Transactions are read-only on this server or for this role')
  if ((await setting('server_encoding')) !== 'UTF8')
    throw new UnderpinError('unsupported', 'The database is not encoded in UTF-8')
  if ((await setting('transaction_isolation')) !== 'read committed')
    throw new UnderpinError(
      'unsupported',
      'The default isolation of this role or database is not "read committed"',
      {
        hint: 'ALTER ROLE … SET default_transaction_isolation = "read committed"',
      },
    )
  const isSynced = (await setting('fsync')) === 'on' && (await setting('synchronous_commit')) !== 'off'
  return isSynced ? 'durable' : 'process'
}

async function isCurrent(query: Query, tables: Tables): Promise<boolean> {
  const [row] = await query('SELECT to_regclass($1) IS NOT NULL', [`${tables.schema}.underpin_migrations`])
  return row?.[0] === true && (await pending(query, tables)).length === 0
}

async function pending(query: Query, tables: Tables) {
  const rows = await query(
    `SELECT number, name, checksum FROM ${tables.schema}.underpin_migrations ORDER BY number`,
  )
  const applied: Applied[] = rows.map(([number, name, checksum]) => ({
    number: Number(number),
    name: String(name),
    checksum: String(checksum),
  }))
  return pendingMigrations(loadMigrations(new URL('./migration/', import.meta.url)), applied)
}

/** Under a lock of its own, so that of two processes that start together one does it. */
async function migrate(database: Database, tables: Tables): Promise<void> {
  await database.transaction(async (query) => {
    await query('SELECT pg_advisory_xact_lock(hashtext($1))', [`underpin migrations of ${tables.schema}`])
    await query(`CREATE SCHEMA IF NOT EXISTS ${tables.schema}`)
    await query(
      `CREATE TABLE IF NOT EXISTS ${tables.schema}.underpin_migrations (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)`,
    )
    for (const { number, name, sql, checksum } of await pending(query, tables)) {
      await query(`SET LOCAL search_path TO ${tables.schema}`)
      for (const statement of sql.split(/;\s*$/m))
        if (/\S/.test(statement.replace(/^--.*$/gm, ''))) await query(statement)
      await query(
        `INSERT INTO ${tables.schema}.underpin_migrations (number, name, checksum) VALUES ($1, $2, $3)`,
        [number, name, checksum],
      )
    }
  })
}
