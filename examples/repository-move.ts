/**
 * A repository of our own, with tables of our own, moves from SQLite to PostgreSQL while it is used: two implementations
 * of one interface, and `route` before them. With POSTGRES_URL, to that server; else to a second SQLite file, and it says so.
 * Run: `npm run build && npx tsx examples/repository-move.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from '@photostructure/sqlite'
import pg from 'pg'
import { openStore } from 'underpin'
import { PostgresFence, route, SqliteFence } from 'underpin/repository'

interface User {
  name: string
  logins: number
}

/** What the application knows. */
interface Users {
  get(id: string): Promise<User | undefined>
  put(id: string, user: User): Promise<void>
  login(id: string): Promise<void>
  remove(id: string): Promise<void>
}

/** What moving needs beyond that: the ids in order. */
interface Movable extends Users {
  ids(after: string): Promise<string[]>
}

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))

class SqliteUsers implements Movable {
  readonly db: InstanceType<typeof DatabaseSync>
  readonly fence: SqliteFence

  constructor(file: string) {
    this.db = new DatabaseSync(file)
    this.db.exec('PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000')
    this.db.exec('CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, name TEXT, logins INTEGER)')
    this.fence = new SqliteFence({ name: 'users', tables: ['users'], handle: this.db })
    this.fence.install()
  }

  async get(id: string) {
    const row = this.db.prepare('SELECT name, logins FROM users WHERE id = ?').get(id)
    return row === undefined ? undefined : { ...(row as unknown as User) }
  }

  async ids(after: string) {
    const rows = this.db.prepare('SELECT id FROM users WHERE id > ? ORDER BY id LIMIT 500').all(after)
    return rows.map((row) => (row as { id: string }).id)
  }

  async put(id: string, { name, logins }: User) {
    this.#write('INSERT OR REPLACE INTO users VALUES (?, ?, ?)', id, name, logins)
  }

  async login(id: string) {
    this.#write('UPDATE users SET logins = logins + 1 WHERE id = ?', id)
  }

  async remove(id: string) {
    this.#write('DELETE FROM users WHERE id = ?', id)
  }

  /** One transaction, in which the fence is told first which epoch this write is of. */
  #write(sql: string, ...values: (string | number)[]) {
    this.db.exec('BEGIN IMMEDIATE')
    try {
      this.fence.enter(this.db)
      this.db.prepare(sql).run(...values)
      this.db.exec('COMMIT')
    } catch (error) {
      this.db.exec('ROLLBACK')
      throw error
    }
  }
}

class PostgresUsers implements Movable {
  readonly pool: pg.Pool
  readonly fence: PostgresFence

  constructor(pool: pg.Pool, schema: string) {
    this.pool = pool
    this.fence = new PostgresFence({ name: 'users', tables: ['users'], client: pool, schema })
  }

  async get(id: string) {
    const { rows } = await this.pool.query('SELECT name, logins FROM users WHERE id = $1', [id])
    return rows[0] as User | undefined
  }

  async ids(after: string) {
    const { rows } = await this.pool.query('SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT 500', [
      after,
    ])
    return rows.map(({ id }) => id as string)
  }

  async put(id: string, { name, logins }: User) {
    await this.#write(
      'INSERT INTO users VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET name = $2, logins = $3',
      [id, name, logins],
    )
  }

  async login(id: string) {
    await this.#write('UPDATE users SET logins = logins + 1 WHERE id = $1', [id])
  }

  async remove(id: string) {
    await this.#write('DELETE FROM users WHERE id = $1', [id])
  }

  async #write(sql: string, values: unknown[]) {
    const client = await this.pool.connect()
    try {
      await client.query('BEGIN')
      await this.fence.enter(client)
      await client.query(sql, values)
      await client.query('COMMIT')
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    } finally {
      client.release()
    }
  }
}

/** The new place: the server that POSTGRES_URL names, or another file. */
async function openNext() {
  const url = process.env.POSTGRES_URL
  if (url === undefined) {
    console.log('POSTGRES_URL is not set: moving to a second SQLite file')
    const users = new SqliteUsers(join(folder, 'next.db'))
    return { users, close: async () => users.db.close() }
  }
  const schema = `users_${process.pid}`
  const pool = new pg.Pool({ connectionString: url, options: `-c search_path=${schema}` })
  await pool.query(`CREATE SCHEMA ${schema}`)
  await pool.query('CREATE TABLE users (id text COLLATE "C" PRIMARY KEY, name text, logins int)')
  const users = new PostgresUsers(pool, schema)
  await users.fence.install()
  const close = async () => {
    await pool.query(`DROP SCHEMA ${schema} CASCADE`)
    await pool.end()
  }
  return { users, close }
}

const old = new SqliteUsers(join(folder, 'users.db'))
for (let i = 0; i < 500; i++) await old.put(`u${i}`, { name: `user ${i}`, logins: 0 })
const next = await openNext()

// What the processes of the application agree on is a domain of any Underpin store that all of them open.
const store = await openStore(`sqlite:${join(folder, 'control.db')}`, { domains: { control: {} } })
const { repository, move, close } = await route({
  name: 'users',
  control: store.domain('control'),
  legacy: old as Movable,
  next: next.users as Movable,
  reads: ['get', 'ids'],
  // A method that is forgotten here does not compile.
  writes: { put: { key: (id) => id }, login: { key: (id) => id }, remove: { key: (id) => id } },
  /** Makes one user the same on the other side. */
  async reconcile(id, from, to) {
    const user = await from.get(id)
    if (user === undefined) await to.remove(id)
    else await to.put(id, user)
  },
  async *keys(users, after = '') {
    for (let ids = await users.ids(after); ids.length > 0; ids = await users.ids(ids.at(-1) as string))
      yield* ids
  },
  load: (users, id) => users.get(id),
  fences: { legacy: old.fence, next: next.users.fence },
  shadow: 0.1,
})

// The application: it knows nothing of the move.
const logins = new Map<string, number>()
let isOver = false
const application = Array.from({ length: 4 }, async (_, n) => {
  for (let i = n; !isOver; i += 4) {
    const id = `u${i % 50}`
    await repository.login(id)
    logins.set(id, (logins.get(id) ?? 0) + 1)
    if (i % 5 === 0) assert.ok(((await repository.get(id))?.logins ?? 0) > 0)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
})

// The operator, in this process or in any other.
await move.start({ by: 'ann' })
console.log('backfill:', await move.backfill())
console.log('verify:', await move.verify())
const there = await move.cutover({ by: 'ann' })
console.log(`cut over: writes waited ${there.pauseMs.toFixed(0)} ms`)
const back = await move.rollback({ by: 'ann' })
console.log(`rolled back: ${back.pauseMs.toFixed(0)} ms`)
await move.verify()
await move.cutover({ by: 'ann' })
await repository.put('new', { name: 'came after', logins: 0 })
await repository.remove('u499')

isOver = true
await Promise.all(application)
const { compared, divergences } = await move.verify()
assert.deepEqual(divergences, [])
for (const [id, count] of logins) assert.equal((await next.users.get(id))?.logins, count)
console.log(
  `${[...logins.values()].reduce((a, b) => a + b, 0)} logins, none lost or doubled; ${compared} users equal`,
)

await move.complete({ by: 'ann' })
console.log('status:', (await move.status()).phase)
// Whoever writes to the old tables now is refused by them.
await assert.rejects(old.put('u1', { name: 'late', logins: 0 }), /underpin fence/)

await close()
await store.close()
await next.close()
old.db.close()
rmSync(folder, { recursive: true })
