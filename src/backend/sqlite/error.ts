/** What SQLite's errors mean here. */
import { isUnderpinError, UnderpinError } from '../../error.ts'

/** Primary result codes, https://www.sqlite.org/rescode.html */
const codes = {
  busy: 5,
  locked: 6,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantopen: 14,
  constraint: 19,
  notadb: 26,
} as const

const names: Readonly<Record<string, number>> = {
  SQLITE_BUSY: codes.busy,
  SQLITE_LOCKED: codes.locked,
  SQLITE_READONLY: codes.readonly,
  SQLITE_IOERR: codes.ioerr,
  SQLITE_CORRUPT: codes.corrupt,
  SQLITE_FULL: codes.full,
  SQLITE_CANTOPEN: codes.cantopen,
  SQLITE_CONSTRAINT: codes.constraint,
  SQLITE_NOTADB: codes.notadb,
}

/** For `all` of @photostructure/sqlite, whose errors carry the message of SQLite and no number. */
const messages: Readonly<Record<string, number>> = {
  'database is locked': codes.busy,
  'database table is locked': codes.locked,
  'attempt to write a readonly database': codes.readonly,
  'disk I/O error': codes.ioerr,
  'database disk image is malformed': codes.corrupt,
  'database or disk is full': codes.full,
  'unable to open database file': codes.cantopen,
  'file is not a database': codes.notadb,
}
const constraint = /^(?:UNIQUE|NOT NULL|CHECK) constraint failed/

/** The primary result code of a driver's error, or undefined for another error. */
function resultCode(error: unknown): number | undefined {
  const { code, errcode, sqliteCode } = error as { code?: unknown; errcode?: unknown; sqliteCode?: unknown }
  if (typeof errcode === 'number') return errcode & 0xff
  if (typeof sqliteCode === 'number') return sqliteCode & 0xff
  if (code === 'ERR_SQLITE_ERROR') return codeOf((error as Error).message)
  if (typeof code !== 'string' || !code.startsWith('SQLITE_')) return undefined
  return names[code] ?? names[code.split('_').slice(0, 2).join('_')]
}

function codeOf(message: string): number | undefined {
  return constraint.test(message) ? codes.constraint : messages[message]
}

export function isBusy(error: unknown): boolean {
  const code = resultCode(error)
  return code === codes.busy || code === codes.locked
}

/** Refused to a connection that may only read, also where an unfinished transaction must be undone first. */
export function isReadonly(error: unknown): boolean {
  return resultCode(error) === codes.readonly
}

/** Whether the connection cannot be trusted any more: what was written may or may not be on the disk. */
export function isFatal(error: unknown): boolean {
  const code = resultCode(error)
  return code === codes.ioerr || code === codes.corrupt || code === codes.notadb
}

/** Whether a key that another row has was in the way, also of an error that was translated. */
export function isTaken(error: unknown): boolean {
  const raw = isUnderpinError(error) ? error.cause : error
  return raw instanceof Error && resultCode(raw) === codes.constraint
}

export function translate(error: unknown, place: string): unknown {
  if (isUnderpinError(error)) return error
  const because = error instanceof Error ? error.message : String(error)
  switch (resultCode(error)) {
    case undefined:
      return error
    case codes.busy:
    case codes.locked:
      return new UnderpinError('unavailable', `${place} is locked by another writer`, { cause: error })
    case codes.full:
      return new UnderpinError('unavailable', `The disk of ${place} is full; nothing was written`, {
        hint: 'Free some space; no restart is needed.',
        cause: error,
      })
    case codes.readonly:
    case codes.cantopen:
      return new UnderpinError('unavailable', `${place} cannot be opened for writing: ${because}`, {
        hint: 'Check the path, its permissions and its owner.',
        cause: error,
      })
    case codes.notadb:
      return new UnderpinError('foreign', `${place} is not a SQLite database`, {
        hint: 'Nothing was changed. Give another path.',
        cause: error,
      })
    case codes.ioerr:
    case codes.corrupt:
      return new UnderpinError('damaged', `${place} cannot be read: ${because}`, {
        hint: 'Run "underpin doctor"; restore from a follower or a backup.',
        cause: error,
      })
    default:
      return new UnderpinError('unavailable', `SQLite refused the call on ${place}: ${because}`, {
        cause: error,
      })
  }
}
