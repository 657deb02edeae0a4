/**
 * What moves cost those who write: the pause of a cutover as callers see it, the fence while there is no move, and
 * acknowledgements that wait for the copy. Measured in this process: what is compared takes turns, some dozens of times.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Domain, type Move, openStore } from 'underpin'
import { drive } from '../drive.ts'
import { Latencies } from '../latency.ts'
import { describeMachine, type Figure, type Peers } from '../report.ts'
import type { On, Places } from '../suite.ts'
import { event } from '../work.ts'

const bench = { bench: {} } as const
const on: On = 'postgres'

/** An empty SQLite file and an empty database, removed at the end. */
async function withPlaces<R>(
  places: Places,
  run: (sqlite: string, postgres: string) => Promise<R>,
): Promise<R> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  const database = await places.make()
  try {
    return await run(`sqlite:${join(folder, 'bench.db')}`, database)
  } finally {
    await places.remove(database)
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Call {
  readonly begin: number
  readonly end: number
}

/** Callers that append without a rest; `calls` are those that ended since it was asked last. */
function callersOf(domain: Domain, count: number) {
  let calls: Call[] = []
  const stop = new AbortController()
  let failed = 0
  const caller = async (n: number) => {
    for (let i = 0; !stop.signal.aborted; i++) {
      const begin = performance.now()
      try {
        await domain.log.append(`stream-${(n * 31 + i) % 1_000}`, event(i))
      } catch {
        failed++
      }
      calls.push({ begin, end: performance.now() })
    }
  }
  const all = Array.from({ length: count }, (_, n) => caller(n))
  return {
    take() {
      const taken = calls
      calls = []
      return taken
    },
    async stop() {
      stop.abort()
      await Promise.all(all)
    },
    get failed() {
      return failed
    },
  }
}

/** What cutovers in one direction came to. */
class Pauses {
  readonly waits = new Latencies()
  readonly engine: number[] = []
  readonly givenUp: string[] = []
  longest = 0

  add(waits: readonly number[], engineMs: number | null): void {
    for (const wait of waits) this.waits.add(wait)
    this.longest = Math.max(this.longest, ...waits)
    this.engine.push(engineMs ?? Number.NaN)
  }
}

/**
 * The write pause of cutovers from SQLite to PostgreSQL and back, as each of 64 callers sees it: its longest call of each.
 * Ends after so many seconds with what it has found by then.
 */
export function measurePause(places: Places, cutovers: number, seconds: number): Promise<readonly Figure[]> {
  const callers = 64
  return withPlaces(places, async (sqlite, postgres) => {
    const store = await openStore({ old: sqlite, new: postgres }, { domains: bench })
    const move = await store.move('bench', { to: 'new' })
    await move.start()
    const over = new AbortController()
    const mirroring = move.run({ signal: over.signal })
    const load = callersOf(store.domain('bench'), callers)
    const normal = new Latencies()
    const found = { there: new Pauses(), back: new Pauses() }
    const end = performance.now() + seconds * 1_000
    try {
      await sleep(2_000)
      for (const { begin, end } of load.take()) normal.add(end - begin)
      for (let i = 0; i < cutovers && performance.now() < end; i++)
        await cutOnce(move, i % 2 === 0 ? 'there' : 'back', found, () => load.take(), callers)
    } finally {
      await load.stop()
      over.abort()
      await mirroring
      await store.close()
    }
    return (['there', 'back'] as const).map((way) =>
      pauseFigure(way, found[way], { normal, failed: load.failed, callers }),
    )
  })
}

type Way = 'there' | 'back'
const titles = { there: 'SQLite to PostgreSQL', back: 'PostgreSQL to SQLite' } as const

async function cutOnce(
  move: Move,
  way: Way,
  found: Readonly<Record<Way, Pauses>>,
  take: () => Call[],
  callers: number,
): Promise<void> {
  await sleep(150)
  take()
  const since = performance.now()
  try {
    const cut = await (way === 'there' ? move.cutover({ force: true }) : move.rollback({ force: true }))
    const until = performance.now()
    // The calls that were under way meanwhile end a little later.
    await sleep(20)
    const waits = longestCalls(take(), since, until, callers)
    found[way].add(waits, cut.pauseMs)
    console.error(
      `${titles[way]}: asked for ${(until - since).toFixed(0)} ms ago, pause ${cut.pauseMs?.toFixed(0)} ms, longest call ${Math.max(...waits).toFixed(0)} ms, ${cut.drained} records behind the seal`,
    )
  } catch (error) {
    found[way].givenUp.push(error instanceof Error ? error.message : String(error))
    console.error(`${titles[way]}: given up: ${found[way].givenUp.at(-1)}`)
  }
}

/** The longest call of each caller among those that overlap a time: one for each, so the longest of all. */
function longestCalls(calls: readonly Call[], since: number, until: number, callers: number): number[] {
  return calls
    .filter(({ begin, end }) => begin < until && end > since)
    .map(({ begin, end }) => end - begin)
    .sort((a, b) => b - a)
    .slice(0, callers)
}

interface Beside {
  readonly normal: Latencies
  readonly failed: number
  readonly callers: number
}

function pauseFigure(way: Way, found: Pauses, { normal, failed, callers }: Beside): Figure {
  const { waits, engine, givenUp, longest } = found
  const { p50 = Number.NaN, p99 = Number.NaN } = waits.latency ?? {}
  const sorted = [...engine].sort((a, b) => a - b)
  const middle = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  return {
    on,
    id: `move-pause-${way}`,
    title: `write pause of a cutover, ${callers} callers, ${titles[way]}`,
    value: p50,
    unit: 'ms (p50)',
    latency: waits.latency,
    peers: {
      'the same calls on SQLite, without a cutover': {
        value: normal.latency?.p50 ?? Number.NaN,
        ratio: Number.NaN,
        latency: normal.latency,
      },
    },
    goal: `p50 at most 50 ms, p99 at most 250 ms (${p99.toFixed(0)} ms), no error`,
    met: p50 <= 50 && p99 <= 250 && failed + givenUp.length === 0,
    spread: [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN],
    note: `the spread is that of the engine’s own pause, ${middle.toFixed(1)} ms in the middle; ${engine.length} cutovers, ${givenUp.length} given up, the longest call ${longest.toFixed(0)} ms, ${failed} errors`,
    machine: describeMachine(),
  }
}

/** Runs each of them for a slice at a time, in turns; the median of each one's slices. */
async function inTurns<K extends string>(
  runs: Readonly<Record<K, () => Promise<number>>>,
  slices: number,
): Promise<Record<K, { readonly middle: number; readonly spread: readonly [number, number] }>> {
  const names = Object.keys(runs) as K[]
  const found = new Map<K, number[]>(names.map((name) => [name, []]))
  for (let slice = 0; slice < slices; slice++) {
    // In the other order every second time, so that nobody always runs behind the same neighbour.
    for (const name of slice % 2 === 0 ? names : [...names].reverse())
      found.get(name)?.push(await runs[name]())
  }
  const entries = names.map((name) => {
    const sorted = (found.get(name) ?? []).sort((a, b) => a - b)
    const at = (part: number) => sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN
    return [name, { middle: at(0.5), spread: [at(0.25), at(0.75)] as const }]
  })
  return Object.fromEntries(entries)
}

/**
 * What it costs that a domain could be moved, with no move: the same appends through a store with one backend and through
 * one with two. There is no commit without the epoch to compare with: the fence's row is the one that gives positions and
 * keeps the digest, so it is read and written in any case, and the epoch is one column more of its condition.
 */
export async function measureFenceCost(slices: number): Promise<readonly Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  const open = async (name: string, isMovable: boolean) => {
    const url = `sqlite:${join(folder, `${name}.db`)}`
    const store = await openStore(
      isMovable ? { main: url, other: `sqlite:${join(folder, 'other.db')}` } : url,
      { domains: bench },
    )
    const { log } = store.domain('bench')
    let n = 0
    const run = async () => {
      const load = { count: Number.POSITIVE_INFINITY, callers: 64, seconds: 0.2 }
      return (await drive(load, () => log.append(`stream-${n % 1_000}`, event(n++)))).rate
    }
    return { store, run }
  }
  try {
    const [one, two, again] = [await open('one', false), await open('two', true), await open('again', false)]
    // Whoever runs first is measured while it is compiled.
    await inTurns({ one: one.run, two: two.run, again: again.run }, 10)
    const found = await inTurns({ one: one.run, two: two.run, again: again.run }, slices)
    for (const { store } of [one, two, again]) await store.close()
    const ratio = found.two.middle / ((found.one.middle + found.again.middle) / 2)
    const peers: Peers = {
      'one backend': { value: found.one.middle, ratio: found.two.middle / found.one.middle },
      'one backend, a second time': {
        value: found.again.middle,
        ratio: found.two.middle / found.again.middle,
        note: 'what the two differ by is noise',
      },
    }
    return [
      {
        on,
        id: 'move-fence-cost',
        title: 'append with two backends and no move, 64 callers, SQLite',
        value: found.two.middle,
        unit: 'events/s',
        peers,
        goal: `at least 0.98 × one backend (${ratio.toFixed(3)} ×)`,
        met: ratio >= 0.98,
        spread: found.two.spread,
        note: `${slices} slices each, in turns; the spread is that of the middle half`,
        machine: describeMachine(),
      },
    ]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * How long one caller’s append takes with `mirror: "await"`, against an append to the one store and then to the other:
 * the sum of the two latencies as one caller meets it, because medians do not add up, and neither store is warm behind
 * the other.
 */
export async function measureAwait(places: Places, slices: number): Promise<readonly Figure[]> {
  const figures: Figure[] = []
  for (const isTurned of [false, true])
    figures.push(
      await withPlaces(places, (sqlite, postgres) => awaitFigure(sqlite, postgres, isTurned, slices)),
    )
  return figures
}

async function awaitFigure(
  sqlite: string,
  postgres: string,
  isTurned: boolean,
  slices: number,
): Promise<Figure> {
  const [source, target] = isTurned ? [postgres, sqlite] : [sqlite, postgres]
  // Domains of their own in the same two places: the same disk, the same server.
  const alone = {
    source: await openStore(source, { domains: { source: {} } }),
    target: await openStore(target, { domains: { target: {} } }),
  }
  const store = await openStore({ old: source, new: target }, { domains: bench, attendEveryMs: 1_000 })
  const move: Move = await store.move('bench', { to: 'new' })
  await move.start({ settings: { mirror: 'await' } })
  while (store.attendance('bench')?.await?.isDegraded !== false) {
    await move.catchUp()
    await sleep(50)
  }
  const one =
    (...domains: Domain[]) =>
    async () => {
      const { latencies } = await drive({ count: 40, callers: 1, seconds: 5 }, async (n) => {
        for (const { log } of domains) await log.append(`stream-${n}`, event(n))
      })
      return latencies.latency?.p50 ?? Number.NaN
    }
  const domains = { source: alone.source.domain('source'), target: alone.target.domain('target') }
  const runs = {
    await: one(store.domain('bench')),
    both: one(domains.source, domains.target),
    source: one(domains.source),
    target: one(domains.target),
  }
  await inTurns(runs, 5)
  const found = await inTurns(runs, slices)
  const waits = store.attendance('bench')?.await
  for (const each of [store, alone.source, alone.target]) await each.close()
  const [a, b] = isTurned ? ['PostgreSQL', 'SQLite'] : ['SQLite', 'PostgreSQL']
  const to = (run: keyof typeof runs) => ({
    value: found[run].middle,
    ratio: found.await.middle / found[run].middle,
  })
  const { ratio } = to('both')
  console.error(`${a} to ${b}: ${ratio.toFixed(2)} × one after the other, ${waits?.unawaited} not waited for`)
  return {
    on,
    id: 'move-await',
    title: `append that waits for the copy, one caller, ${a} to ${b}`,
    value: found.await.middle,
    unit: 'ms (p50)',
    peers: { [`${a}, then ${b}`]: to('both'), [`${a} alone`]: to('source'), [`${b} alone`]: to('target') },
    goal: `at most 1.1 × one after the other (${ratio.toFixed(2)} ×)`,
    met: ratio <= 1.1 && waits?.unawaited === 0,
    spread: found.await.spread,
    note: `${slices} slices of 40 each, in turns; ${waits?.awaited} waited for, ${waits?.unawaited} not`,
    machine: describeMachine(),
  }
}
