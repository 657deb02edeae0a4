/**
 * A hand-written repository as applications have them: entries under keys, in memory, in SQLite and in PostgreSQL. It keeps
 * whatever it is told, twice if it is told twice, so that what a move lost or doubled can be seen.
 */
import { Pool } from 'pg'
import { connect, type SqliteHandle } from '../../../src/backend/sqlite/driver.ts'
import { PostgresFence, SqliteFence, type StoreFence } from '../../../src/repository.ts'

export interface Ledger {
  entries(key: string): Promise<readonly string[]>
  keys(after?: string): Promise<readonly string[]>
  add(key: string, entry: string): Promise<void>
  /** Makes the key hold these entries and no others. */
  set(key: string, entries: readonly string[]): Promise<void>
}

/** One place of a ledger, opened. */
export interface LedgerPlace {
  readonly ledger: Ledger
  readonly fence: StoreFence | undefined
  close(): Promise<void>
}

export type LedgerAddress =
  | { readonly kind: 'memory' }
  | { readonly kind: 'sqlite'; readonly file: string; readonly isFenced: boolean }
  | {
      readonly kind: 'postgres'
      readonly url: string
      readonly schema: string
      readonly isFenced: boolean
    }

/** Called in the moment before a statement is sent. */
export type BeforeWrite = (key: string) => void

export async function openLedger(
  address: LedgerAddress,
  beforeWrite: BeforeWrite = () => {},
): Promise<LedgerPlace> {
  if (address.kind === 'memory')
    return { ledger: new MemoryLedger(), fence: undefined, close: async () => {} }
  if (address.kind === 'sqlite') return openSqlite(address.file, address.isFenced, beforeWrite)
  return openPostgres(address, beforeWrite)
}

export class MemoryLedger implements Ledger {
  readonly #entries = new Map<string, readonly string[]>()

  async entries(key: string) {
    return this.#entries.get(key) ?? []
  }

  async keys(after = '') {
    return [...this.#entries.keys()].filter((key) => key > after).sort()
  }

  async add(key: string, entry: string) {
    this.#entries.set(key, [...(this.#entries.get(key) ?? []), entry])
  }

  async set(key: string, entries: readonly string[]) {
    if (entries.length === 0) this.#entries.delete(key)
    else this.#entries.set(key, entries)
  }
}

function openSqlite(file: string, isFenced: boolean, beforeWrite: BeforeWrite): LedgerPlace {
  const { handle } = connect(file, false)
  handle.exec('PRAGMA busy_timeout = 5000')
  handle.exec('PRAGMA journal_mode = WAL')
  // Processes are killed here, not machines.
  handle.exec('PRAGMA synchronous = NORMAL')
  handle.exec('CREATE TABLE IF NOT EXISTS ledger (n INTEGER PRIMARY KEY, key TEXT, entry TEXT)')
  handle.exec('CREATE INDEX IF NOT EXISTS by_key ON ledger (key)')
  const fence = isFenced ? new SqliteFence({ name: 'ledger', tables: ['ledger'], handle }) : undefined
  fence?.install()
  const ledger = new SqliteLedger(handle, fence, beforeWrite)
  return { ledger, fence, close: async () => void handle.close() }
}

export class SqliteLedger implements Ledger {
  readonly #db: SqliteHandle
  readonly #fence: SqliteFence | undefined
  readonly #beforeWrite: BeforeWrite

  constructor(db: SqliteHandle, fence: SqliteFence | undefined, beforeWrite: BeforeWrite = () => {}) {
    this.#db = db
    this.#fence = fence
    this.#beforeWrite = beforeWrite
  }

  async entries(key: string) {
    const rows = this.#db.prepare('SELECT entry FROM ledger WHERE key = ? ORDER BY n').all(key)
    return rows.map((row) => (row as { entry: string }).entry)
  }

