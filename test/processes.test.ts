import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { openStore } from '../src/index.ts'
import { judge, sumOf, truth } from './process/judge.ts'
import { Process } from './process/pool.ts'

/** Commits of each process before the readers come, and while they read. */
const early = 40
const times = 200
const begun = 1

const server = inject('postgres')
const folder = mkdtempSync(join(tmpdir(), 'underpin-processes-'))
afterAll(() => rmSync(folder, { recursive: true }))

const places = [
  ['one SQLite file', join(folder, 'app.db')],
  ['one PostgreSQL schema', 'url' in server ? `${server.url}?schema=processes` : undefined],
] as const

describe.each(places)('four processes on %s', (_name, place) => {
  const path = place ?? ''
  let processes: Process[] = []
  beforeAll(async () => {
    if (place === undefined) return
    processes = await Process.start(4)
    await Promise.all(processes.map((process) => process.call('begin', { path })))
  }, 60_000)
  beforeEach(({ skip }) => skip(place === undefined, 'reason' in server ? server.reason : ''))
  afterAll(() => Promise.all(processes.map((process) => process.end())))

  it('deliver every change to every reader once and in order, while all of them commit', async () => {
    const middle = begun + 2 * early
    await Promise.all(
      processes.map((process, i) => process.call('write', { path, times: early, name: `e${i}` })),
    )
    const end = begun + (early + times) * processes.length
    const reading = processes.flatMap((process, i) => [
      ['from 0, page by page', 0, process.call('poll', { path, after: 0, end, limit: 1 + 30 * i })] as const,
      ['from the middle', middle, process.call('poll', { path, after: middle, end, limit: 50 })] as const,
      ['live from 0', 0, process.call('follow', { path, after: 0, end })] as const,
      ['live from the middle', middle, process.call('follow', { path, after: middle, end })] as const,
    ])
    const watching = processes.map((process) => process.call('watch', { path, end }))
    const since = performance.now()
    const conflicts = await Promise.all(
      processes.map((process, i) => process.call('write', { path, times, name: `p${i}` })),
    )
    const seconds = (performance.now() - since) / 1_000
    const seen = await Promise.all(
      reading.map(async ([how, after, result]) => ({ how, after, seen: await result })),
    )
    const watched = await Promise.all(watching)
    const all = await truth(path)

    expect(all.head).toBe(end)
    const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
    expect(all.streams.get('shared')).toEqual(upTo(early + times))
    expect(all.streams.get('contended')).toEqual(upTo(early + times))
    expect(all.verified.damaged).toEqual([])

    const totals = sumOf(seen.map(({ after, seen: reader }) => judge(reader, after, all)))
    const back = watched.reduce((sum, { back }) => sum + back, 0)
    console.log(
      `${processes.length} processes, ${times * processes.length} commits in ${seconds.toFixed(1)} s, ${conflicts.reduce((a, b) => a + b)} conflicts retried;`,
      `${seen.length} readers:`,
      totals,
      `; ${watched.length} watchers: ${watched.map(({ hints }) => hints)} hints, ${back} went back`,
    )
    expect(totals).toMatchObject({ missing: 0, doubled: 0, outOfOrder: 0, foreign: 0 })
    expect(totals.delivered).toBeGreaterThan(8 * all.events.length)
    expect(back).toBe(0)
  }, 60_000)

  it('let exactly one append win for each expected seq', async () => {
    const races = 300
    const each = 2
    const wins = processes.map(() => 0)
    const winners: number[] = []
    for (let seq = 0; seq < races; seq++) {
      const won = await Promise.all(
        processes.map((process) => process.call('race', { path, expect: seq, times: each })),
      )
      winners.push(won.reduce((a, b) => a + b))
      for (const [i, count] of won.entries()) wins[i] = (wins[i] ?? 0) + count
    }
    console.log(`${races} races of ${processes.length * each} appends: won by each process ${wins}`)
    expect(winners).toEqual(winners.map(() => 1))
    const store = await openStore(path.includes('://') ? path : `sqlite:${path}`, { domains: { app: {} } })
    expect(await store.domain('app').log.seq('race')).toBe(races)
    await store.close()
    expect(wins.filter((count) => count > 0).length).toBeGreaterThan(1)
  }, 60_000)
})
