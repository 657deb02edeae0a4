/** Statements of a handle, prepared once. */
import type { SqliteHandle } from 'underpin/sqlite'

export type Statement = ReturnType<SqliteHandle['prepare']>

const prepared = new WeakMap<SqliteHandle, Map<string, Statement>>()

export function statement(handle: SqliteHandle, sql: string): Statement {
  const known = prepared.get(handle) ?? new Map<string, Statement>()
  const found = known.get(sql) ?? handle.prepare(sql)
  if (known.size === 0) prepared.set(handle, known)
  known.set(sql, found)
  return found
}

/** Runs `work` in a transaction of the handle: `IMMEDIATE` keeps other writers out, `DEFERRED` reads one state. */
export function inTransaction<T>(handle: SqliteHandle, kind: 'IMMEDIATE' | 'DEFERRED', work: () => T): T {
  handle.exec(`BEGIN ${kind}`)
  let result: T
  try {
    result = work()
  } catch (error) {
    handle.exec('ROLLBACK')
    throw error
  }
  handle.exec('COMMIT')
  return result
}
