import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fromPool } from '../src/backend/postgres/driver.ts'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { type Backend, collection, openStore, type Target, verifyDomain } from '../src/index.ts'
import { Ledger, nothingWrong } from './fault/ledger.ts'
import { append } from './proof.ts'
import { type PostgresServer, startPostgres } from './server/postgres.ts'

let server: PostgresServer | string
let url = ''
let number = 0
const rejections: unknown[] = []
const onRejection = (reason: unknown) => rejections.push(reason)

beforeAll(async () => {
  server = await startPostgres(['max_connections=100', 'fsync=off'])
  process.on('unhandledRejection', onRejection)
}, 60_000)
afterAll(async () => {
  process.off('unhandledRejection', onRejection)
  if (typeof server !== 'string') await server.stop()
}, 60_000)
beforeEach(({ skip }) => {
  skip(typeof server === 'string', typeof server === 'string' ? server : '')
  if (typeof server !== 'string') url = `${server.url}?schema=trouble_${number++}`
})
afterEach(() => expect(rejections.splice(0)).toEqual([]))

const collections = {
  things: {},
  people: collection<{ mail: string }>({
    fields: { mail: 'string' },
    indexes: { mail: { fields: ['mail'], unique: true } },
  }),
}

const open = (target: Target, deadlineMs = 10_000) =>
  openStore(target, { domains: { app: { collections } }, deadlineMs })

/** The marks that are there, and whether seqs and sums are what they must be. */
async function truth() {
  await using store = await open(url)
  const marks: string[] = []
  const app = store.domain('app')
  const seqs: number[] = []
  for await (const { data, seq } of app.log.events('s')) {
    marks.push(data as string)
    seqs.push(seq)
  }
  for await (const { id } of app.documents('people').all()) marks.push(id)
  const { isSound } = await verifyDomain([...store.backends.values()][0] as Backend, 'app')
  return { marks, isSound, isGapless: seqs.every((seq, i) => seq === i + 1) }
}

async function expectTruth(what: string, ledger: Ledger, since: number): Promise<void> {
  const { marks, isSound, isGapless } = await truth()
  const verdict = ledger.judge(marks)
  const wrong = Object.values(verdict).flat().length
  const seconds = Math.round((performance.now() - since) / 100) / 10
  console.log(
    `${what}: ${ledger.told.size} calls`,
    ledger.counts,
    `${marks.length} there, ${wrong} wrong, the longest took ${Math.round(ledger.longestMs)} ms (${seconds} s)`,
  )
  const unknown = ledger.counts.unknown ?? 0
  append({
    promise: what,
    backend: 'postgres',
    tried: ledger.told.size,
    failed: wrong,
    unknown,
    seed: 0,
    seconds,
  })
  expect({ ...verdict, isSound, isGapless }).toEqual({ ...nothingWrong, isSound: true, isGapless: true })
}

describe('a PostgreSQL server that stops at once and starts again, five times under 32 callers,', () => {
  it('loses nothing acknowledged, doubles nothing, and every call ends within its deadline', async () => {
    if (typeof server === 'string' || server.restart === undefined) return
    const { restart } = server
    const since = performance.now()
    const deadlineMs = 5_000
    const store = await open(url, deadlineMs)
    const app = store.domain('app')
    const ledger = new Ledger()
    let isOver = false
    let calls = 0
    const callers = Array.from({ length: 32 }, async (_, caller) => {
      while (!isOver) {
        const mark = `m-${calls++}`
        await ledger.note(mark, () =>
          caller % 4 === 0
            ? app.documents('people').put(mark, { mail: mark })
            : app.log.append('s', { type: 't', data: mark }),
        )
      }
    })
    for (let round = 0; round < 5; round++) {
      await untilDone(ledger, 100)
      await restart()
    }
    await untilDone(ledger, 100)
    isOver = true
    await Promise.all(callers)
    await store.close()
    await expectTruth('a server restarted under load', ledger, since)
    expect(ledger.longestMs).toBeLessThan(deadlineMs * 1.25)
    expect(Object.keys(ledger.counts).filter((told) => !knownCodes.includes(told))).toEqual([])
  }, 90_000)
})

/** Resolves when so many calls more have succeeded. */
async function untilDone(ledger: Ledger, more: number): Promise<void> {
  const wanted = (ledger.counts.done ?? 0) + more
  while ((ledger.counts.done ?? 0) < wanted) await new Promise((resolve) => setImmediate(resolve))
}

const knownCodes = ['done', 'unknown', 'unavailable', 'timeout', 'aborted', 'closed']

describe('a pool of two sessions', () => {
  it('serves fifty callers that read, commit, put unique keys and run transactions', async () => {
    const since = performance.now()
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    const schema = new URL(url).searchParams.get('schema') ?? ''
    const store = await open(postgres(pool, { schema }))
    const app = store.domain('app')
    const ledger = new Ledger()
    const work = [
      (mark: string) => app.log.append('s', { type: 't', data: mark }),
      (mark: string) => app.documents('people').put(mark, { mail: mark }),
      (mark: string) =>
        app.transaction(async (tx) => {
          await tx.get('things', mark)
          tx.append('s', { type: 't', data: mark })
        }),
      async (mark: string) => {
        await app.log.read('s', { limit: 5 })
        await app.documents('things').list({ limit: 5 })
        await app.log.append('s', { type: 't', data: mark }, { id: mark })
      },
    ]
    const callers = Array.from({ length: 50 }, async (_, caller) => {
      for (let i = 0; i < 8; i++) {
        const mark = `c-${caller}-${i}`
        await ledger.note(mark, () => (work[(caller + i) % work.length] as (typeof work)[0])(mark))
      }
    })
    await Promise.all(callers)
    await store.close()
    await pool.end()
    await expectTruth('fifty callers on two sessions', ledger, since)
    expect(ledger.counts).toEqual({ done: 400 })
  }, 60_000)
})

