/** What other sessions of a PostgreSQL server do must not hold the feed, and must not break a commit: only delay it. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { openStore } from '../src/index.ts'

const server = inject('postgres')
const url = 'url' in server ? server.url : ''
let schema: string
let sessions: pg.Client[]
let admin: pg.Client

/** A session of somebody else. */
async function session(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: `other-${schema}` })
  await client.connect()
  sessions.push(client)
  return client
}

const openApp = (domains: string[] = ['app'], deadlineMs = 20_000) =>
  openStore(`${url}?schema=${schema}`, {
    domains: Object.fromEntries(domains.map((domain) => [domain, { collections: { things: {} } }])),
    deadlineMs,
  })

beforeEach(async ({ skip }) => {
  skip('reason' in server, 'reason' in server ? server.reason : '')
  schema = `t_${randomBytes(4).toString('hex')}`
  sessions = []
  admin = await session()
})
afterEach(async () => {
  const [first, ...others] = sessions ?? []
  await Promise.all(others.map((client) => client.end()))
  await first?.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await first?.end()
})

describe('sessions that are idle in a transaction', () => {
  it('do not hold the feed: a follower gets what is committed while they sit there', async () => {
    await using writer = await openApp()
    await using reader = await openApp()
    await writer.domain('app').log.append('s', { type: 'before', data: 0 })
    const after = await writer.domain('app').head()
    const tables = `${schema}."app__events", ${schema}."app__d_things", ${schema}.underpin_fences`
    await (await session()).query(`BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM ${tables}`)
    await (await session()).query(`BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM ${tables}`)
    await (await session()).query('BEGIN; SELECT txid_current()')
    await (await session()).query(
      `CREATE TABLE ${schema}.own (n int); BEGIN; INSERT INTO ${schema}.own VALUES (1)`,
    )
    const idle = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'other-${schema}' AND state = 'idle in transaction'`
    expect((await admin.query(idle)).rows).toEqual([{ n: 4 }])

    const ending = new AbortController()
    const delivered: unknown[] = []
    const times: number[] = []
    const committed: number[] = []
    const following = (async () => {
      for await (const item of reader.domain('app').follow({ after, signal: ending.signal })) {
        delivered.push(item.kind === 'event' ? item.data : item.kind)
        times.push(performance.now())
        if (delivered.length === 100) ending.abort()
      }
    })()
    for (let n = 1; n <= 100; n++) {
      await writer.domain('app').log.append('s', { type: 'during', data: n })
      committed.push(performance.now())
    }
    await following
    const lags = times.map((time, i) => time - (committed[i] ?? 0)).sort((a, b) => a - b)
    console.log(
      `4 sessions idle in transaction: 100 commits delivered to a follower of another store, ${lags.at(50)?.toFixed(0)} ms (median), ${lags.at(-1)?.toFixed(0)} ms (most) behind`,
    )
    expect(delivered).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    expect((await admin.query(idle)).rows).toEqual([{ n: 4 }])
  })
})

describe('a session that is idle in a transaction in which it read a collection', () => {
  it('delays who declares a field of it, and nobody else', async () => {
    await using store = await openApp()
    const other = await session()
    await other.query(`BEGIN; SELECT * FROM ${schema}."app__d_things"`)
    const things = { fields: { n: 'number' } } as const
    const declaring = openStore(`${url}?schema=${schema}`, { domains: { app: { collections: { things } } } })
    await waiting(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%${schema}%'`,
    )
    const app = store.domain('app')
    for (let n = 0; n < 10; n++) {
      await app.documents('things').put('a', { n })
      expect((await app.documents('things').get('a'))?.value).toEqual({ n })
    }
    await other.query('ROLLBACK')
    await (await declaring).close()
  })
})

