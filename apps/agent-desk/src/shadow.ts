/**
 * The tables once more, made of all events, as temporary tables of a handle of their own: they go by the same names, and
 * hide the real ones from statements that name no schema. To compare with, and to replace the real ones by.
 */
import { openHandle, type SqliteHandle } from 'underpin/sqlite'
import { replayPages } from './event-store.ts'
import { project, projectionTables } from './projection.ts'
import { inTransaction } from './statements.ts'

export interface TableDifference {
  readonly table: string
  /** Rows that are stored and should not be so. */
  readonly stored: readonly object[]
  /** Rows that replay makes and that are not stored so. */
  readonly replayed: readonly object[]
}

export interface ProjectionCheck {
  /** The last event that was replayed. */
  readonly sequence: number
  /** The first few rows of each table that differ. */
  readonly differences: readonly TableDifference[]
}

const shownRows = 5

/** Replays all events and compares every row with what is stored, at one moment. Writers go on meanwhile. */
export function verifyProjections(file: string): ProjectionCheck {
  return withShadow(file, (handle) =>
    inTransaction(handle, 'DEFERRED', () => ({ sequence: replay(handle), differences: compare(handle) })),
  )
}

/**
 * Makes the tables anew by replay, and gives the last event that is in them. Writers wait only while the rows are copied,
 * behind the few events that came since.
 */
export function rebuildProjections(file: string): number {
  return withShadow(file, (handle) => {
    inTransaction(handle, 'DEFERRED', () => replay(handle))
    return inTransaction(handle, 'IMMEDIATE', () => {
      const sequence = replay(handle)
      for (const table of projectionTables) {
        handle.exec(`DELETE FROM main.${table}`)
        handle.exec(`INSERT INTO main.${table} SELECT * FROM temp.${table}`)
      }
      return sequence
    })
  })
}

function withShadow<T>(file: string, work: (handle: SqliteHandle) => T): T {
  const handle = openHandle(file)
  try {
    const list = projectionTables.map((table) => `'${table}'`).join(', ')
    const sql = `SELECT sql FROM main.sqlite_master WHERE tbl_name IN (${list}) AND sql IS NOT NULL ORDER BY type DESC`
    for (const row of handle.prepare(sql).all())
      handle.exec(
        (row as { sql: string }).sql
          .replace(/^CREATE TABLE /, 'CREATE TEMP TABLE ')
          .replace(/^CREATE INDEX /, 'CREATE INDEX temp.'),
      )
    handle.exec('INSERT INTO temp.projection_progress (id, sequence) VALUES (1, 0)')
    return work(handle)
  } finally {
    handle.close()
  }
}

/** Brings the shadow up to the last event. */
function replay(handle: SqliteHandle): number {
  for (const events of replayPages(handle, progress(handle))) project(handle, events)
  return progress(handle)
}

function progress(handle: SqliteHandle): number {
  const row = handle.prepare('SELECT sequence FROM temp.projection_progress').get()
  return (row as { sequence: number }).sequence
}

function compare(handle: SqliteHandle): TableDifference[] {
  const differences: TableDifference[] = []
  for (const table of projectionTables) {
    const only = (one: string, other: string) =>
      handle
        .prepare(`SELECT * FROM ${one}.${table} EXCEPT SELECT * FROM ${other}.${table} LIMIT ${shownRows}`)
        .all()
        .map((row) => ({ ...(row as object) }))
    const [stored, replayed] = [only('main', 'temp'), only('temp', 'main')]
    if (stored.length + replayed.length > 0) differences.push({ table, stored, replayed })
  }
  return differences
}
