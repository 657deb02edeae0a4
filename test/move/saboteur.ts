/** Who changes what a backend holds behind its back: by SQL in its tables, or in the memory backend's inner state. */
import pg from 'pg'
import type { Backend } from '../../src/backend/backend.ts'
import type { MemoryBackend } from '../../src/backend/memory.ts'
import { collectionTable, eventsTable } from '../../src/backend/sql/name.ts'
import { connect } from '../../src/backend/sqlite/driver.ts'
import { type Change, keyOf, type RecordKey } from '../../src/model/change.ts'

export interface Saboteur {
  /** Puts a record as it is, checksum and all, in the place of what is under its key. */
  put(change: Change): Promise<void>
  remove(key: RecordKey): Promise<void>
  /** Changes what the fence names; undefined where the backend has no such door. */
  readonly setFence: ((to: { digest?: string; head?: number }) => Promise<void>) | undefined
  close(): Promise<void>
}

export function inMemory(backend: Backend, domain: string): Saboteur {
  const { sync } = backend as MemoryBackend
  return {
    async put(change) {
      sync.uproot(domain, keyOf(change))
      sync.plant(domain, Object.freeze(change))
    },
    async remove(key) {
      sync.uproot(domain, key)
    },
    setFence: undefined,
    async close() {},
  }
}

/** What runs a statement with values for its question marks. */
type Run = (sql: string, ...values: (string | number | null)[]) => Promise<unknown>

export function inSqlite(file: string, domain: string): Saboteur {
  const connection = connect(file, false)
  const run: Run = async (sql, ...values) => connection.prepare(sql).run(...values)
  return bySql(run, domain, '', async () => connection.close())
}

export async function inPostgres(url: string, schema: string, domain: string): Promise<Saboteur> {
  const client = new pg.Client(url)
  await client.connect()
  const run: Run = (sql, ...values) => {
    let number = 0
    return client.query(
      sql.replaceAll('?', () => `$${++number}`),
      values,
    )
  }
  return bySql(run, domain, `"${schema}".`, () => client.end())
}

function bySql(run: Run, domain: string, schema: string, close: () => Promise<void>): Saboteur {
  const events = `${schema}${eventsTable(domain)}`
  const documents = (collection: string) => `${schema}${collectionTable(domain, collection)}`
  const remove = async (key: RecordKey) => {
    if ('stream' in key) await run(`DELETE FROM ${events} WHERE stream = ? AND seq = ?`, key.stream, key.seq)
    else await run(`DELETE FROM ${documents(key.collection)} WHERE id = ?`, key.id)
  }
  return {
    remove,
    async put(change) {
      await remove(keyOf(change))
      const { position, at, commit, checksum } = change
      if (change.kind === 'event') {
        const { stream, seq, type, meta, data } = change
        await run(
          `INSERT INTO ${events} (position, stream, seq, type, at, commit_position, meta, data, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          ...[position, stream, seq, type, at, commit, meta, data, checksum],
        )
        return
      }
      const [expiresAt, data] = change.kind === 'tombstone' ? [null, null] : [change.expiresAt, change.data]
      await run(
        `INSERT INTO ${documents(change.collection)} (revision, id, at, commit_position, expires_at, data, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        ...[position, change.id, at, commit, expiresAt, data, checksum],
      )
    },
    async setFence({ digest, head }) {
      if (digest !== undefined)
        await run(`UPDATE ${schema}underpin_fences SET digest = ? WHERE domain = ?`, digest, domain)
      if (head !== undefined)
        await run(`UPDATE ${schema}underpin_fences SET head = ? WHERE domain = ?`, head, domain)
    },
    close,
  }
}
