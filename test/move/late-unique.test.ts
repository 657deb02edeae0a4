/** A unique index that is declared when there are many documents is made while the copy follows, not when it is opened. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { postgres } from '../../src/backend/postgres/postgres.ts'
import { findDriver } from '../../src/backend/sqlite/driver.ts'
import { type SqliteHandle, sqlite } from '../../src/backend/sqlite/sqlite.ts'
import type { Write } from '../../src/model/change.ts'
import { definitionsCollection } from '../../src/model/collection.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { encodeValue } from '../../src/model/value.ts'

/** A backend whose statements are told. */
interface Told {
  readonly backend: Backend
  readonly statements: string[]
  /** Whether the index is a unique one. */
  isUnique(): Promise<boolean>
  /** Reads the documents in a transaction, until it is ended; undefined where readers hold up nothing. */
  read?(): Promise<{ end(): Promise<void> }>
  close(): Promise<void>
}

const index = 'app__d_docs__byKey'
const server = inject('postgres')
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-late-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function toldSqlite(): Promise<Told> {
  const { Handle } = findDriver()
  const handle = new Handle(join(folder, 'app.db'))
  const statements: string[] = []
  // Of a statement that is prepared once each run counts.
  const prepare = (sql: string) => {
    const statement = handle.prepare(sql)
    return new Proxy(statement, {
      get(target, name) {
        const found = Reflect.get(target, name)
        if (typeof found !== 'function') return found
        return (...given: unknown[]) => {
          statements.push(sql)
          return found.apply(target, given)
        }
      },
    })
  }
  const told = new Proxy(handle, {
    get(target, name) {
      if (name === 'prepare') return prepare
      const found = Reflect.get(target, name)
      if (typeof found !== 'function') return found
      return (...given: unknown[]) => {
        statements.push(String(given[0]))
        return found.apply(target, given)
      }
    },
  })
  const backend = sqlite(told as SqliteHandle)
  await backend.open()
  return {
    backend,
    statements,
    async isUnique() {
      const [row] = handle.prepare('SELECT sql FROM sqlite_master WHERE name = ?').all(index) as readonly {
        sql: string
      }[]
      return row?.sql.startsWith('CREATE UNIQUE') ?? false
    },
    async close() {
      await backend.close()
      handle.close()
    },
  }
}

async function toldPostgres(): Promise<Told> {
  const pool = new pg.Pool({ connectionString: 'url' in server ? server.url : '' })
  const statements: string[] = []
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => unknown
    client.query = ((...given: unknown[]) => {
      const [statement] = given as [string | { text?: string }]
      statements.push(typeof statement === 'string' ? statement : (statement.text ?? 'COPY'))
      return query(...given)
    }) as typeof client.query
  })
  const schema = `late_${folder.slice(-6).toLowerCase()}`
  const backend = postgres(pool, { schema })
  await backend.open()
  return {
    backend,
    statements,
    async isUnique() {
      const { rows } = await pool.query(
        'SELECT indexdef FROM pg_indexes WHERE schemaname = $1 AND indexname = $2',
        [schema, index],
      )
      return rows[0]?.indexdef.startsWith('CREATE UNIQUE') ?? false
    },
    async read() {
      const client = await pool.connect()
      await client.query('BEGIN')
      await client.query(`SELECT count(*) FROM "${schema}"."app__d_docs"`)
      return {
        async end() {
          await client.query('COMMIT')
          client.release()
        },
      }
    },
    async close() {
      await backend.close()
      await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
      await pool.end()
    },
  }
}

const kinds = [
  { name: 'SQLite', make: toldSqlite, missing: '' },
  { name: 'PostgreSQL', make: toldPostgres, missing: 'reason' in server ? server.reason : '' },
]

const rows = 10_000
const put = (collection: string, id: string, value: unknown): Write => ({
  ...{ kind: 'put', collection, id, data: encodeValue(value), expiresAt: null },
})
const doc = (id: string, key: string) => put('docs', id, { key })
const declare = (indexes: object) =>
  put(definitionsCollection, 'docs', { fields: { key: 'string' }, indexes })
const byKey = { byKey: { fields: ['key'], unique: true, where: {} } }

