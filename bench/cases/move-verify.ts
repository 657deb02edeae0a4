/** How fast both sides of a move are compared, against how fast the copy was made, in the same run. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from 'underpin'
import { describeMachine, type Figure, show } from '../report.ts'
import type { Places } from '../suite.ts'
import { event } from '../work.ts'

/** Events of a stream. */
const streamLength = 1_000

/** From SQLite to PostgreSQL: by positions alone, and in full, which reads every event a second time by its stream. */
export async function measureMoveVerify(places: Places, records: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  const place = await places.make()
  const store = await openStore(
    { old: `sqlite:${join(folder, 'old.db')}`, new: place },
    { domains: { bench: {} } },
  )
  try {
    const { log } = store.domain('bench')
    for (let from = 0; from < records; from += streamLength)
      await log.append(
        `stream-${from / streamLength}`,
        Array.from({ length: Math.min(streamLength, records - from) }, (_, i) => event(from + i)),
      )
    const move = await store.move('bench', { to: 'new' })
    await move.start()
    const timed = async (work: () => Promise<unknown>) => {
      const since = performance.now()
      await work()
      return (records / (performance.now() - since)) * 1_000
    }
    const backfill = await timed(() => move.catchUp())
    const compare = async (by: 'positions' | 'both') => {
      const { isEqual, compared } = await move.verify({ by })
      if (!isEqual || compared < records) throw new Error(`Compared ${compared} records: equal is ${isEqual}`)
    }
    const positions = [
      await timed(() => compare('positions')),
      await timed(() => compare('positions')),
    ] as const
    const both = [await timed(() => compare('both')), await timed(() => compare('both'))] as const
    const title = `of ${records.toLocaleString('en')} records, SQLite and PostgreSQL`
    return [
      figure('move-verify', `comparison by positions ${title}`, positions, backfill, 3),
      figure('move-verify-full', `full comparison, also by keys, ${title}`, both, backfill, null),
    ]
  } finally {
    await store.close()
    await places.remove(place)
    rmSync(folder, { recursive: true, force: true })
  }
}

function figure(
  id: string,
  title: string,
  rates: readonly [number, number],
  backfill: number,
  goal: number | null,
): Figure {
  const value = (rates[0] + rates[1]) / 2
  const ratio = value / backfill
  return {
    ...{ on: 'postgres', id, title, value, unit: 'records/s' },
    peers: {
      'the backfill of the same run': { value: backfill, ratio, note: `${show(backfill)} records/s` },
    },
    goal: goal === null ? 'none' : `at least ${goal} × the backfill (${ratio.toFixed(2)} ×)`,
    met: goal === null ? null : ratio >= goal,
    spread: [Math.min(...rates), Math.max(...rates)],
    machine: describeMachine(),
  }
}
