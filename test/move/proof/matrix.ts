/** The kill matrix: which case dies where, and the table of what came of it. */
import type { Trial, Victim } from './trial.ts'

export interface Row {
  readonly point: string
  readonly victim: Victim | string
  tried: number
  stuck: number
  wrong: number
  doubleAuthorities: number
}

/** The trials by the call at which something died, and by what died; those whose moment never came are left out. */
export function rowsOf(trials: readonly Trial[]): Row[] {
  const rows = new Map<string, Row>()
  for (const { point, victim, hasStruck, stuck, wrong, doubleAuthorities } of trials) {
    if (!hasStruck) continue
    const row = rows.get(`${point}, ${victim}`) ?? {
      ...{ point, victim, tried: 0, stuck: 0, wrong: 0, doubleAuthorities: 0 },
    }
    row.tried++
    row.stuck += stuck === '' ? 0 : 1
    row.wrong += wrong > 0 ? 1 : 0
    row.doubleAuthorities += doubleAuthorities > 0 ? 1 : 0
    rows.set(`${point}, ${victim}`, row)
  }
  return [...rows.values()].sort((x, y) => compare(x.victim, y.victim) || compare(keyOf(x), keyOf(y)))
}

/** The table: one line for each step, with both moments in it. */
export function table(rows: readonly Row[]): string {
  const head = ['point', 'victim', 'tried', 'stuck', 'lost', 'double authority']
  const lines = rows.map(({ point, victim, tried, stuck, wrong, doubleAuthorities }) =>
    [point, victim, tried, stuck, wrong, doubleAuthorities].map(String),
  )
  const widths = head.map((name, i) => Math.max(name.length, ...lines.map((line) => line[i]?.length ?? 0)))
  const show = (line: readonly string[]) => line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')
  return [show(head), ...lines.map(show)].join('\n')
}

const keyOf = ({ point }: Row) => point.split(' ').slice(1).join(' ') + point
const compare = (x: string, y: string) => (x < y ? -1 : x > y ? 1 : 0)

/** So many of a list, at equal distances, beginning at another one for another seed. */
export function spread<T>(all: readonly T[], count: number, seed: number): T[] {
  const step = all.length / count
  return Array.from({ length: count }, (_, i) => all[Math.floor(seed + i * step) % all.length] as T)
}

/** Does work on each of a list, some at a time. */
export async function inLanes<J, R>(
  jobs: readonly J[],
  lanes: number,
  work: (job: J) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async () => {
    for (let i = next++; i < jobs.length; i = next++) results[i] = await work(jobs[i] as J)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return results
}
