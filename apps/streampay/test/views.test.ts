/** The tables that SQL queries see are what the application says, on both databases, and take no writes. */
import pg from 'pg'
import { openStore } from 'underpin'
import type { SqliteHandle } from 'underpin/sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { idempotencyToken, openRepositories, POSTGRES_SCHEMA, type Repositories } from '../lib/db.ts'
import { domainName, domains } from '../lib/domain.ts'
import { schemaOf } from '../lib/repositories/open.ts'
import { postgresSchema, runAll } from '../lib/repositories/schema.ts'
import { kinds, missing, newFolder, newUrl } from './places.ts'

/** A wallet by CAIP-10: such names are encoded in those of event streams. */
const ada = 'eip155:1:0xabc'
const terms = { sender: ada, recipient: 'bob', currency: 'EUR', deposit: 1_000, ratePerHour: 100 }
const views = [
  'streams',
  'users',
  'activity_events',
  'idempotency_keys',
  'export_jobs',
  'export_audit_records',
]
const secret = 'thirty-two bytes, or a few more than that'

let repositories: Repositories | undefined
const clients: pg.Client[] = []
afterEach(async () => {
  await repositories?.close()
  repositories = undefined
  for (const client of clients.splice(0)) await client.end()
})

async function open(url: string, nextUrl?: string): Promise<Repositories> {
  repositories = await openRepositories(url, {
    nextUrl,
    exports: { folder: newFolder(), keys: [{ id: '1', secret }] },
  })
  return repositories
}

async function connected(url: string): Promise<pg.Client> {
  const plain = new URL(url)
  plain.searchParams.delete('schema')
  const client = new pg.Client({ connectionString: plain.href })
  await client.connect()
  clients.push(client)
  return client
}

/** One stream, one request that is kept, one export. */
async function fill({ streams, idempotency, exports }: Repositories, key = 'k') {
  const token = idempotencyToken(['tenant', 'create'], key)
  const { value } = await idempotency.once(token, terms, (tx) => streams.create(tx, terms))
  await streams.withLock(value.id, (tx) => streams.change(tx, value.id, { kind: 'start' }))
  await streams.withLock(value.id, (tx) => streams.change(tx, value.id, { kind: 'stop' }))
  const asked = await exports.request(ada, { kind: 'streams', format: 'csv' })
  return { id: value.id, token, kept: await idempotency.get(token), asked }
}

async function expectAll(
  { streams, exports }: Repositories,
  filled: Awaited<ReturnType<typeof fill>>,
  select: (sql: string) => Promise<Record<string, unknown>[]>,
): Promise<void> {
  const stream = await streams.get(filled.id)
  expect(
    await select('SELECT id, status, created_at, sender, recipient, deposit, refunded, version FROM streams'),
  ).toEqual([
    {
      ...{ id: filled.id, status: 'stopped', created_at: stream?.createdAt, sender: ada, recipient: 'bob' },
      ...{ deposit: 1_000, refunded: 1_000, version: 3 },
    },
  ])
  expect(await select('SELECT wallet FROM users ORDER BY wallet')).toEqual([
    { wallet: 'bob' },
    { wallet: ada },
  ])
  const { items } = await streams.activity({ stream: filled.id })
  expect(await select('SELECT id, type, amount FROM activity_events ORDER BY id')).toEqual(
    items.map(({ id, type, amount }) => ({ id, type, amount })),
  )
  const [kept] = await select('SELECT token, response, expires_at FROM idempotency_keys')
  expect([kept?.token, kept?.expires_at]).toEqual([filled.token.id, filled.kept?.expiresAt])
  expect(JSON.parse(String(kept?.response))).toEqual(filled.kept?.value)
  expect(await select('SELECT tenant, id, state FROM export_jobs')).toEqual([
    { tenant: ada, id: filled.asked.id, state: 'requested' },
  ])
  expect(await select('SELECT tenant, seq, type, export_id FROM export_audit_records')).toEqual(
    (await exports.audit(ada)).map(({ seq, type, export: id }) => ({
      tenant: ada,
      seq,
      type,
      export_id: id,
    })),
  )
}

