import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { isUnderpinError, openStore, verifyDomain } from '../src/index.ts'
import { startPostgres } from './server/postgres.ts'
import { scratchForEach } from './server/scratch.ts'

const scratch = scratchForEach()
const { url } = scratch

const withSetting = (setting: string) =>
  `${url}?schema=${scratch.schema}&options=${encodeURIComponent(`-c ${setting}`)}`

describe('a PostgreSQL session that ends under a commit', () => {
  it('loses no acknowledged event, doubles none, and leaves no call unsettled', async () => {
    const store = await openStore(`${url}?schema=${scratch.schema}&application_name=${scratch.schema}`, {
      domains: { app: {} },
    })
    const app = store.domain('app')
    const acknowledged: number[] = []
    const failures: string[] = []
    let next = 0
    let isOver = false
    const callers = Array.from({ length: 16 }, async () => {
      while (!isOver) {
        const n = next++
        await app.log.append(`s-${n % 5}`, { type: 'tried', data: n }).then(
          () => acknowledged.push(n),
          (error) => failures.push(isUnderpinError(error) ? error.code : String(error)),
        )
      }
    })
    let killed = 0
    for (let round = 0; round < 40; round++) {
      const before = acknowledged.length
      while (acknowledged.length < before + 20) await new Promise((resolve) => setImmediate(resolve))
      const { rows } = await scratch.admin.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1',
        [scratch.schema],
      )
      killed += rows.length
    }
    isOver = true
    await Promise.all(callers)
    const found: number[] = []
    for (let stream = 0; stream < 5; stream++)
      for await (const { data } of app.log.events(`s-${stream}`)) found.push(data as number)
    const [backend] = store.backends.values()
    const { isSound } = await verifyDomain(backend as never, 'app')
    await store.close()
    const kept = new Set(found)
    const lost = acknowledged.filter((n) => !kept.has(n)).length
    const doubled = found.length - kept.size
    console.log(
      `${killed} sessions ended under ${next} appends: acknowledged ${acknowledged.length}, lost ${lost}, doubled ${doubled}, failed ${failures.length} (${[...new Set(failures)]})`,
    )
    expect({ lost, doubled, isSound }).toEqual({ lost: 0, doubled: 0, isSound: true })
    expect(failures.filter((code) => code !== 'unknown' && code !== 'unavailable')).toEqual([])
    // Whoever was told that nothing was written was told the truth.
    expect(kept.size).toBeLessThanOrEqual(
      acknowledged.length + failures.filter((code) => code === 'unknown').length,
    )
  }, 60_000)
})

describe('a PostgreSQL server', () => {
  it('that may only be read is refused', async () => {
    const opened = openStore(withSetting('default_transaction_read_only=on'), { domains: {} })
    await expect(opened).rejects.toMatchObject({ code: 'unsupported' })
  })

  it('with another default isolation is refused, with what to do', async () => {
    const opened = openStore(withSetting('default_transaction_isolation=serializable'), { domains: {} })
    await expect(opened).rejects.toMatchObject({
      code: 'unsupported',
      hint: expect.stringContaining('ALTER ROLE'),
    })
  })

  it('that answers before the disk has it is not called durable', async () => {
    const store = await openStore(withSetting('synchronous_commit=off'), { domains: {} })
    expect([...store.backends.values()][0]?.supports.durability).toBe('process')
    await store.close()
  })

  it.for(['fsync=off', 'full_page_writes=off'])(
    'that runs with %s is not called durable',
    async (setting, { skip }) => {
      const own = await startPostgres([setting])
      if (typeof own === 'string') return skip(own)
      const store = await openStore(own.url, { domains: {} })
      expect([...store.backends.values()][0]?.supports.durability).toBe('process')
      await store.close()
      await own.stop()
    },
  )

  it.each(['standard_conforming_strings=off', 'array_nulls=off', 'extra_float_digits=0'])(
    'with %s for the role is refused, with what to do, and nothing is made',
    async (setting) => {
      const opened = openStore(withSetting(setting), { domains: { app: {} } })
      await expect(opened).rejects.toMatchObject({
        code: 'unsupported',
        hint: `ALTER ROLE … SET ${setting.split('=')[0]} = ${setting.startsWith('extra') ? '1' : 'on'}`,
      })
      const { rows } = await scratch.admin.query('SELECT to_regnamespace($1) AS found', [scratch.schema])
      expect(rows[0].found).toBeNull()
    },
  )

  it('is asked for all of its settings at once, and for no DDL when all is current', async () => {
    await (await openStore(`${url}?schema=${scratch.schema}`, { domains: {} })).close()
    const asked: string[] = []
    const pool = new pg.Pool({ connectionString: url })
    const watched = {
      query(config: { text: string }) {
        asked.push(config.text)
        return pool.query(config)
      },
      connect: () => Promise.reject(new Error('no transaction is needed')),
      end: () => pool.end(),
    }
    const backend = postgres(watched as never, { schema: scratch.schema, prepare: false })
    await backend.open()
    await backend.close()
    await pool.end()
    expect(asked).toHaveLength(3)
    expect(asked.filter((text) => text.includes('current_setting'))).toHaveLength(1)
    expect(asked.filter((text) => !/^(SELECT|WITH)/.test(text))).toEqual([])
  })

  it('that is not there is out of reach, and the password is masked', async () => {
    const opened = openStore('postgres://ada:hunter2@127.0.0.1:1/app', { domains: {} })
    const error = await opened.catch((found: unknown) => found)
    expect(error).toMatchObject({ code: 'unavailable' })
    expect(String((error as Error).message)).not.toContain('hunter2')
  })
})

