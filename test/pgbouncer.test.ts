import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { laws, runLaw, type Subject } from '../src/conformance/conformance.ts'
import { isUnderpinError, openStore, verifyDomain } from '../src/index.ts'
import { type Pgbouncer, startPgbouncer } from './server/pgbouncer.ts'

const server = inject('postgres')
const direct = 'url' in server ? server.url : ''
const schema = `pooled_${randomBytes(4).toString('hex')}`
let pooler: Pgbouncer
let missing: string | undefined = 'reason' in server ? server.reason : undefined
let admin: pg.Client

beforeAll(async () => {
  if (missing !== undefined) return
  const started = await startPgbouncer(direct)
  if (typeof started === 'string') missing = started
  else pooler = started
  admin = new pg.Client(direct)
  await admin.connect()
})
afterAll(async () => {
  await admin?.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await admin?.end()
  await pooler?.stop()
})

const through = (query = '') => `${pooler.url}?schema=${schema}&application_name=${schema}${query}`

/** The sessions that the pooler has at the server. */
async function sessions(): Promise<number> {
  const { rows } = await admin.query(
    `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1`,
    [schema],
  )
  return rows[0].n
}

describe('behind a pooler that hands out sessions by transaction', () => {
  let backend: Backend
  const open = async () => {
    const opened = postgres(through('&prepare=false'))
    await opened.open()
    return opened
  }
  const subject: Subject = {
    open,
    reopen: open,
    async damage(_, domain, change) {
      const table = change.kind === 'event' ? `${domain}__events` : `${domain}__d_${change.collection}`
      const column = change.kind === 'event' ? 'position' : 'revision'
      await admin.query(`UPDATE ${schema}."${table}" SET at = at + 1 WHERE ${column} = $1`, [change.position])
    },
  }
  beforeAll(async () => {
    if (missing === undefined) backend = await subject.open()
  })
  afterAll(() => backend?.close())

  for (const law of laws) {
    it(`law ${law.law}: ${law.name}`, async ({ skip }) => {
      skip(missing !== undefined, missing)
      const { result, reason, error } = await runLaw(law, subject, backend)
      if (result === 'skipped') skip(reason)
      if (result === 'failed') throw error
    })
  }

  it('four stores with 16 callers each lose nothing and double nothing over three sessions', async ({
    skip,
  }) => {
    skip(missing !== undefined, missing)
    const domains = { load: { collections: { counters: {} } } }
    const stores = await Promise.all(
      Array.from({ length: 4 }, () => openStore(through('&prepare=false'), { domains })),
    )
    const each = 25
    const callers = stores.flatMap((store, s) =>
      Array.from({ length: 16 }, async (_, c) => {
        const load = store.domain('load')
        for (let n = 0; n < each; n++) {
          await load.log.append(`s-${c}`, { type: 'tried', data: `${s}-${c}-${n}` })
          if (n % 5 === 0) await load.documents('counters').put(`${s}-${c}`, { n })
        }
      }),
    )
    await Promise.all(callers)
    const busy = await sessions()
    const found: string[] = []
    for (let c = 0; c < 16; c++)
      for await (const { data } of (stores[0] as (typeof stores)[0]).domain('load').log.events(`s-${c}`))
        found.push(data as string)
    const [wrapped] = (stores[1] as (typeof stores)[0]).backends.values()
    const { isSound, documents } = await verifyDomain(wrapped as never, 'load')
    await Promise.all(stores.map((store) => store.close()))
    console.log(`${found.length} events by 64 callers over at most ${busy} sessions`)
    expect(new Set(found).size).toBe(4 * 16 * each)
    expect(found).toHaveLength(4 * 16 * each)
    expect({ isSound, documents }).toEqual({ isSound: true, documents: 65 })
    expect(busy).toBeLessThanOrEqual(3)
  })

  it('sessions that end under commits lose no acknowledged event and double none', async ({ skip }) => {
    skip(missing !== undefined, missing)
    const store = await openStore(through('&prepare=false'), { domains: { killed: {} } })
    const app = store.domain('killed')
    const acknowledged: number[] = []
    const codes = new Set<string>()
    let next = 0
    let isOver = false
    const callers = Array.from({ length: 16 }, async () => {
      while (!isOver) {
        const n = next++
        await app.log.append('s', { type: 'tried', data: n }).then(
          () => acknowledged.push(n),
          (error) => codes.add(isUnderpinError(error) ? error.code : String(error)),
        )
      }
    })
    for (let round = 1; round <= 10; round++) {
      while (acknowledged.length < round * 50) await new Promise((resolve) => setImmediate(resolve))
      await admin.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1',
        [schema],
      )
    }
    isOver = true
    await Promise.all(callers)
    const found: unknown[] = []
    for await (const { data } of app.log.events('s')) found.push(data)
    await store.close()
    const kept = new Set(found)
    expect(acknowledged.filter((n) => !kept.has(n))).toEqual([])
    expect(found).toHaveLength(kept.size)
    expect([...codes].filter((code) => code !== 'unknown' && code !== 'unavailable')).toEqual([])
  })

  it('prepared statements work, or the store is refused when it is opened, with what to do', async ({
    skip,
  }) => {
    skip(missing !== undefined, missing)
    const [major = 0, minor = 0] = pooler.version.split('.').map(Number)
    const knowsStatements = major > 1 || (major === 1 && minor >= 24)
    if (knowsStatements) return (await openStore(through(), { domains: {} })).close()
    // The second time, a name of the first time is in the way.
    for (let time = 1; time <= 2; time++)
      await expect(openStore(through(), { domains: { refused: {} } })).rejects.toMatchObject({
        code: 'unsupported',
        hint: expect.stringContaining('?prepare=false'),
      })
    expect(await backend.domains()).not.toContain('refused')
  })

  it('a pool with one connection meets the lost statement later, and says the same', async ({ skip }) => {
    skip(missing !== undefined, missing)
    const [, minor = 0] = pooler.version.split('.').map(Number)
    skip(minor >= 21, 'this PgBouncer may know prepared statements')
    const pools = [1, 2].map(() => new pg.Pool({ connectionString: pooler.url, max: 1 }))
    const opened = pools.map((pool) => openStore(postgres(pool, { schema }), { domains: { refused: {} } }))
    const results = await Promise.allSettled(opened)
    const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
    for (const result of results) if (result.status === 'fulfilled') await result.value.close()
    await Promise.all(pools.map((pool) => pool.end()))
    expect(errors.length).toBeGreaterThan(0)
    for (const error of errors) expect(error).toMatchObject({ code: 'unsupported' })
  })
})

describe('behind a pooler that hands out sessions by connection', () => {
  it('prepared statements work', async ({ skip }) => {
    skip(missing !== undefined, missing)
    const started = await startPgbouncer(direct, ['pool_mode = session', 'default_pool_size = 20'])
    if (typeof started === 'string') return skip(started)
    const store = await openStore(`${started.url}?schema=${schema}`, { domains: { sessions: {} } })
    const app = store.domain('sessions')
    await Promise.all([1, 2, 3, 4].map((n) => app.log.append('s', { type: 't', data: n })))
    expect(await app.head()).toBe(4)
    await store.close()
    await started.stop()
  })
})
