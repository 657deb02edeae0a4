import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { connect, type SqliteHandle } from '../../src/backend/sqlite/driver.ts'
import { PostgresFence, SqliteFence } from '../../src/repository.ts'

const refused = /underpin fence ledger/

describe('the fence in a SQLite file', () => {
  let folder: string
  let db: SqliteHandle
  let other: SqliteHandle
  let fence: SqliteFence
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'underpin-fence-'))
    ;[db, other] = [0, 1].map(() => connect(join(folder, 'app.db'), false).handle) as [
      SqliteHandle,
      SqliteHandle,
    ]
    db.exec('CREATE TABLE "the ledger" (key TEXT PRIMARY KEY, n INTEGER)')
    fence = new SqliteFence({ name: 'ledger', tables: ['the ledger'], handle: db })
    fence.install()
  })
  afterEach(() => {
    db.close()
    other.close()
    rmSync(folder, { recursive: true })
  })

  /** Writes in a transaction that names its epoch, as a process would that knows this one. */
  const write = (handle: SqliteHandle, epoch: number, isMover = false) =>
    fence.run({ epoch, isMover }, () => {
      handle.exec('BEGIN IMMEDIATE')
      try {
        fence.enter(handle)
        handle.prepare('INSERT OR REPLACE INTO "the ledger" VALUES (?, ?)').run('a', epoch)
        handle.exec('COMMIT')
      } catch (error) {
        handle.exec('ROLLBACK')
        throw error
      }
    })
  const raw = (sql: string) => other.exec(sql)

  it('lets everybody write until it is raised, and refuses earlier epochs from then on', async () => {
    raw(`INSERT INTO "the ledger" VALUES ('raw', 1)`)
    write(other, 3)
    await fence.open(4)
    expect(() => write(other, 3)).toThrow(refused)
    write(other, 4)
    write(other, 5)
    expect(db.prepare('SELECT n FROM "the ledger" WHERE key = ?').get('a')).toMatchObject({ n: 5 })
  })

  it('sealed, it lets only the mover of the epoch write; raised again, not even that', async () => {
    await fence.open(4)
    write(other, 4)
    await fence.seal(5)
    expect(() => write(other, 4)).toThrow(refused)
    expect(() => write(other, 5)).toThrow(refused)
    for (const sql of [
      `INSERT INTO "the ledger" VALUES ('b', 1)`,
      'UPDATE "the ledger" SET n = 9',
      'DELETE FROM "the ledger"',
    ])
      expect(() => raw(sql)).toThrow(refused)
    write(other, 5, true)
    await fence.open(6)
    expect(() => write(other, 5, true)).toThrow(refused)
    // A seal, or an opening, that comes late changes nothing.
    await fence.seal(5)
    await fence.open(5)
    write(other, 6)
  })

  it('waits for a transaction that wrote before the seal', async () => {
    other.exec('BEGIN IMMEDIATE')
    await expect(fence.seal(2)).rejects.toMatchObject({ code: 'gate' })
    other.exec('COMMIT')
    await fence.seal(2)
  })

  it('is installed twice as once, and uninstalled without a trace on the tables', async () => {
    fence.install()
    await fence.seal(2)
    fence.uninstall()
    raw(`INSERT INTO "the ledger" VALUES ('raw', 1)`)
    fence.uninstall()
    expect(db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").all()).toEqual([])
    expect(() => new SqliteFence({ name: "x'; DROP", tables: [], handle: db })).toThrow(TypeError)
  })
})

const server = inject('postgres')
const missing = 'reason' in server ? server.reason : ''

