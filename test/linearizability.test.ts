/**
 * Histories of concurrent callers of several stores on one place, each checked for linearizability key by key.
 * UNDERPIN_HISTORIES sets how many on PostgreSQL, UNDERPIN_SEED what they do.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import type { Target } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { check, type Operation, type Verdict } from './linearizability/checker.ts'
import {
  type History,
  type Key,
  openRegisters,
  type RegisterStore,
  recordHistory,
} from './linearizability/record.ts'
import { append } from './proof.ts'

const count = Number(process.env.UNDERPIN_HISTORIES ?? 500)
const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
/** Histories with something going on beside them. */
const few = Math.min(count, 20)
const operations = 1_000
const storeCount = 4
const callers = 8
/** Histories under way at once, on keys of their own: fewer, larger syncs. */
const lanes = 4
const timeout = 60_000 + count * 1_500

const folder = mkdtempSync(join(tmpdir(), 'underpin-histories-'))
afterAll(() => rmSync(folder, { recursive: true }))

const server = inject('postgres')
const url = 'url' in server ? server.url : undefined
const whyNot = 'reason' in server ? server.reason : ''
const place = (schema: string) => `${url}?schema=${schema}&poolSize=8&application_name=${schema}`

/** Few keys, so that callers meet. */
function keysOf(history: number): Key[] {
  const kinds = ['document', 'document', 'document', 'stream', 'stream'] as const
  return kinds.map((kind, i) => ({ kind, name: `h${history}-${i}` }))
}

interface Total {
  readonly wrong: readonly string[]
  readonly histories: number
  readonly operations: number
  readonly conflicts: number
  readonly failed: number
  readonly unknown: number
}

/** Records and checks histories, several at once. */
async function examine(stores: readonly RegisterStore[], histories: number): Promise<Total> {
  const total = { wrong: [] as string[], histories: 0, operations: 0, conflicts: 0, failed: 0, unknown: 0 }
  let next = 0
  const lane = async () => {
    for (let number = next++; number < histories; number = next++) {
      const script = { keys: keysOf(number), operations, callers, random: randomOf(seed + number) }
      const history = await recordHistory(stores, script)
      total.wrong.push(...faultsOf(history))
      total.histories++
      total.failed += history.failed
      total.unknown += history.unknown
      for (const done of history.keys.values()) {
        total.operations += done.length
        total.conflicts += done.filter(({ answer }) => answer.kind === 'conflict').length
      }
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return total
}

/** The keys whose operations cannot be explained. */
function faultsOf({ keys }: History): string[] {
  return [...keys].flatMap(([key, done]) => {
    const verdict = check({ isGapless: key.kind === 'stream' }, done)
    return verdict.kind === 'linearizable'
      ? []
      : [`${verdict.kind} at ${key.kind} ${key.name}: ${explain(verdict)}`]
  })
}

function explain({ explained, stuck }: Verdict): string {
  const show = (operation: Operation) => JSON.stringify(operation)
  return `behind ${explained.slice(-5).map(show).join('\n  ')}\ncannot come\n  ${stuck.slice(0, 10).map(show).join('\n  ')}`
}

/** Prints and records what came of it, and expects that nothing is wrong. */
function conclude(backend: string, promise: string, total: Total, since: number): void {
  const seconds = Math.round((performance.now() - since) / 100) / 10
  const { wrong, histories, operations, conflicts, failed, unknown } = total
  console.log(
    `${promise} on ${backend}: ${histories} histories with ${operations} operations by ${storeCount} stores × ${callers} callers, ` +
      `${conflicts} conflicts, ${failed} failed, ${unknown} unknown; not linearizable: ${wrong.length} (seed ${seed}, ${seconds} s)`,
  )
  append({ promise, backend, tried: histories, failed: wrong.length, unknown: 0, seed, seconds })
  expect(wrong).toEqual([])
}

const openStores = (target: () => Target) =>
  Promise.all(Array.from({ length: storeCount }, () => openRegisters(target())))

describe('concurrent callers of several stores are told what some order of their calls explains', () => {
  const shared = memory()
  const backends: [string, number, () => Target][] = [
    ['memory', 20, () => shared],
    ['sqlite', 20, () => `sqlite:${join(folder, 'app.db')}`],
    ['postgres', count, () => place('histories')],
  ]
  it.for(backends)('on %s', { timeout }, async ([backend, histories, target], { skip }) => {
    if (backend === 'postgres') skip(url === undefined, whyNot)
    const since = performance.now()
    const stores = await openStores(target)
    const total = await examine(stores, histories)
    await Promise.all(stores.map((store) => store.close()))
    expect(total.operations).toBe(histories * operations)
    expect(total.conflicts).toBeGreaterThan(histories * 10)
    conclude(backend, 'linearizable', total, since)
  })
})

describe('on postgres, they are told so too', () => {
  beforeEach(({ skip }) => skip(url === undefined, whyNot))

  it(
    'while every store follows the feed',
    async () => {
      const since = performance.now()
      const stores = await openStores(() => place('followed'))
      const ending = new AbortController()
      const following = stores.map(async (store) => {
        let delivered = 0
        for await (const _item of store.domain('app').follow({ signal: ending.signal })) delivered++
        return delivered
      })
      const total = await examine(stores, few)
      ending.abort()
      const delivered = await Promise.all(following)
      await Promise.all(stores.map((store) => store.close()))
      expect(Math.min(...delivered)).toBeGreaterThan(few * 10)
      conclude('postgres', 'linearizable beside followers', total, since)
    },
    timeout,
  )

  it(
    'while sessions end under their calls',
    async () => {
      const since = performance.now()
      const stores = await openStores(() => place('ended'))
      const admin = new pg.Client(url)
      await admin.connect()
      const ending = new AbortController()
      const killing = killSessions(admin, 'ended', ending.signal)
      const total = await examine(stores, few)
      ending.abort()
      const killed = await killing
      await admin.end()
      await Promise.all(stores.map((store) => store.close()))
      console.log(`${killed} sessions ended under ${total.operations} operations`)
      expect(killed).toBeGreaterThan(few)
      conclude('postgres', 'linearizable while sessions end', total, since)
    },
    timeout,
  )
})

/** Ends all sessions of an application again and again; how many it was. */
async function killSessions(admin: pg.Client, application: string, signal: AbortSignal): Promise<number> {
  let killed = 0
  while (!signal.aborted) {
    const { rows } = await admin.query(
      'SELECT pg_terminate_backend(pid), pg_sleep(0.1) FROM pg_stat_activity WHERE application_name = $1',
      [application],
    )
    killed += rows.length
  }
  return killed
}
