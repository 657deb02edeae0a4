import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { ArrayParameter } from '../src/backend/postgres/array.ts'
import type { PgPool } from '../src/backend/postgres/driver.ts'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { openStore } from '../src/index.ts'
import { scratchForEach } from './server/scratch.ts'

const scratch = scratchForEach()
const { url } = scratch

const domains = { app: {} } as const
const open = (options: object = {}) =>
  openStore(postgres(url, { schema: scratch.schema, ...options }), { domains })

/** Milliseconds from each commit of one store to its delivery by another. */
async function delays(options: object, times: number): Promise<number[]> {
  const [writer, reader] = [await open(options), await open(options)]
  const found: number[] = []
  let next: (() => void) | undefined
  const ending = new AbortController()
  const reading = (async () => {
    for await (const _ of reader.domain('app').follow({ signal: ending.signal })) next?.()
  })()
  for (let i = 0; i < times; i++) {
    const delivered = new Promise<void>((resolve) => {
      next = resolve
    })
    const since = performance.now()
    await writer.domain('app').log.append('s', { type: 't', data: i })
    await delivered
    found.push(performance.now() - since)
    // Longer apart than notifications are kept, so that each commit is told of by one of its own.
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  ending.abort()
  await reading
  await Promise.all([writer.close(), reader.close()])
  return found.sort((a, b) => a - b)
}

/** A pool whose session for notifications is made by another class. */
function listeningBy(pool: pg.Pool, Client: typeof pg.Client): PgPool {
  const { options } = pool
  const target = {
    query: (config: object) => pool.query(config as never),
    connect: (done: never) => pool.connect(done),
    end: () => pool.end(),
  }
  return { ...target, options, Client } as never
}

describe('a commit on PostgreSQL', () => {
  it('is told to other processes at once, without waiting for them to look', async () => {
    // They would look every three seconds only.
    const found = await delays({ pollMs: 3_000 }, 20)
    const [p50, last] = [found[10] ?? Number.NaN, found.at(-1) ?? Number.NaN]
    console.log(`from commit to delivery: p50 ${p50.toFixed(1)} ms, longest ${last.toFixed(1)} ms`)
    expect(p50).toBeLessThan(250)
  })

  it('is found by those who look, where notifications are switched off', async () => {
    const store = await open({ notify: false })
    expect([...store.backends.values()][0]?.supports.watch).toBe('poll')
    await store.close()
    expect(await delays({ notify: false, pollMs: 10 }, 5)).toHaveLength(5)
  })

  it('is found too after the session that hears notifications has ended', async () => {
    const [writer, reader] = [await open({ pollMs: 20 }), await open({ pollMs: 20 })]
    const app = reader.domain('app')
    const ending = new AbortController()
    const seen: number[] = []
    const reading = (async () => {
      for await (const { position } of app.follow({ signal: ending.signal })) {
        seen.push(position)
        if (seen.length === 20) ending.abort()
      }
    })()
    for (let i = 0; i < 20; i++) {
      await writer.domain('app').log.append('s', { type: 't', data: i })
      await scratch.admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN "underpin%'`,
      )
    }
    await reading
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    await Promise.all([writer.close(), reader.close()])
  })

  it('leaves no session behind when the store is closed', async () => {
    const store = await openStore(`${url}?schema=${scratch.schema}&application_name=${scratch.schema}`, {
      domains,
    })
    const ending = new AbortController()
    const watching = store.domain('app').follow({ signal: ending.signal }).next()
    await store.domain('app').log.append('s', { type: 't', data: 1 })
    await watching
    ending.abort()
    await store.close()
    const sessions = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = '${scratch.schema}'`
    await expect.poll(async () => (await scratch.admin.query(sessions)).rows[0].n).toBe(0)
  })

  it('asks the session that hears notifications one thing at a time, however many watch at once', async () => {
    const pool = new pg.Pool({ connectionString: url })
    let running = 0
    const atOnce: number[] = []
    class Counting extends pg.Client {
      override query(...given: never[]): never {
        atOnce.push(++running)
        const query = super.query as (...given: never[]) => Promise<unknown>
        return query.apply(this, given).finally(() => running--) as never
      }
    }
    const store = await openStore(postgres(listeningBy(pool, Counting), { schema: scratch.schema }), {
      domains: { app: {}, other: {} },
    })
    const watchers = [...Array(12).keys()].map((i) => store.domain(i % 2 === 0 ? 'app' : 'other').follow())
    const watching = watchers.map((watcher) => watcher.next())
    for (const domain of ['app', 'other'] as const)
      await store.domain(domain).log.append('s', { type: 't', data: 1 })
    await Promise.all(watching)
    await expect.poll(() => atOnce.length).toBe(12)
    expect(Math.max(...atOnce)).toBe(1)
    await Promise.all(watchers.map((watcher) => watcher.return(undefined)))
    await store.close()
    await pool.end()
  })

  it('warns the process of a session that does not end when the store is closed', async () => {
    const pool = new pg.Pool({ connectionString: url })
    class Rude extends pg.Client {
      override async end() {
        await super.end()
        throw new Error('no goodbye')
      }
    }
    const store = await openStore(postgres(listeningBy(pool, Rude), { schema: scratch.schema }), {
      domains,
    })
    const ending = new AbortController()
    const watching = store.domain('app').follow({ signal: ending.signal }).next()
    await store.domain('app').log.append('s', { type: 't', data: 1 })
    await watching
    ending.abort()
    const warned = warning('UnderpinWarning')
    await store.close()
    expect((await warned).message).toBe('A session that heard notifications did not end: no goodbye')
    await pool.end()
  })
})

/** The next warning of this name that the process is given. */
function warning(name: string): Promise<Error> {
  return new Promise((resolve) => {
    const onWarning = (given: Error) => {
      if (given.name !== name) return
      process.off('warning', onWarning)
      resolve(given)
    }
    process.on('warning', onWarning)
  })
}

describe('an array parameter', () => {
  it('reaches the server as it was given, in binary and as text', async () => {
    const texts = ['', 'a', '"', '\\', '{},', 'NULL', 'ü€😀', '\t\n', 'x'.repeat(10_000), null]
    const numbers = [
      0,
      1,
      -1,
      2 ** 31,
      -(2 ** 31) - 1,
      2 ** 32,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
      null,
    ]
    for (const [type, values] of [
      ['text', texts],
      ['bigint', numbers],
      ['text', []],
    ] as const) {
      const parameter = new ArrayParameter(type, values)
      const wanted = values.map((value) => (value === null ? null : String(value)))
      for (const sent of [parameter.toBinary(), parameter.toText()]) {
        const { rows } = await scratch.admin.query(`SELECT unnest($1::${type}[])::text AS v`, [sent])
        expect(rows.map(({ v }) => v)).toEqual(wanted)
      }
    }
  })
})