describe('a search path', () => {
  const withPath = (path: string) => withSetting(`search_path=${path}`)
  let hostile: string

  beforeEach(async () => {
    hostile = `${scratch.schema}_hostile`
    await scratch.admin.query(`CREATE SCHEMA ${hostile}`)
  })
  afterEach(() => scratch.admin.query(`DROP SCHEMA ${hostile} CASCADE`))

  it.each([
    ['function', 'unnest', "FUNCTION $.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''other'''"],
    ['function', 'row_number', "FUNCTION $.row_number() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'"],
    ['operator', '=', 'OPERATOR $.= (FUNCTION = pg_catalog.textne, LEFTARG = text, RIGHTARG = text)'],
    ['type', 'text', 'DOMAIN $.text AS varchar(3)'],
    ['collation', 'C', 'COLLATION $."C" FROM pg_catalog."en_US"'],
  ])('with a %s named %s before PostgreSQL’s own is refused by name', async (kind, name, sql) => {
    const made = sql.replaceAll('$', hostile).replace('"en_US"', '"ucs_basic"')
    await scratch.admin.query(`CREATE ${made}`)
    const opened = openStore(withPath(`${hostile},pg_catalog`), { domains: { app: {} } })
    await expect(opened).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(`${kind} ${hostile}.${name}`),
      hint: expect.stringContaining('search_path'),
    })
  })

  it('with a function behind PostgreSQL’s own that fits the types better is refused as well', async () => {
    await scratch.admin.query(
      `CREATE FUNCTION ${hostile}.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''other'''`,
    )
    await expect(openStore(withPath(hostile), { domains: {} })).rejects.toMatchObject({ code: 'unsupported' })
  })

  it('with tables and functions of our names, and operators of its own types, changes nothing', async () => {
    for (const sql of [
      'TABLE $.underpin_fences (domain text)',
      'TABLE $.underpin_migrations (number int)',
      'TABLE $.app__events (position int)',
      'TABLE $.pg_class (oid int)',
      "TYPE $.mood AS ENUM ('good')",
      "FUNCTION $.never($.mood, $.mood) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
      'OPERATOR $.= (FUNCTION = $.never, LEFTARG = $.mood, RIGHTARG = $.mood)',
      "FUNCTION $.max($.mood) RETURNS text LANGUAGE sql AS 'SELECT ''other'''",
      "FUNCTION $.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''other'''",
    ])
      await scratch.admin.query(`CREATE ${sql.replaceAll('$', hostile)}`)
    const store = await openStore(withPath(`${hostile},pg_catalog`), {
      domains: {
        app: { collections: { things: { fields: { n: 'number' }, indexes: { by_n: { fields: ['n'] } } } } },
      },
    })
    const app = store.domain('app')
    await app.log.append('s', { type: 't', data: 1 })
    await app.documents('things').put('a', { n: 0.1 + 0.2 })
    expect((await app.documents('things').list({ index: 'by_n' })).documents.map(({ id }) => id)).toEqual([
      'a',
    ])
    const [backend] = store.backends.values()
    expect(await verifyDomain(backend as never, 'app')).toMatchObject({ isSound: true, events: 1 })
    await store.close()
    const { rows } = await scratch.admin.query(`SELECT count(*)::int AS n FROM ${hostile}.underpin_fences`)
    expect(rows[0].n).toBe(0)
  })
})

describe('a URL', () => {
  it('with a switch that is neither true nor false is refused', () => {
    expect(() => postgres(`${url}?prepare=no`)).toThrow(/prepare .*true or false/)
    expect(() => postgres(`${url}?notify=off`)).toThrow(/notify .*true or false/)
  })
})

describe('a schema', () => {
  it('may have any name that PostgreSQL takes, and no longer one', async () => {
    const odd = `${scratch.schema} "quoted" Größe`
    const store = await openStore(postgres(url, { schema: odd }), { domains: { app: {} } })
    await store.domain('app').log.append('s', { type: 't', data: 1 })
    await store.close()
    await scratch.admin.query(`DROP SCHEMA "${odd.replaceAll('"', '""')}" CASCADE`)
    expect(() => postgres(url, { schema: 'ü'.repeat(32) })).toThrow(/64 bytes/)
  })

  it('is migrated once by processes that start together', async () => {
    const opening = Array.from({ length: 5 }, () =>
      openStore(`${url}?schema=${scratch.schema}`, { domains: { app: { collections: { things: {} } } } }),
    )
    const stores = await Promise.all(opening)
    expect(await stores[0]?.domain('app').head()).toBe(1)
    await Promise.all(stores.map((store) => store.close()))
  })
})

describe('a PostgreSQL pool', () => {
  it('is shared by two backends, whose prepared statements do not get into each other’s way', async () => {
    const pool = new pg.Pool({ connectionString: url, max: 1 })
    const second = `${scratch.schema}_b`
    const [a, b] = [
      await openStore(postgres(pool, { schema: scratch.schema }), { domains: { app: {} } }),
      await openStore(postgres(pool, { schema: second }), { domains: { app: {} } }),
    ]
    for (let n = 1; n <= 3; n++)
      for (const each of [a, b])
        expect((await each.domain('app').log.append('s', { type: 'x', data: n })).seqs).toEqual([n])
    await a.close()
    await b.close()
    await pool.end()
    await scratch.admin.query(`DROP SCHEMA ${second} CASCADE`)
  })
})
