/** Opens a database file: looks before it touches, prepares the file, applies migrations. */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { type Applied, loadMigrations, pendingMigrations } from '../sql/migration.ts'
import { type Connection, connect } from './driver.ts'
import { isBusy, isReadonly, translate } from './error.ts'

/** "UNDP": marks a database file as one that Underpin created. */
const applicationId = 0x554e4450
const oldestVersion = '3.38.0'
const openTimeoutMs = 5_000

/** Pages in the write-ahead log (16 MiB) before they are written back: a page changed often is then written back once. */
const checkpointPages = 4_096
/** Page cache: the index of streams is written all over, and should not be read again for each group. */
const cacheKib = 32_768

export type SqliteDurability = 'durable' | 'process'

/** Opens a file, creating it and its folders if they are not there. Refuses what is not ours without changing a byte. */
export function openFile(path: string, durability: SqliteDurability): Connection {
  const isNew = prepareFile(path)
  if (!isNew) probe(path)
  const connection = guarded(path, () => connect(path, false))
  try {
    guarded(path, () => whileBusy(() => prepareConnection(connection, durability, isNew)))
    return { ...connection, close: () => foldAndClose(connection) }
  } catch (error) {
    connection.close()
    throw error
  }
}

/**
 * Folds the write-ahead log into the file before closing, so that the file alone is the whole: a driver that lets go of
 * its statements only when they are collected (@photostructure/sqlite) would leave that to the end of the process.
 */
function foldAndClose(connection: Connection): void {
  try {
    connection.prepare('PRAGMA wal_checkpoint(TRUNCATE)').rows()
  } catch {
    // Another process reads, or the disk failed: the log stays, and is read when the file is opened again.
  }
  connection.close()
}

/** Prepares a caller's handle: the tables of others in the same database are none of our business. */
export function adoptHandle(connection: Connection, durability: SqliteDurability): Connection {
  return guarded('the SQLite handle', () => {
    if (connection.prepare('PRAGMA database_list').rows()[0]?.[2] === '')
      throw new UnderpinError(
        'unsupported',
        'The SQLite handle is of a database in memory, which nothing outlives',
        {
          hint: 'Give "sqlite::memory:" instead, which says so, or a handle of a file.',
        },
      )
    whileBusy(() => prepareConnection(connection, durability, false))
    return connection
  })
}

/** True if the file is empty or not there; then its folders and itself are made, for the owner's eyes only. */
function prepareFile(path: string): boolean {
  if (path === ':memory:') return true
  if (existsSync(path)) return isEmptyFile(path)
  try {
    mkdirSync(dirname(path), { recursive: true })
    // Nobody has the file open yet, so closing this descriptor drops no lock of SQLite's.
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if (existsSync(path)) return isEmptyFile(path)
    throw new UnderpinError('unavailable', `${path} cannot be created: ${(error as Error).message}`, {
      hint: 'Check the path and who may write there.',
      cause: error,
    })
  }
  return true
}

