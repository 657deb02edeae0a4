/** What is known of a SQLite database and its driver, for `underpin doctor`. */
import { existsSync, statSync } from 'node:fs'
import { connect, findDriver } from './driver.ts'
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
  /** The migrations that were applied, by name. */
  readonly migrations: readonly string[]
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
      migrations: connection
        .prepare('SELECT name FROM underpin_migrations ORDER BY number')
        .rows()
        .map(([name]) => String(name)),
    }
  } finally {
    connection.close()
  }
}
