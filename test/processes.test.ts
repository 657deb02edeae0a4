import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { openStore, verifyDomain } from '../src/index.ts'
import { Process } from './process/pool.ts'
import type { Seen } from './process/tasks.ts'

/** The whole feed as one reader finds it when all is quiet. */
async function truth(path: string) {
  const store = await openStore(path.includes('://') ? path : `sqlite:${path}`, { domains: { app: {} } })
  const app = store.domain('app')
  const events: number[] = []
  const documents: Record<string, number> = {}
  for (let after = 0, head = 1; after < head; ) {
    const page = await app.changes({ after })
    for (const item of page.items) {
      if (item.kind === 'event') events.push(item.position)
      else documents[`${item.collection}/${item.id}`] = item.position
    }
    ;[after, head] = [page.next, page.head]
  }
  const seqs = async (stream: string) => {
    const found: number[] = []
    for await (const { seq } of app.log.events(stream)) found.push(seq)
    return found
  }
  const found = {
    events,
    documents,
    shared: await seqs('shared'),
    contended: await seqs('contended'),
    head: await app.head(),
  }
  const verified = await verifyDomain([...store.backends.values()][0] as never, 'app')
  await store.close()
  return { ...found, verified }
}

/** What a reader was given, held against what there is behind the position at which it began. */
function judge(
  { events, documents, outOfOrder }: Seen,
  after: number,
  all: Awaited<ReturnType<typeof truth>>,
) {
  const wanted = all.events.filter((position) => position > after)
  const given = new Set(events)
  const stale = Object.entries(all.documents).filter(
    ([id, position]) => position > after && documents[id] !== position,
  )
  return {
    delivered: events.length,
    missing: wanted.filter((position) => !given.has(position)).length + stale.length,
    doubled: events.length - given.size,
    outOfOrder,
    foreign: [...given].filter((position) => !wanted.includes(position)).length,
  }
}

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
    expect(all.shared).toEqual(Array.from({ length: all.shared.length }, (_, i) => i + 1))
    expect(all.shared.length).toBe(early + times)
    expect(all.contended).toEqual(Array.from({ length: early + times }, (_, i) => i + 1))
    expect(all.verified.damaged).toEqual([])

    const totals = { delivered: 0, missing: 0, doubled: 0, outOfOrder: 0, foreign: 0 }
    for (const { after, seen: reader } of seen) {
      const result = judge(reader, after, all)
      for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += result[key]
    }
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
