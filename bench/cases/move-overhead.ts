/**
 * What a move costs those who write while nothing is cut over: the fence while there is no move, and acknowledgements that
 * wait for the copy. Measured in this process: what is compared takes turns, some dozens of times.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Domain, type Move, openStore } from 'underpin'
import { drive } from '../drive.ts'
import { withBothKinds } from '../move/ends.ts'
import { describeMachine, type Figure } from '../report.ts'
import type { On, Places } from '../suite.ts'
import { inTurns } from '../turns.ts'
import { event } from '../work.ts'

const bench = { bench: {} } as const
const on: On = 'postgres'

/**
 * What it costs that a domain could be moved, with no move: the same appends through stores with one backend and with two,
 * by the CPU time of an append, since what is written and synced is the same. There is no commit without the epoch to
 * compare with: the fence's row is the one that gives positions and keeps the digest, so it is read and written in any
 * case, and the epoch is one column more of its condition.
 */
export async function measureFenceCost(slices: number): Promise<readonly Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  const names = ['one', 'two', 'oneAgain', 'twoAgain'] as const
  const opened = await Promise.all(names.map((name) => appendsTo(folder, name, name.startsWith('two'))))
  const [one, two, oneAgain, twoAgain] = opened.map(({ run }) => run) as [Run, Run, Run, Run]
  const runs = { one, two, oneAgain, twoAgain }
  try {
    // Whoever runs first is measured while it is compiled.
    await inTurns(runs, 10)
    const found = await inTurns(runs, slices)
    const ratio = found.two.with(found.twoAgain).against(found.one.with(found.oneAgain))
    const noise = found.oneAgain.against(found.one)
    console.error(
      `CPU of an append: two backends ${ratio.toFixed(3)} × one; one a second time ${noise.toFixed(3)} × the first`,
    )
    return [
      {
        on,
        id: 'move-fence-cost',
        title: 'CPU time of an append with two backends and no move, 64 callers, SQLite',
        value: found.two.middle,
        unit: 'µs',
        peers: {
          'one backend': { value: found.one.middle, ratio },
          'one backend, a second time': {
            value: found.oneAgain.middle,
            ratio: found.two.against(found.oneAgain),
            note: `${noise.toFixed(3)} × the first time, which is noise`,
          },
        },
        goal: `at most 1.02 × one backend (${ratio.toFixed(3)} ×)`,
        met: ratio <= 1.02,
        spread: found.two.spread,
        note: `${slices} slices of each of two such stores, in turns; ratios are the middle of those of each turn, the spread is that of the middle half`,
        machine: describeMachine(),
      },
    ]
  } finally {
    for (const { store } of opened) await store.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

type Run = () => Promise<number>

/** A store, and a slice of appends to it that gives the microseconds of CPU time that each took. */
async function appendsTo(folder: string, name: string, isMovable: boolean) {
  const [url, other] = [name, `${name}-other`].map((file) => `sqlite:${join(folder, `${file}.db`)}`)
  const targets = isMovable ? { main: url as string, other: other as string } : (url as string)
  const store = await openStore(targets, { domains: bench })
  const { log } = store.domain('bench')
  let n = 0
  const run: Run = async () => {
    const before = process.cpuUsage()
    const load = { count: 2_560, callers: 64, seconds: 5 }
    const { done } = await drive(load, () => log.append(`stream-${n % 1_000}`, event(n++)))
    const { user, system } = process.cpuUsage(before)
    return (user + system) / done
  }
  return { store, run }
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
      await withBothKinds(places, (sqlite, postgres) => awaitFigure(sqlite, postgres, isTurned, slices)),
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
    ratio: found.await.against(found[run]),
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
