/** What is known of a SQLite database and its driver, for `underpin doctor`. */
import { existsSync, statSync } from 'node:fs'
import { pendingMigrations } from '../sql/migration.ts'
import { type Connection, connect, findDriver } from './driver.ts'
import { translate } from './error.ts'
import { appliedMigrations, migrations } from './file.ts'
import { parseTarget } from './target.ts'

export interface SqliteInspection {
  /** The driver in use, with its version if it is a package. */
  readonly driver: string
  /** The version of SQLite in it. */
  readonly version: string
  readonly journalMode: string
  /** What a commit of this store waits for: FULL outlives a power failure. */
  readonly synchronous: 'FULL' | 'NORMAL'
  readonly walBytes: number
  /** The migrations that were applied, by name; none if the database is not one of Underpin's. */
  readonly applied: readonly string[]
  /** Those that the next process to open the store will apply. */
  readonly pending: readonly string[]
}

/** Looks at a database file over a connection that cannot write. */
export function inspectSqlite(url: string): SqliteInspection {
  const { path, durability } = parseTarget(url)
  const connection = connect(path, true)
  try {
    const one = (sql: string) => String(connection.prepare(sql).row()?.[0])
    const wal = `${path}-wal`
    return {
      driver: findDriver().name,
      version: one('SELECT sqlite_version()'),
      journalMode: one('PRAGMA journal_mode'),
      synchronous: durability === 'durable' ? 'FULL' : 'NORMAL',
      walBytes: existsSync(wal) ? statSync(wal).size : 0,
      ...migrationsOf(connection),
    }
  } catch (error) {
    throw translate(error, path)
  } finally {
    connection.close()
  }
}

function migrationsOf(connection: Connection): Pick<SqliteInspection, 'applied' | 'pending'> {
  const isOurs = connection.prepare("SELECT 1 FROM sqlite_master WHERE name = 'underpin_migrations'").row()
  if (isOurs === undefined) return { applied: [], pending: [] }
  const applied = appliedMigrations(connection)
  return {
    applied: applied.map(({ name }) => name),
    pending: pendingMigrations(migrations(), applied).map(({ name }) => name),
  }
}