it('on SQLite say what the application says, and take no writes', async () => {
  const opened = await open(newUrl('sqlite'))
  const filled = await fill(opened)
  const select = async (sql: string) => {
    let rows: Record<string, unknown>[] = []
    await opened.domain.transaction((tx) => {
      tx.put('users', 'bob', { wallet: 'bob', createdAt: 0 })
      tx.tables<SqliteHandle>((db) => {
        rows = db
          .prepare(sql)
          .all()
          .map((row) => ({ ...(row as object) }))
      })
    })
    return rows
  }
  await expectAll(opened, filled, select)
  for (const view of views) await expect(select(`DELETE FROM ${view}`)).rejects.toThrow(/cannot modify/)
})

describe('on PostgreSQL', () => {
  beforeEach(({ skip }) => skip(missing('postgres') !== '', missing('postgres')))

  async function selecting(url: string) {
    const client = await connected(url)
    await client.query(`SET search_path = ${schemaOf(url)}`)
    pg.types.setTypeParser(pg.types.builtins.INT8, Number)
    return { client, select: async (sql: string) => (await client.query(sql)).rows }
  }

  it('say what the application says, and take no writes', async () => {
    const url = newUrl('postgres')
    const opened = await open(url)
    const filled = await fill(opened)
    const { client, select } = await selecting(url)
    await expectAll(opened, filled, select)
    for (const view of views)
      for (const write of [`DELETE FROM ${view}`, `INSERT INTO ${view} DEFAULT VALUES`])
        await expect(client.query(write)).rejects.toThrow(`${view} is read only`)
    await expect(client.query("UPDATE streams SET status = 'draft'")).rejects.toThrow('streams is read only')
  })

  it.each(kinds)('are made where the data is, when a server is told of a move to %s', async (kind) => {
    const url = newUrl('postgres')
    const opened = await open(url, newUrl(kind))
    const filled = await fill(opened)
    const { select } = await selecting(url)
    await expectAll(opened, filled, select)
  })

  it('of one store are not those of another in the same database', async () => {
    const [url, other] = [newUrl('postgres'), newUrl('postgres')]
    const filled = await fill(await open(url))
    await repositories?.close()
    const { select } = await selecting(url)
    await fill(await open(other))
    expect(await select('SELECT id FROM streams')).toEqual([{ id: filled.id }])
  })

  it('are made by the script over a store in the default schema', async () => {
    const url = new URL(newUrl('postgres'))
    url.searchParams.delete('schema')
    const filled = await fill(await open(url.href))
    const client = await connected(url.href)
    await client.query('DROP VIEW underpin.streams')
    await client.query(POSTGRES_SCHEMA)
    const { rows } = await client.query('SELECT id FROM underpin.streams')
    expect(rows).toEqual([{ id: filled.id }])
  })

  it('find streams by status and creation, activity by stream and by type, with an index', async () => {
    const url = newUrl('postgres')
    await fill(await open(url))
    const { client } = await selecting(url)
    await client.query('SET enable_seqscan = off')
    for (const [query, index] of [
      ["streams WHERE status = 'active' ORDER BY created_at NULLS FIRST, id LIMIT 9", 'by_status'],
      ["activity_events WHERE stream_id = 'x' ORDER BY at NULLS FIRST, id LIMIT 9", 'by_stream'],
      ["activity_events WHERE type = 'x' ORDER BY at NULLS FIRST, id LIMIT 9", 'by_type'],
    ]) {
      const { rows } = await client.query(`EXPLAIN SELECT * FROM ${query}`)
      expect(JSON.stringify(rows)).toContain(`__${index}`)
    }
  })

  it('follow while the database is only a copy, and go with a copy that is thrown away', async () => {
    const [url, nextUrl] = [newUrl('sqlite'), newUrl('postgres')]
    await fill(await open(url))
    const store = await openStore({ current: url, next: nextUrl }, { domains })
    try {
      const move = await store.move(domainName, { to: 'next' })
      await move.start()
      await move.catchUp()
      const { client, select } = await selecting(nextUrl)
      await runAll(client, postgresSchema(schemaOf(nextUrl)))
      expect(await select('SELECT count(*) AS n FROM streams')).toEqual([{ n: 1 }])
      await fill(repositories as Repositories, 'another')
      await move.catchUp()
      expect(await select('SELECT count(*) AS n FROM streams')).toEqual([{ n: 2 }])
      await move.cancel()
      await move.start()
      await move.catchUp()
      await runAll(client, postgresSchema(schemaOf(nextUrl)))
      expect(await select('SELECT count(*) AS n FROM streams')).toEqual([{ n: 2 }])
    } finally {
      await store.close()
    }
  })
})