describe('a deadlock', () => {
  /** A session that locks the fences of two domains in one order, while a commit needs both in the other. */
  it('of real locks is retried until the commit stands, once', async () => {
    await using store = await openApp(['one', 'two'])
    // A table of the server's own that every commit of domain one touches behind its fence: the fence of domain two.
    await admin.query(`
      CREATE FUNCTION ${schema}.touch() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM 1 FROM ${schema}.underpin_fences WHERE domain = 'two' FOR UPDATE; RETURN NULL; END $$;
      CREATE TRIGGER touch AFTER INSERT ON ${schema}."one__events" FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.touch()`)
    const other = await session()
    const lock = (domain: string) =>
      other.query(`SELECT 1 FROM ${schema}.underpin_fences WHERE domain = '${domain}' FOR UPDATE`)
    // The other session looks for deadlocks last: it is the commit that the server ends.
    await other.query("SET deadlock_timeout = '1h'")
    const deadlocks = async () =>
      (
        await admin.query(
          'SELECT deadlocks::int AS n FROM pg_stat_database WHERE datname = current_database()',
        )
      ).rows[0].n as number
    const before = await deadlocks()
    await other.query('BEGIN')
    await lock('two')
    const commit = store.domain('one').log.append('s', { type: 't', data: 'kept' })
    await waiting(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%${schema}%'`,
    )
    await lock('one')
    await other.query('COMMIT')
    expect((await commit).positions).toEqual([2])
    const { events } = await store.domain('one').log.read('s')
    expect(events.map(({ data }) => data)).toEqual(['kept'])
    await waiting(
      `SELECT 1 FROM pg_stat_database WHERE datname = current_database() AND deadlocks > ${before}`,
    )
  })

  it('that comes back some times is retried, and the commit stands once', async () => {
    await using store = await openApp()
    const failures = await plant('n.last_value < 6')
    const app = store.domain('app')
    const [first, second] = await Promise.all([
      app.log.append('s', { type: 't', data: 1 }),
      app.transaction((tx) => {
        tx.append('s', { type: 't', data: 2 })
        tx.put('things', 'a', 1)
      }),
    ])
    expect([...first.positions, ...second.positions].sort()).toEqual([2, 3, 4])
    expect((await app.log.read('s')).events).toHaveLength(2)
    expect(await failures()).toBe(6)
  })

  it('that never ends makes the commit unavailable within its deadline, with nothing written', async () => {
    const deadlineMs = 2_000
    await using store = await openApp(['app'], deadlineMs)
    const failures = await plant('true')
    const app = store.domain('app')
    const head = await app.head()
    const since = performance.now()
    const commit = app.transaction((tx) => {
      tx.append('s', { type: 't', data: 2 })
      tx.put('things', 'a', 1)
    })
    await expect(commit).rejects.toMatchObject({ code: 'unavailable' })
    const took = performance.now() - since
    console.log(
      `a deadlock that never ends: ${await failures()} attempts in ${took.toFixed(0)} ms, then unavailable`,
    )
    expect(took).toBeLessThan(deadlineMs)
    expect(await failures()).toBeGreaterThan(5)
    expect(await app.head()).toBe(head)
    expect((await app.log.read('s')).events).toEqual([])
    expect(await app.documents('things').get('a')).toBeUndefined()
  })
})

/** Lets inserts of events fail with a deadlock as long as the condition holds; gives how often that was. */
async function plant(condition: string): Promise<() => Promise<number>> {
  await admin.query(`
    CREATE SEQUENCE ${schema}.failures MINVALUE 0;
    CREATE FUNCTION ${schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF (SELECT ${condition} FROM ${schema}.failures n) THEN
        PERFORM nextval('${schema}.failures');
        RAISE EXCEPTION 'planted' USING ERRCODE = '40P01';
      END IF;
      RETURN NULL;
    END $$;
    SELECT nextval('${schema}.failures');
    CREATE TRIGGER fail BEFORE INSERT ON ${schema}."app__events" FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.fail()`)
  return async () =>
    Number((await admin.query(`SELECT last_value FROM ${schema}.failures`)).rows[0].last_value)
}

/** Asks until there is a row. */
async function waiting(query: string): Promise<void> {
  while ((await admin.query(query)).rows.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
}