describe('the fence in PostgreSQL', () => {
  const schema = `fence_${randomBytes(4).toString('hex')}`
  let pool: pg.Pool
  let fence: PostgresFence
  beforeEach(async ({ skip }) => {
    // Reason: places.ts says why this machine has no such server.
    skip(missing !== '', missing)
    pool = new pg.Pool({ connectionString: 'url' in server ? server.url : '', max: 4 })
    await pool.query(`CREATE SCHEMA ${schema}`)
    await pool.query(`CREATE TABLE ${schema}."the ledger" (key text PRIMARY KEY, n int)`)
    fence = new PostgresFence({
      ...{ name: 'ledger', tables: ['the ledger'], client: pool, schema, lockTimeoutMs: 100 },
    })
    await fence.install()
  })
  afterEach(async () => {
    await pool?.query(`DROP SCHEMA ${schema} CASCADE`)
    await pool?.end()
  })

  const insert = `INSERT INTO ${schema}."the ledger" VALUES ('a', $1) ON CONFLICT (key) DO UPDATE SET n = $1`

  const begin = async (epoch: number, isMover = false, level = 'READ COMMITTED') => {
    const client = await pool.connect()
    await client.query(`BEGIN ISOLATION LEVEL ${level}`)
    await fence.run({ epoch, isMover }, () => fence.enter(client))
    return client
  }
  const write = async (...session: Parameters<typeof begin>) => {
    const client = await begin(...session)
    try {
      await client.query(insert, [session[0]])
      await client.query('COMMIT')
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    } finally {
      client.release()
    }
  }

  it('lets everybody write until it is raised, and refuses earlier epochs and raw writers from then on', async () => {
    await pool.query(insert, [0])
    await write(3)
    await fence.open(4)
    await expect(write(3)).rejects.toThrow(refused)
    await expect(pool.query(insert, [0])).rejects.toThrow(refused)
    await expect(pool.query(`TRUNCATE ${schema}."the ledger"`)).rejects.toThrow(refused)
    await expect(pool.query(`DELETE FROM ${schema}."the ledger"`)).rejects.toThrow(refused)
    await write(4)
    await write(5)
    // The epoch is of the transaction alone.
    await expect(pool.query(insert, [0])).rejects.toThrow(refused)
  })

  it('sealed, it lets only the mover of the epoch write; raised again, not even that', async () => {
    await fence.open(4)
    await fence.seal(5)
    await expect(write(4)).rejects.toThrow(refused)
    await expect(write(5)).rejects.toThrow(refused)
    await write(5, true)
    await fence.open(6)
    await expect(write(5, true)).rejects.toThrow(refused)
    await fence.seal(5)
    await fence.open(5)
    await write(6)
  })

  it('waits for transactions that wrote before the seal, and those that come later see it', async () => {
    await fence.open(4)
    const early = await begin(4)
    await early.query(insert, [4])
    await expect(fence.seal(5)).rejects.toMatchObject({ code: 'gate' })
    const late = await begin(4)
    // Its snapshot is from before the seal: under this level it is not served an older fence, but refused.
    const snapshot = await begin(4, false, 'REPEATABLE READ')
    await snapshot.query('SELECT 1')
    await early.query('COMMIT')
    early.release()
    await fence.seal(5)
    await expect(late.query(insert, [4])).rejects.toThrow(refused)
    await expect(snapshot.query(insert, [4])).rejects.toThrow(/could not serialize|underpin fence/)
    for (const client of [late, snapshot]) {
      await client.query('ROLLBACK')
      client.release()
    }
  })

  it('does not wait for ever for a transaction in which nothing happens', async () => {
    const impatient = new PostgresFence({
      ...{ name: 'ledger', tables: ['the ledger'], client: pool, schema, lockTimeoutMs: 2_000 },
      idleTimeoutMs: 200,
    })
    await fence.open(4)
    const client = await pool.connect()
    const ended = new Promise((resolve) => client.on('error', resolve))
    await client.query('BEGIN')
    await impatient.run({ epoch: 4, isMover: false }, () => impatient.enter(client))
    await client.query(insert, [4])
    await impatient.seal(5)
    expect(await ended).toMatchObject({ message: expect.stringMatching(/idle/) })
    client.release(true)
  })

  it('needs no right of the writer on it', async () => {
    const role = `${schema}_writer`
    await fence.open(2)
    await pool.query(`CREATE ROLE ${role}`)
    await pool.query(`GRANT USAGE ON SCHEMA ${schema} TO ${role}`)
    await pool.query(`GRANT ALL ON ${schema}."the ledger" TO ${role}`)
    const client = await begin(2)
    await client.query(`SET LOCAL ROLE ${role}`)
    await client.query(insert, [2])
    await client.query('ROLLBACK')
    client.release()
    await pool.query(`DROP OWNED BY ${role}`)
    await pool.query(`DROP ROLE ${role}`)
  })

  it('is installed twice as once, and uninstalled', async () => {
    await fence.install()
    await fence.seal(2)
    await fence.uninstall()
    await pool.query(insert, [0])
    await fence.uninstall()
  })
})
