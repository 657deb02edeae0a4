/**
 * Eight processes on one PostgreSQL schema: commits of every kind, while statements are held up and rolled back by the
 * server; readers from 0, from the middle and live. UNDERPIN_SEED repeats what the processes do.
 */
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { neverType } from './process/commits.ts'
import { judge, sumOf, truth } from './process/judge.ts'
import { Process } from './process/pool.ts'
import { endMark } from './process/tasks.ts'
import { append } from './proof.ts'
import { injected, plantTriggers } from './server/trigger.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
const server = inject('postgres')
const url = 'url' in server ? server.url : ''
const schema = 'concurrency'
const path = `${url}?schema=${schema}`
const processCount = 8
/** Commits of each process before the readers come, and while they read. */
const early = 50
const times = 150
/** Readers know the end when they see it. */
const end = Number.MAX_SAFE_INTEGER

let admin: pg.Client
let processes: Process[] = []

beforeAll(async () => {
  if ('reason' in server) return
  admin = new pg.Client(url)
  await admin.connect()
  await admin.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  processes = await Process.start(processCount)
  await Promise.all(processes.map((process) => process.call('begin', { path })))
}, 60_000)
beforeEach(({ skip }) => skip('reason' in server, 'reason' in server ? server.reason : ''))
afterAll(async () => {
  await Promise.all(processes.map((process) => process.end()))
  await admin?.end()
})

const secondsSince = (since: number) => Math.round((performance.now() - since) / 100) / 10

/** The commits of all processes at once. */
const commitAll = (phase: string, times: number, seed: number) =>
  Promise.all(
    processes.map((process, i) =>
      process.call('commit', { path, name: `${phase}-${i}`, times, seed: seed + i }),
    ),
  )

/** A reader in every process: page by page or live, from 0 or from the middle. */
function startReaders(middle: number) {
  return processes.map((process, i) => {
    const after = i % 4 < 2 ? 0 : middle
    const isLive = i % 2 === 1
    const seen = isLive
      ? process.call('follow', { path, after, end })
      : process.call('poll', { path, after, end, limit: 5 + 20 * i })
    return { after, seen }
  })
}

describe('eight processes on one PostgreSQL schema, with statements held up and rolled back', () => {
  it('deliver every acknowledged change to every reader once and in order, and nothing else', async () => {
    const since = performance.now()
    await plantTriggers(admin, schema, 'app', ['things'])
    const before = await commitAll('early', early, seed)
    const middle = Math.max(...before.flatMap(({ positions }) => positions))
    const readers = startReaders(middle)
    const during = await commitAll('late', times, seed + processCount)
    const { positions: last } = await endReading()
    const seen = await Promise.all(readers.map(async ({ after, seen }) => ({ after, seen: await seen })))
    const all = await truth(path)
    const troubles = await injected(admin, schema)

    const told = [...before, ...during]
    const sum = (of: (told: (typeof before)[number]) => number) => told.reduce((n, each) => n + of(each), 0)
    const totals = sumOf(seen.map(({ after, seen: reader }) => judge(reader, after, all)))
    const seconds = secondsSince(since)
    console.log(
      `${processCount} processes, ${processCount * (early + times)} commits: ${sum((t) => t.conflicts)} refused by a check, ` +
        `${sum((t) => t.thrown)} thrown by the caller, ${sum((t) => t.failures.length)} failed; the server held up ${troubles.slept} ` +
        `statements and rolled back ${troubles.serialization} (40001) and ${troubles.deadlock} (40P01), ${troubles.late} of them at the commit; ${seen.length} readers:`,
      totals,
      `(seed ${seed}, ${seconds} s)`,
    )
    const failed = totals.missing + totals.doubled + totals.outOfOrder + totals.foreign
    append({
      promise: 'delivered once, in order',
      backend: 'postgres',
      tried: totals.delivered,
      failed,
      unknown: 0,
      seed,
      seconds,
    })

    expect(told.flatMap(({ failures }) => failures)).toEqual([])
    // Every position was acknowledged to one caller: none was lost, none given twice, none taken by what was rolled back.
    const acknowledged = told.flatMap(({ positions }) => positions).sort((a, b) => a - b)
    expect([1, ...acknowledged, ...last]).toEqual(Array.from({ length: all.head }, (_, i) => i + 1))
    expect(all.types.has(neverType)).toBe(false)
    for (const seqs of all.streams.values()) expect(seqs).toEqual(seqs.map((_, i) => i + 1))
    expect(all.verified.isSound).toBe(true)
    expect(totals).toMatchObject({ missing: 0, doubled: 0, outOfOrder: 0, foreign: 0 })
    expect(totals.delivered).toBeGreaterThan(processCount * times)
    expect(
      Math.min(troubles.slept, troubles.serialization, troubles.deadlock, troubles.late),
    ).toBeGreaterThan(0)
  }, 120_000)
})

/** The event that ends reading. */
async function endReading(): Promise<{ positions: number[] }> {
  const [first] = processes
  if (first === undefined) throw new TypeError('there is no process')
  return { positions: await first.call('mark', { path, type: endMark }) }
}

describe('10,000 races of eight processes', () => {
  it('have one winner for each expected revision and each expected seq', async () => {
    const [rounds, width, callers] = [20, 500, 1]
    const since = performance.now()
    await admin.query(`DROP FUNCTION IF EXISTS ${schema}.trouble CASCADE`)
    let expected = Array.from({ length: width }, () => 0)
    const winners: number[] = []
    const winsOf = processes.map(() => 0)
    for (let round = 0; round < rounds; round++) {
      const won = await Promise.all(
        processes.map((process, i) =>
          process.call('raceMany', {
            path,
            expected,
            callers,
            first: Math.floor((i * width) / processCount),
          }),
        ),
      )
      winners.push(...expected.map((_, race) => won.reduce((n, each) => n + (each.winners[race] ?? 0), 0)))
      for (const [i, each] of won.entries()) winsOf[i] = each.winners.reduce((a, b) => a + b, winsOf[i] ?? 0)
      for (const { now } of won) expect(now).toEqual(won[0]?.now)
      expected = won[0]?.now ?? []
    }
    const seconds = secondsSince(since)
    const failed = winners.filter((count) => count !== 1).length
    console.log(
      `${winners.length} races of ${processCount * callers} callers: ${failed} without exactly one winner; won by each process ${winsOf} (${seconds} s)`,
    )
    append({
      promise: 'one winner',
      backend: 'postgres',
      tried: winners.length,
      failed,
      unknown: 0,
      seed,
      seconds,
    })
    expect(winners).toHaveLength(10_000)
    expect(failed).toBe(0)
    expect(winsOf.filter((count) => count > 0).length).toBeGreaterThan(1)
  }, 120_000)
})
