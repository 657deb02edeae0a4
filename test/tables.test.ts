/** A handler that writes tables of its own in a commit: on SQLite, PostgreSQL and PGlite. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { connect, type SqliteHandle } from '../src/backend/sqlite/driver.ts'
import { type Domain, openStore, type TableHandler, UnderpinError } from '../src/index.ts'
import { openStoreSync } from '../src/sync.ts'

const server = inject('postgres')
const url = 'url' in server ? server.url : ''
const folder = mkdtempSync(join(tmpdir(), 'underpin-tables-'))
afterAll(() => rmSync(folder, { recursive: true }))

const domains = { app: { collections: { notes: {} } } } as const

interface Place {
  readonly app: Domain
  /** A handler that runs statements on the client, in order; SQLite's at once, the others' awaited. */
  run(...statements: string[]): TableHandler<never>
  /** The table of one's own, as everybody sees it. */
  readonly own: string
  rows(): Promise<number[]>
  close(): Promise<void>
}

const sqlitePlace = async (): Promise<Place> => {
  const file = join(folder, `${randomBytes(4).toString('hex')}.db`)
  const store = await openStore(`sqlite:${file}`, { domains })
  const other = connect(file, false)
  other.exec('CREATE TABLE own (n INTEGER PRIMARY KEY)')
  return {
    app: store.domain('app') as unknown as Domain,
    run:
      (...statements) =>
      (handle: SqliteHandle) => {
        for (const statement of statements) handle.exec(statement)
      },
    own: 'own',
    rows: async () =>
      other
        .prepare('SELECT n FROM own ORDER BY n')
        .rows()
        .map(([n]) => Number(n)),
    async close() {
      other.close()
      await store.close()
    },
  }
}

interface PgClient {
  query(text: string): Promise<{ rows: unknown[] }>
}

const pgPlace = async (target: Parameters<typeof postgres>[0], admin: PgClient): Promise<Place> => {
  const schema = `h_${randomBytes(4).toString('hex')}`
  const store = await openStore(postgres(target, { schema }), { domains })
  await admin.query(`CREATE TABLE ${schema}.own (n integer PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE)`)
  return {
    app: store.domain('app') as unknown as Domain,
    run:
      (...statements) =>
      async (client: PgClient) => {
        for (const statement of statements) await client.query(statement)
      },
    own: `${schema}.own`,
    rows: async () =>
      (await admin.query(`SELECT n FROM ${schema}.own ORDER BY n`)).rows.map(
        (row) => (row as { n: number }).n,
      ),
    async close() {
      await store.close()
      await admin.query(`DROP SCHEMA ${schema} CASCADE`)
    },
  }
}

let admin: pg.Client | undefined
let instance: PGlite | undefined
afterAll(async () => {
  await admin?.end()
  await instance?.close()
})
const connected = async () => {
  if (admin !== undefined) return admin
  admin = new pg.Client(url)
  await admin.connect()
  return admin
}
const places: Record<string, () => Promise<Place>> = {
  SQLite: sqlitePlace,
  PostgreSQL: async () => pgPlace(url, await connected()),
  async PGlite() {
    instance ??= new PGlite()
    return pgPlace(instance, instance as PgClient)
  },
}

const event = (n: number) => ({ type: 'x', data: n })

