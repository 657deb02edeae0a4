/** The pause of a cutover, as those see it who write. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Domain, type Move, openStore } from 'underpin'
import { Latencies } from '../latency.ts'
import { withBothKinds } from '../move/ends.ts'
import { describeMachine, type Figure } from '../report.ts'
import type { On, Places } from '../suite.ts'
import { event } from '../work.ts'

const bench = { bench: {} } as const
const on: On = 'postgres'

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
  return withBothKinds(places, async (sqlite, postgres) => {
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