  async keys(after = '') {
    const rows = this.#db
      .prepare('SELECT DISTINCT key FROM ledger WHERE key > ? ORDER BY key LIMIT 1000')
      .all(after)
    return rows.map((row) => (row as { key: string }).key)
  }

  async add(key: string, entry: string) {
    this.#beforeWrite(key)
    this.#write(() => this.#insert(key, entry))
  }

  async set(key: string, entries: readonly string[]) {
    this.#write(() => {
      this.#db.prepare('DELETE FROM ledger WHERE key = ?').run(key)
      const insert = this.#db.prepare('INSERT INTO ledger (key, entry) VALUES (?, ?)')
      for (const entry of entries) insert.run(key, entry)
    })
  }

  #insert(key: string, entry: string) {
    this.#db.prepare('INSERT INTO ledger (key, entry) VALUES (?, ?)').run(key, entry)
  }

  #write(work: () => void) {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      this.#fence?.enter(this.#db)
      work()
      this.#db.exec('COMMIT')
    } catch (error) {
      this.#db.exec('ROLLBACK')
      throw error
    }
  }
}

async function openPostgres(
  { url, schema, isFenced }: Extract<LedgerAddress, { kind: 'postgres' }>,
  beforeWrite: BeforeWrite,
): Promise<LedgerPlace> {
  const pool = new Pool({ connectionString: url, max: 6, options: '-c synchronous_commit=off' })
  // A session that the server ended fails its statements, too: that is where it is heard of.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  await pool.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`)
  await pool.query(
    `CREATE TABLE IF NOT EXISTS ${schema}.ledger (n bigserial PRIMARY KEY, key text COLLATE "C", entry text)`,
  )
  const fence = isFenced
    ? new PostgresFence({ name: 'ledger', tables: ['ledger'], client: pool, schema, idleTimeoutMs: 3_000 })
    : undefined
  await fence?.install()
  return { ledger: new PostgresLedger(pool, schema, fence, beforeWrite), fence, close: () => pool.end() }
}

export class PostgresLedger implements Ledger {
  readonly #pool: Pool
  readonly #table: string
  readonly #fence: PostgresFence | undefined
  readonly #beforeWrite: BeforeWrite

  constructor(pool: Pool, schema: string, fence: PostgresFence | undefined, beforeWrite: BeforeWrite) {
    this.#pool = pool
    this.#table = `${schema}.ledger`
    this.#fence = fence
    this.#beforeWrite = beforeWrite
  }

  async entries(key: string) {
    const { rows } = await this.#pool.query(`SELECT entry FROM ${this.#table} WHERE key = $1 ORDER BY n`, [
      key,
    ])
    return rows.map(({ entry }) => entry as string)
  }

  async keys(after = '') {
    const { rows } = await this.#pool.query(
      `SELECT DISTINCT key FROM ${this.#table} WHERE key > $1 ORDER BY key LIMIT 1000`,
      [after],
    )
    return rows.map(({ key }) => key as string)
  }

  async add(key: string, entry: string) {
    await this.#write(key, [entry], false)
  }

  async set(key: string, entries: readonly string[]) {
    await this.#write(key, entries, true)
  }

  async #write(key: string, entries: readonly string[], isWhole: boolean) {
    const client = await this.#pool.connect()
    try {
      await client.query('BEGIN')
      await this.#fence?.enter(client)
      if (isWhole) await client.query(`DELETE FROM ${this.#table} WHERE key = $1`, [key])
      else this.#beforeWrite(key)
      await client.query(
        `INSERT INTO ${this.#table} (key, entry) SELECT $1, entry FROM unnest($2::text[]) WITH ORDINALITY AS e(entry, n) ORDER BY n`,
        [key, entries],
      )
      await client.query('COMMIT')
    } catch (error) {
      // In a session that is over there is nothing to roll back.
      await Promise.allSettled([client.query('ROLLBACK')])
      throw error
    } finally {
      client.release()
    }
  }
}
