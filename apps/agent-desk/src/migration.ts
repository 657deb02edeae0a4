/** Applies `migrations/NNN_name.sql`, each once, all in one transaction, and notes them in `desk_migrations`. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import type { SqliteHandle } from 'underpin/sqlite'
import { Refusal } from './refusal.ts'
import { inTransaction } from './statements.ts'

interface Migration {
  readonly number: number
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

const folder = new URL('../migrations/', import.meta.url)

/**
 * Brings a database up to date. `mismatch`, with nothing changed, if a newer version of the desk wrote it, or if a
 * migration that it has had reads otherwise now. Two processes that start together: one applies, the other finds it done.
 */
export function migrate(handle: SqliteHandle, now: Date, from: URL = folder): void {
  const known = readMigrations(from)
  inTransaction(handle, 'IMMEDIATE', () => {
    handle.exec(
      'CREATE TABLE IF NOT EXISTS desk_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT',
    )
    const applied = appliedMigrations(handle)
    refuseOthers(known, applied)
    const note = handle.prepare('INSERT INTO desk_migrations VALUES (?, ?, ?, ?)')
    for (const { number, name, sql, checksum } of known) {
      if (applied.has(number)) continue
      handle.exec(sql)
      note.run(number, name, checksum, now.toISOString())
    }
  })
}

function readMigrations(from: URL): Migration[] {
  const names = readdirSync(from).filter((name) => /^\d{3}_[a-z0-9_]+\.sql$/.test(name))
  return names.sort().map((name, i) => {
    const number = Number(name.slice(0, 3))
    if (number !== i + 1)
      throw new Error(`Migrations must be numbered from 001 on without gaps: ${name} is no. ${i + 1}`)
    const sql = readFileSync(new URL(name, from), 'utf8')
    return { number, name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
  })
}

function appliedMigrations(handle: SqliteHandle): Map<number, Pick<Migration, 'name' | 'checksum'>> {
  const rows = handle.prepare('SELECT number, name, checksum FROM desk_migrations').all() as Omit<
    Migration,
    'sql'
  >[]
  return new Map(rows.map(({ number, name, checksum }) => [number, { name, checksum }]))
}

function refuseOthers(known: readonly Migration[], applied: ReturnType<typeof appliedMigrations>): void {
  for (const [number, { name, checksum }] of applied) {
    const own = known[number - 1]
    if (own === undefined)
      throw new Refusal(
        'mismatch',
        `The database has had migration ${name}, which this version of the desk does not know; nothing was changed`,
        'A newer version wrote it: start that one, or restore a backup from before.',
      )
    if (own.checksum !== checksum)
      throw new Refusal(
        'mismatch',
        `Migration ${name} was applied with other text than ${own.name} has now; nothing was changed`,
        'A migration is never edited: add another one.',
      )
  }
}