describe('a call that is aborted at a random moment', () => {
  it('ends promptly, and what its caller was told is true', async () => {
    const since = performance.now()
    const store = await open(url)
    const app = store.domain('app')
    const ledger = new Ledger()
    const reads = new Ledger()
    let slowest = 0
    const attempt = async (i: number) => {
      const mark = `a-${i}`
      const controller = new AbortController()
      const { signal } = controller
      const ledgerOf = i % 4 === 3 ? reads : ledger
      let abortedAt = Number.POSITIVE_INFINITY
      const call = ledgerOf.note(mark, () => {
        if (i % 4 === 0) return app.documents('people').put(mark, { mail: mark }, { signal })
        if (i % 4 === 3) return app.log.read('s', { limit: 20, signal })
        return app.log.append('s', { type: 't', data: mark }, { signal })
      })
      const aborting = sleep(Math.random() * 12).then(() => {
        abortedAt = performance.now()
        controller.abort()
      })
      await call
      slowest = Math.max(slowest, performance.now() - abortedAt)
      await aborting
    }
    for (let round = 0; round < 25; round++)
      await Promise.all(Array.from({ length: 24 }, (_, i) => attempt(round * 24 + i)))
    await store.close()
    await expectTruth('calls aborted at random moments', ledger, since)
    console.log('aborted reads', reads.counts, `the slowest ended ${Math.round(slowest)} ms after its abort`)
    const codes = [...Object.keys(ledger.counts), ...Object.keys(reads.counts)]
    expect(codes.filter((told) => !['done', 'aborted', 'unknown'].includes(told))).toEqual([])
    expect(reads.counts.unknown).toBeUndefined()
    expect(slowest).toBeLessThan(250)
  }, 60_000)
})

describe('a store that is closed with callers under way', () => {
  it('has settled every call when close() is done, and told each the truth', async () => {
    const since = performance.now()
    const ledger = new Ledger()
    for (let round = 0; round < 10; round++) {
      const store = await open(url)
      const app = store.domain('app')
      const calls = Array.from({ length: 40 }, (_, i) => {
        const mark = `r-${round}-${i}`
        return ledger.note(mark, () =>
          i % 4 === 0
            ? app.documents('people').put(mark, { mail: mark })
            : app.log.append('s', { type: 't', data: mark }),
        )
      })
      const reads = new Ledger()
      const reading = Array.from({ length: 10 }, (_, i) => reads.note(`${i}`, () => app.log.read('s')))
      await sleep(round)
      await store.close()
      const late = app.log.append('s', { type: 't', data: 'late' })
      await expect(late).rejects.toMatchObject({ code: 'closed' })
      await Promise.all([...calls, ...reading])
    }
    await expectTruth('a store closed under its callers', ledger, since)
    expect(Object.keys(ledger.counts).filter((told) => !knownCodes.includes(told))).toEqual([])
  }, 60_000)
})

describe('a server that greets and goes in one packet', () => {
  it('fails the transaction that opened the session, and not the process', async () => {
    const message = (type: string, body: Buffer) => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(body.length + 4)
      return Buffer.concat([Buffer.from(type), length, body])
    }
    const packet = Buffer.concat([
      message('R', Buffer.alloc(4)),
      message('Z', Buffer.from('I')),
      message('E', Buffer.from('SFATAL\0C57P01\0Mgoing down\0\0')),
    ])
    const rude = createServer((socket) => socket.once('data', () => socket.end(packet)).on('error', () => {}))
    rude.listen(0, '127.0.0.1')
    await once(rude, 'listening')
    const pool = new pg.Pool({ host: '127.0.0.1', port: (rude.address() as AddressInfo).port })
    pool.on('error', () => {})
    const uncaught: unknown[] = []
    const onUncaught = (error: unknown) => uncaught.push(error)
    process.on('uncaughtException', onUncaught)
    const database = fromPool(pool, { isPrepared: true })
    await expect(database.transaction((query) => query('SELECT 1'))).rejects.toThrow()
    process.off('uncaughtException', onUncaught)
    await pool.end()
    rude.close()
    expect(uncaught).toEqual([])
  })
})

describe('the ledger', () => {
  it('names what is lost, doubled, there although its call failed, and nobody’s', async () => {
    const ledger = new Ledger()
    for (const mark of ['kept', 'lost', 'twice']) await ledger.note(mark, async () => {})
    for (const mark of ['failed', 'failed and there'])
      await ledger.note(mark, () => Promise.reject(new Error('no')))
    const there = ['kept', 'twice', 'twice', 'failed and there', 'stranger']
    expect(ledger.judge(there)).toEqual({
      lost: ['lost'],
      doubled: ['twice'],
      untrue: ['failed and there'],
      foreign: ['stranger'],
    })
  })
})