describe.each(Object.keys(places))('a table handler on %s', (name) => {
  const missing = name === 'PostgreSQL' && 'reason' in server ? server.reason : undefined
  let place: Place
  beforeAll(async () => {
    if (missing === undefined) place = await (places[name] as () => Promise<Place>)()
  }, 60_000)
  afterAll(() => place?.close())
  beforeEach(({ skip }) => skip(missing !== undefined, missing))

  const insert = (n: number) => `INSERT INTO ${place.own} (n) VALUES (${n})`
  /** Appends and puts `n`, and runs a handler. */
  const commit = (n: number, handler: TableHandler<never>, expect?: number) =>
    place.app.transaction((tx) => {
      tx.append('s', event(n), expect === undefined ? {} : { expect })
      tx.put('notes', `n${n}`, n)
      tx.tables(handler)
    })
  const kept = async () => (await place.app.log.read('s')).events.map(({ data }) => data)

  it('writes its table with the commit, and both are seen together', async () => {
    const result = await commit(1, place.run(insert(1)))
    expect(result).toMatchObject({ seqs: [1], isReplay: false })
    expect(await place.rows()).toEqual([1])
    expect(await kept()).toEqual([1])
  })

  it('is told of the positions, seqs and time of the commit, without those of its id', async () => {
    let told: unknown
    const { positions, seqs, at } = await place.app.transaction(
      (tx) => {
        tx.append('told', [event(1), event(2)])
        tx.put('notes', 'told', 1)
        tx.tables((_, committed) => {
          told = committed
        })
      },
      { id: `told-${name}` },
    )
    expect(told).toEqual({ positions, seqs, at })
    expect(positions).toHaveLength(3)
    const { events } = await place.app.log.read('told')
    expect(events.map((event) => event.at)).toEqual([at, at])
  })

  it('that throws undoes everything, and the error comes as it was thrown', async () => {
    const before = await place.app.head()
    const thrown = { whatever: 'it threw' }
    const failed = commit(2, (client) => {
      const isDone = place.run(insert(2))(client, { positions: [], seqs: [], at: 0 })
      if (isDone === undefined) throw thrown
      return isDone.then(() => {
        throw thrown
      })
    })
    await expect(failed).rejects.toBe(thrown)
    expect([await place.app.head(), await place.rows(), await kept()]).toEqual([before, [1], [1]])
    expect(await place.app.documents('notes').get('n2')).toBeUndefined()
  })

  it('that throws a conflict of its own is not run again', async () => {
    const before = await place.app.head()
    const thrown = new UnderpinError('conflict', 'the seat is taken')
    let runs = 0
    const failed = commit(2, () => {
      runs++
      throw thrown
    })
    await expect(failed).rejects.toBe(thrown)
    expect([runs, await place.app.head()]).toEqual([1, before])
  })

  it('whose statement fails undoes everything, with the driver’s own error', async () => {
    const failed = commit(2, place.run(insert(2), insert(1)))
    await expect(failed).rejects.toThrow(/unique|duplicate/i)
    await expect(failed).rejects.not.toHaveProperty('hint', expect.stringContaining('server running'))
    expect([await place.rows(), await kept()]).toEqual([[1], [1]])
  })

  it('does not run when a check fails', async () => {
    const failed = commit(2, () => expect.unreachable(), 7)
    await expect(failed).rejects.toMatchObject({ code: 'conflict' })
    expect([await place.rows(), await kept()]).toEqual([[1], [1]])
  })

  it('fails alone in its group', async () => {
    const results = await Promise.allSettled([
      place.app.log.append('group', event(1)),
      commit(3, place.run(insert(3))),
      place.app.log.append('group', event(2)),
      commit(4, place.run(insert(4), insert(1))),
      place.app.log.append('group', event(3)),
      commit(5, place.run(insert(5))),
      place.app.log.append('group', event(4)),
    ])
    expect(results.map(({ status }) => status === 'fulfilled')).toEqual([
      true,
      true,
      true,
      false,
      true,
      true,
      true,
    ])
    expect(await place.rows()).toEqual([1, 3, 5])
    expect(await place.app.log.seq('group')).toBe(4)
    expect(await kept()).toEqual([1, 3, 5])
  })

  it('is refused without a write, twice in a transaction, and after it', async () => {
    const nothing = place.app.transaction((tx) => tx.tables(() => expect.unreachable()))
    await expect(nothing).rejects.toMatchObject({ code: 'invalid' })
    const twice = place.app.transaction((tx) => {
      tx.append('s', event(9))
      tx.tables(() => expect.unreachable())
      tx.tables(() => expect.unreachable())
    })
    await expect(twice).rejects.toThrow(TypeError)
    let late: () => void = () => {}
    await place.app.transaction((tx) => {
      late = () => tx.tables(() => {})
    })
    expect(late).toThrow(TypeError)
  })

  it('that ends the transaction itself is found out', async () => {
    const before = await place.app.head()
    await expect(commit(6, place.run(insert(6), 'ROLLBACK'))).rejects.toMatchObject({ code: 'unknown' })
    expect([await place.app.head(), await place.rows()]).toEqual([before, [1, 3, 5]])
    // The connection that it left is fit for the next.
    await commit(7, place.run(insert(7)))
    expect(await place.rows()).toEqual([1, 3, 5, 7])
  })
})