describe.each(kinds)('a unique index declared late, copied to $name', ({ make, missing }) => {
  let source: Backend
  let target: Told

  const commit = async (...writes: Write[]) => {
    const [outcome] = await source.commit('app', 1, [{ at: 1, writes, checks: [] }])
    expect(outcome?.kind).toBe('committed')
  }
  const take = async (limit: number) => {
    const { head } = await target.backend.fence('app')
    await target.backend.apply('app', 1, await source.changes('app', head, limit))
  }

  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    source = memory()
    await source.open()
    target = await make()
    const created = { ...vacantFence, role: 'authority', epoch: 1, incarnation: 'source' } as const
    await source.transition('app', vacantFence, created)
    const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: 'copy' } as const
    await target.backend.transition('app', vacantFence, prepared)
    await target.backend.transition('app', prepared, { ...prepared, role: 'follower' })
  })
  afterEach(() => target?.close())

  it('is made with the page that leaves no older state; opening the copy asks nothing of the documents', async () => {
    await commit(declare({}))
    for (let n = 0; n < rows; n += 5_000)
      await commit(...Array.from({ length: 5_000 }, (_, i) => doc(`d${n + i}`, `k${n + i}`)))
    await commit(doc('a', 'x'))
    for (let page = 0; page < 3; page++) await take(5_000)
    // Before the index there is another with its key, and the copy learns of its newer state last.
    await commit(doc('b', 'x'))
    await take(1)
    await commit(doc('a', 'y'))
    await commit(declare(byKey))
    await commit(doc('a', 'z'))
    await take(1)
    expect(await target.isUnique()).toBe(false)
    await take(1)
    expect(await target.isUnique()).toBe(true)

    const { head, digest } = await source.fence('app')
    const seen = await target.backend.fence('app')
    expect(seen).toMatchObject({ head, digest })
    target.statements.length = 0
    const opened = { ...seen, role: 'authority', epoch: 2, successor: 'source' } as const
    expect(await target.backend.transition('app', seen, opened)).toBe(true)
    expect(target.statements).not.toEqual([])
    expect(target.statements.filter((sql) => /app__|INDEX|sqlite_master|pg_/.test(sql))).toEqual(
      // The lock that holds the fence's row, not a look into the catalog.
      target.statements.filter((sql) => sql.includes('pg_advisory_xact_lock')),
    )
    const twin = { at: 2, writes: [doc('c', 'z')], checks: [] }
    expect(await target.backend.commit('app', 2, [twin])).toMatchObject([{ kind: 'failed' }])
  }, 180_000)

  it('stays plain while somebody reads the documents, which holds up no page, and is made later', async ({
    skip,
  }) => {
    const { read } = target
    if (read === undefined) return skip('no reader of SQLite is in the way of an index')
    await commit(declare({}))
    await commit(doc('a', 'x'), doc('b', 'x'))
    await take(10)
    await commit(doc('a', 'y'))
    await commit(declare(byKey))
    await commit(doc('a', 'z'))
    // The index comes before the newer state of one of its two.
    await take(1)
    const reader = await read()
    await take(10)
    expect(await target.isUnique()).toBe(false)
    await reader.end()
    for (let page = 0; page < 21; page++) {
      await commit(doc('c', `c${page}`))
      await take(10)
    }
    expect(await target.isUnique()).toBe(true)
    const { head, digest } = await source.fence('app')
    expect(await target.backend.fence('app')).toMatchObject({ head, digest })
  })

  it('stays plain where a foreign record has the key, and the copy goes on', async () => {
    await commit(declare({}))
    await commit(doc('a', 'x'))
    await take(10)
    await commit(doc('b', 'x'))
    await take(10)
    await commit(doc('b', 'y'))
    await commit(declare(byKey))
    // The copy did not take what freed the key, and never will: as if somebody had written it there.
    const { head } = await target.backend.fence('app')
    const page = await source.changes('app', head, 10)
    const items = page.items.filter(({ position }) => position !== head + 1)
    await target.backend.apply('app', 1, { ...page, items })
    await commit(doc('c', 'z'))
    await take(10)
    expect(await target.isUnique()).toBe(false)
    expect(await target.backend.fence('app')).toMatchObject({ head: (await source.fence('app')).head })
  })
})