function isEmptyFile(path: string): boolean {
  const found = statSync(path)
  if (!found.isFile()) {
    throw new UnderpinError('invalid', `${path} is ${found.isDirectory() ? 'a directory' : 'not a file'}`, {
      hint: 'Give the path of a file, for example "sqlite:./data/app.db".',
    })
  }
  try {
    // SQLite opens a file that it may only read without a word, and fails at the first commit.
    accessSync(path, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw new UnderpinError(
      'unavailable',
      `${path} cannot be opened for writing: ${(error as Error).message}`,
      {
        hint: 'Check the path, its permissions and its owner.',
        cause: error,
      },
    )
  }
  return found.size === 0
}

/** Reads what the file says of itself over a connection that cannot write. */
function probe(path: string, isSecondLook = false): void {
  guarded(path, () =>
    whileBusy(() => {
      const connection = connectToLook(path)
      try {
        checkContent(path, connection)
      } catch (error) {
        if (!isReadonly(error)) throw error
        const journal = readJournal(path)
        // Gone: another process undid it meanwhile, and there is something to look at now.
        if (journal === undefined && !isSecondLook) probe(path, true)
        else if (journal === undefined || !wasEmptyBefore(journal)) throw error
      } finally {
        connection.close()
      }
    }),
  )
}

/**
 * Whether a journal that a dead process left says that the file was empty before. Only a connection that may write can
 * undo what that process did, and nobody can miss anything: it died as it made the file.
 */
function wasEmptyBefore(journal: Buffer): boolean {
  // https://www.sqlite.org/fileformat.html#the_rollback_journal: magic, records, nonce, pages before.
  const magic = Buffer.from('d9d505f920a163d7', 'hex')
  return journal.length >= 20 && journal.subarray(0, 8).equals(magic) && journal.readUInt32BE(16) === 0
}

/** The rollback journal, if there is one. It is a file of its own: closing it drops no lock on the database. */
function readJournal(path: string): Buffer | undefined {
  try {
    return readFileSync(`${path}-journal`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Refuses what is not ours, or of a version that is not. */
function checkContent(path: string, connection: Connection): void {
  connection.exec(`PRAGMA busy_timeout = ${openTimeoutMs}`)
  const found = connection
    .prepare('SELECT name FROM sqlite_master')
    .rows()
    .map(([name]) => name)
  if (found.includes('underpin_migrations')) {
    pendingMigrations(migrations(), appliedMigrations(connection))
  } else if (found.length > 0) {
    throw new UnderpinError('foreign', `${path} is a SQLite database that Underpin did not create`, {
      hint: 'Nothing was changed. Give another path, or open the database yourself and pass the handle to share it: sqlite(handle).',
      details: { found: found.slice(0, 20) },
    })
  }
}

/**
 * A connection that cannot write. Even that one makes a log and its index beside a file in WAL mode, and leaves them
 * there: where there is no log yet, the file is opened as one that does not change.
 */
function connectToLook(path: string): Connection {
  if (!existsSync(`${path}-wal`) && !existsSync(`${path}-journal`)) {
    try {
      return connect(`${pathToFileURL(path)}?immutable=1`, true)
    } catch {
      // A driver that takes no URLs.
    }
  }
  return connect(path, true)
}

function prepareConnection(connection: Connection, durability: SqliteDurability, isNew: boolean): void {
  connection.exec(`PRAGMA busy_timeout = ${openTimeoutMs}`)
  const version = String(connection.prepare('SELECT sqlite_version()').rows()[0]?.[0])
  if (compareVersions(version, oldestVersion) < 0)
    throw new UnderpinError(
      'unsupported',
      `SQLite ${version} is too old; ${oldestVersion} or later is needed`,
    )
  const journal = String(connection.prepare('PRAGMA journal_mode = WAL').rows()[0]?.[0])
  if (journal !== 'wal' && journal !== 'memory')
    throw new UnderpinError(
      'unsupported',
      `The database keeps its journal in the mode ${journal}, not in WAL`,
      {
        hint: 'Network file systems and some virtual ones cannot do WAL: put the file on a local disk.',
      },
    )
  // Elsewhere than on a Mac these change nothing; there, a plain sync leaves the data in the drive's own memory.
  connection.exec('PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON')
  connection.exec(`PRAGMA wal_autocheckpoint = ${checkpointPages}`)
  connection.exec(`PRAGMA cache_size = -${cacheKib}`)
  setSynchronous(connection, durability)
  if (isNew) connection.exec(`PRAGMA application_id = ${applicationId}`)
  migrate(connection)
  checkSynchronous(connection, durability)
  connection.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}`)
}

/** Milliseconds that a call waits for another process's lock before it is tried again from outside. */
const busyTimeoutMs = 5

function setSynchronous(connection: Connection, durability: SqliteDurability): void {
  connection.exec(`PRAGMA synchronous = ${durability === 'durable' ? 'FULL' : 'NORMAL'}`)
}

/** After the first write, because a driver may lower the level then: better-sqlite3 falls back to NORMAL in WAL mode. */
function checkSynchronous(connection: Connection, durability: SqliteDurability): void {
  const wanted = durability === 'durable' ? 2 : 1
  const found = () => Number(connection.prepare('PRAGMA synchronous').rows()[0]?.[0])
  if (found() === wanted) return
  setSynchronous(connection, durability)
  if (found() !== wanted)
    throw new UnderpinError(
      'unsupported',
      `This SQLite driver does not keep synchronous = ${wanted}; commits would not be ${durability}`,
    )
}

/** Applies what is missing under the write lock, so that of two processes that start together one does it. */
function migrate(connection: Connection): void {
  connection.exec('BEGIN IMMEDIATE')
  try {
    connection.exec(
      'CREATE TABLE IF NOT EXISTS underpin_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT',
    )
    const record = connection.prepare(
      'INSERT INTO underpin_migrations (number, name, checksum) VALUES (?, ?, ?)',
    )
    for (const { number, name, sql, checksum } of pendingMigrations(
      migrations(),
      appliedMigrations(connection),
    )) {
      connection.exec(sql)
      record.run(number, name, checksum)
    }
    connection.exec('COMMIT')
  } catch (error) {
    connection.exec('ROLLBACK')
    throw error
  }
}

/** The migrations that this version knows. */
export function migrations() {
  return loadMigrations(new URL('./migration/', import.meta.url))
}

/** The migrations that a database says it has had. */
export function appliedMigrations(connection: Connection): Applied[] {
  const rows = connection
    .prepare('SELECT number, name, checksum FROM underpin_migrations ORDER BY number')
    .rows()
  return rows.map(([number, name, checksum]) => ({
    number: Number(number),
    name: String(name),
    checksum: String(checksum),
  }))
}

/** Compares versions of the form a.b.c. */
function compareVersions(a: string, b: string): number {
  const [x, y] = [a.split('.').map(Number), b.split('.').map(Number)]
  for (let i = 0; i < 3; i++) if (x[i] !== y[i]) return (x[i] ?? 0) - (y[i] ?? 0)
  return 0
}

/**
 * The switch to WAL mode, and the closing of the last connection by another process, lock the file for a moment without
 * heeding the busy timeout: what met that is done again, blocking as SQLite's own wait does.
 */
function whileBusy<T>(run: () => T): T {
  const since = systemClock.monotonic()
  for (;;) {
    try {
      return run()
    } catch (error) {
      if (!isBusy(error) || systemClock.monotonic() - since > openTimeoutMs) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1 + 4 * systemClock.random())
    }
  }
}

function guarded<T>(place: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw translate(error, place)
  }
}
