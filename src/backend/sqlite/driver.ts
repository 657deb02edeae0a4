/** SQLite drivers: which one fits this runtime, and one small interface over all of them. */
import { createRequire } from 'node:module'
import { UnderpinError } from '../../error.ts'
import type { SqlValue } from '../sql/scan.ts'

/** A connection as the backend uses it. Rows are arrays of column values. */
export interface Connection {
  /** The driver's own. */
  readonly handle: SqliteHandle
  exec(sql: string): void
  prepare(sql: string): Statement
  close(): void
}

export interface Statement {
  run(...parameters: SqlValue[]): void
  rows(...parameters: SqlValue[]): readonly (readonly unknown[])[]
  /** The first row. */
  row(...parameters: SqlValue[]): readonly unknown[] | undefined
}

/** What is needed of a handle of `node:sqlite`, `@photostructure/sqlite` or `better-sqlite3`. */
export interface SqliteHandle {
  exec(sql: string): unknown
  prepare(sql: string): HandleStatement
  close(): unknown
}

interface HandleStatement {
  run(...parameters: SqlValue[]): unknown
  all(...parameters: SqlValue[]): unknown[]
  get(...parameters: SqlValue[]): unknown
  /** node:sqlite from 22.16 on. */
  setReturnArrays?(enabled: boolean): void
  /** better-sqlite3. */
  raw?(enabled: boolean): unknown
  readonly reader?: boolean
}

interface HandleConstructor {
  new (path: string, options?: { readOnly?: boolean; readonly?: boolean }): SqliteHandle
}

const require = createRequire(import.meta.url)

/** Opens a file (or `:memory:`) with the driver that fits: `driver-missing` if there is none. */
export function connect(path: string, isReadOnly: boolean): Connection {
  const { Handle } = findDriver()
  return toConnection(new Handle(path, isReadOnly ? { readOnly: true, readonly: true } : {}))
}

/**
 * A handle of a database file for SQL of your own, by the driver that fits this runtime: `node:sqlite`, else the package
 * that is installed; `driver-missing` if there is none. To read the tables that `tx.tables` writes, beside a store that
 * has the same file open, and in its own transactions. The file is made if it is not there, its folder is not. It waits
 * up to `busyTimeoutMs` (5,000) for another connection's lock. Close it before the store.
 */
export function openHandle(path: string, options: { readonly busyTimeoutMs?: number } = {}): SqliteHandle {
  const { Handle } = findDriver()
  const handle = new Handle(path)
  handle.exec(`PRAGMA busy_timeout = ${Number(options.busyTimeoutMs ?? 5_000)}`)
  return handle
}

/** A caller's own handle as a connection; closing it stays with the caller. */
export function borrow(handle: SqliteHandle): Connection {
  return { ...toConnection(handle), close() {} }
}

function toConnection(handle: SqliteHandle): Connection {
  return {
    handle,
    exec: (sql) => void handle.exec(sql),
    prepare: (sql) => toStatement(handle.prepare(sql)),
    close: () => void handle.close(),
  }
}

function toStatement(statement: HandleStatement): Statement {
  const run = (...parameters: SqlValue[]) => void statement.run(...parameters)
  if (statement.setReturnArrays !== undefined) statement.setReturnArrays(true)
  else if (statement.raw === undefined) return objectStatement(statement)
  else if (statement.reader) statement.raw(true)
  return {
    run,
    rows: (...parameters) => statement.all(...parameters) as unknown[][],
    row: (...parameters) => statement.get(...parameters) as unknown[] | undefined,
  }
}

/** For a driver that gives rows as objects only. */
function objectStatement(statement: HandleStatement): Statement {
  return {
    run: (...parameters) => void statement.run(...parameters),
    rows: (...parameters) => statement.all(...parameters).map((row) => Object.values(row as object)),
    row(...parameters) {
      const row = statement.get(...parameters)
      return row === undefined ? undefined : Object.values(row as object)
    },
  }
}

interface Driver {
  /** As messages name it. */
  readonly name: string
  readonly Handle: HandleConstructor
}

/** The driver that fits this runtime: its own, else an installed package; `driver-missing` if there is none. */
export function findDriver(): Driver {
  return (
    builtIn() ??
    packaged('@photostructure/sqlite', 'DatabaseSync') ??
    packaged('better-sqlite3', undefined) ??
    refuseMissing()
  )
}

function builtIn(): Driver | undefined {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 22 || (major === 22 && minor < 13)) return undefined
  const { DatabaseSync } = require('node:sqlite') as { DatabaseSync: HandleConstructor }
  return { name: 'node:sqlite', Handle: DatabaseSync }
}

/** A driver package, if it is installed; refused before it is loaded if it would crash this runtime. */
function packaged(name: string, exported: string | undefined): Driver | undefined {
  let version: string
  try {
    version = (require(`${name}/package.json`) as { version: string }).version
  } catch (error) {
    if ((error as { code?: string }).code === 'MODULE_NOT_FOUND') return undefined
    throw error
  }
  checkFit(name, version, process.versions.node)
  const loaded = require(name) as HandleConstructor & Record<string, HandleConstructor>
  const Handle = exported === undefined ? loaded : loaded[exported]
  return Handle === undefined ? undefined : { name: `${name} ${version}`, Handle }
}

/**
 * Refuses a driver version that does not fit the runtime: better-sqlite3 13 is built for Node-API 10, which Node 20
 * and Node 22 before 22.14 lack, and ends the process; @photostructure/sqlite 2 needs Node 22.
 */
export function checkFit(name: string, version: string, node: string): void {
  const driverMajor = Number.parseInt(version, 10)
  const [major = 0, minor = 0] = node.split('.').map(Number)
  const isUnfit =
    (name === 'better-sqlite3' && driverMajor >= 13 && (major < 22 || (major === 22 && minor < 14))) ||
    (name === '@photostructure/sqlite' && driverMajor >= 2 && major < 22)
  if (!isUnfit) return
  const fitting = name === 'better-sqlite3' ? 'better-sqlite3@12' : '@photostructure/sqlite@1'
  throw new UnderpinError('driver-missing', `${name} ${version} does not run on Node ${node}`, {
    hint: `Run: npm install ${fitting}`,
    details: { driver: name, version, node },
  })
}

function refuseMissing(): never {
  throw new UnderpinError(
    'driver-missing',
    `Node ${process.versions.node} has no SQLite of its own and no driver package is installed`,
    {
      hint: 'Run: npm install @photostructure/sqlite@1 (or use Node 22.13 or later, which has SQLite built in).',
      details: { node: process.versions.node },
    },
  )
}