describe('a table handler on SQLite', () => {
  it('must not be asynchronous: all is undone', async () => {
    const place = await sqlitePlace()
    const failed = place.app.transaction((tx) => {
      tx.append('s', event(1))
      tx.tables(async (handle: SqliteHandle) => {
        handle.exec('INSERT INTO own VALUES (1)')
        throw new Error('nobody sees this one')
      })
    })
    await expect(failed).rejects.toThrow(TypeError)
    expect([await place.app.log.seq('s'), await place.rows()]).toEqual([0, []])
    await place.close()
  })

  it('works in synchronous code, on the caller’s own handle too', () => {
    const store = openStoreSync(`sqlite:${join(folder, 'sync.db')}`, { domains })
    const app = store.domain('app')
    let handle: SqliteHandle | undefined
    const result = app.transaction((tx) => {
      tx.append('s', event(1))
      tx.tables((given: SqliteHandle, { positions }) => {
        handle = given
        given.exec('CREATE TABLE own (position INTEGER)')
        given.exec(`INSERT INTO own VALUES (${positions[0]})`)
      })
    })
    const fails = () =>
      app.transaction((tx) => {
        tx.append('s', event(2))
        tx.tables((given: SqliteHandle) => given.exec('INSERT INTO nowhere VALUES (1)') as undefined)
      })
    expect(fails).toThrow(/nowhere/)
    expect(app.log.seq('s')).toBe(1)
    const rows = handle?.prepare('SELECT position FROM own').all() as object[]
    expect(rows.map((row) => Object.values(row))).toEqual([[result.position]])
    store.close()
  })

  it('that dies with its process leaves neither', async () => {
    const place = await sqlitePlace()
    const file = join(folder, 'killed.db')
    const script = fileURLToPath(new URL('./process/dies-in-handler.ts', import.meta.url))
    const died = spawnSync(process.execPath, ['--import', 'tsx', script, file], { encoding: 'utf8' })
    expect([died.signal, died.stderr]).toEqual(['SIGKILL', ''])
    const store = await openStore(`sqlite:${file}`, { domains })
    expect(await store.domain('app').log.seq('s')).toBe(1)
    const look = connect(file, true)
    expect(look.prepare('SELECT n FROM own').rows()).toEqual([[1]])
    look.close()
    await store.close()
    await place.close()
  })
})

describe('a table handler on PostgreSQL', () => {
  let place: Place
  beforeEach(async ({ skip }) => {
    skip('reason' in server, 'reason' in server ? server.reason : '')
    place = await pgPlace(url, await connected())
    return () => place.close()
  })
  const insert = (n: number) => `INSERT INTO ${place.own} (n) VALUES (${n})`

  it('that swallows the failure of a statement undoes everything, instead of a COMMIT that rolls back in silence', async () => {
    const failed = place.app.transaction((tx) => {
      tx.append('s', event(1))
      tx.tables(async (client: PgClient) => {
        await client.query(insert(1))
        await expect(client.query('SELECT 1/0')).rejects.toMatchObject({ code: '22012' })
      })
    })
    await expect(failed).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('did not throw'),
    })
    expect([await place.app.log.seq('s'), await place.rows()]).toEqual([0, []])
  })

  it('whose constraint fails at the COMMIT undoes its own commit alone', async () => {
    const results = await Promise.allSettled([
      place.app.log.append('s', event(1)),
      place.app.transaction((tx) => {
        tx.append('s', event(2))
        tx.tables(async (client: PgClient) => {
          await client.query('SET CONSTRAINTS ALL DEFERRED')
          await client.query(insert(1))
          await client.query(insert(1))
        })
      }),
      place.app.log.append('s', event(3)),
    ])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((results[1] as PromiseRejectedResult).reason).toMatchObject({ code: '23505' })
    expect([await place.app.log.seq('s'), await place.rows()]).toEqual([2, []])
  })

  it.each(['in it', 'behind it'])(
    'runs again when its session is lost %s, and takes effect once',
    async (where) => {
      let runs = 0
      const result = await place.app.transaction((tx) => {
        tx.append('s', event(1))
        tx.tables(async (client: PgClient) => {
          await client.query(insert(1))
          if (runs++ > 0) return
          const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
          const { pid } = rows[0] as { pid: number }
          await (await connected()).query(`SELECT pg_terminate_backend(${pid}, 1000)`)
          if (where === 'in it') await client.query('SELECT 1')
        })
      })
      expect([runs, result.seqs]).toEqual([2, [1]])
      expect([await place.app.log.seq('s'), await place.rows()]).toEqual([1, [1]])
    },
  )

  it('runs in a caller’s transaction too, and is undone without it', async () => {
    const client = new pg.Client(url)
    await client.connect()
    await client.query('BEGIN')
    const held = place.app.within(client)
    const attempt = (n: number, fail: boolean) =>
      held.transaction((tx) => {
        tx.append('s', event(n))
        tx.tables(async (given: PgClient) => {
          expect(given).toBe(client)
          await given.query(insert(n))
          if (fail) throw new Error('no')
        })
      })
    await attempt(1, false)
    await expect(attempt(2, true)).rejects.toThrow('no')
    await attempt(3, false)
    await client.query('COMMIT')
    await client.end()
    expect([await place.app.log.seq('s'), await place.rows()]).toEqual([2, [1, 3]])
  })
})
