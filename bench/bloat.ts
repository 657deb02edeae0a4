/** Minutes of load on one domain: whether its fence, which every group updates, grows or slows down. */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { start } from './measure.ts'
import { describeMachine, type Figure, show } from './report.ts'
import type { Run, Work } from './run.ts'
import type { Places } from './suite.ts'

/** One look at the fence. */
interface Look {
  /** Milliseconds. */
  readonly at: number
  readonly head: number
  readonly bytes: number
  readonly dead: number
  readonly vacuums: number
}

const windows = 30
const looksQuery = `
  SELECT f.head::float8 AS head, pg_total_relation_size(s.relid)::float8 AS bytes, s.n_dead_tup::float8 AS dead,
         s.autovacuum_count::float8 AS vacuums
  FROM underpin.underpin_fences f, pg_stat_user_tables s
  WHERE f.domain = 'bench' AND s.relname = 'underpin_fences'`

export async function measureBloat(places: Places, seconds: number): Promise<readonly Figure[]> {
  const url = await places.make()
  try {
    const work: Work = {
      kind: 'append together',
      processes: 1,
      domains: 1,
      streams: 1_000,
      callers: 64,
      seconds,
    }
    const running = start(work, 'underpin, PostgreSQL', url, seconds + 120)
    const ended = new AbortController()
    running.finally(() => ended.abort())
    const looks = await watch(url, seconds, ended.signal)
    const run = await running
    if (typeof run === 'string' || looks.length <= windows) {
      console.log(`bloat: no figure: ${typeof run === 'string' ? run : 'too few looks at the fence'}`)
      return []
    }
    return [toFigure(looks, run, seconds)]
  } finally {
    await places.remove(url)
  }
}

/** Looks at the fence at the beginning and at the end of each window, from the first commits on. */
async function watch(connectionString: string, seconds: number, ended: AbortSignal): Promise<Look[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  const looks: Look[] = []
  while (!ended.aborted && ((await look(client))?.head ?? 0) < 1_000) await sleep(100)
  const since = performance.now()
  for (let n = 0; n <= windows && !ended.aborted; n++) {
    await sleep(Math.max(0, since + (n * seconds * 1_000) / windows - performance.now()))
    const found = await look(client)
    if (found === undefined) continue
    const before = looks.at(-1)
    looks.push(found)
    if (before === undefined) continue
    console.log(
      `bloat: ${show(rateBetween(before, found))}/s, fence of ${found.bytes / 1_024} kB, ${found.dead} dead rows, vacuumed ${found.vacuums} times`,
    )
  }
  await client.end()
  return looks
}

/** Undefined while the tables are not there. */
async function look(client: pg.Client): Promise<Look | undefined> {
  try {
    const { rows } = await client.query(looksQuery)
    return rows[0] === undefined ? undefined : { at: performance.now(), ...rows[0] }
  } catch {
    return undefined
  }
}

function rateBetween(from: Look, to: Look): number {
  return (to.head - from.head) / ((to.at - from.at) / 1_000)
}

/** The last fifth against the second: of five minutes, the last minute against the second. */
function toFigure(looks: readonly Look[], run: Run, seconds: number): Figure {
  const fifth = windows / 5
  const between = (from: number, to: number) => rateBetween(looks[from] as Look, looks[to] as Look)
  const second = between(fifth, 2 * fifth)
  const last = between(4 * fifth, windows)
  const rates = looks.slice(1).map((to, n) => rateBetween(looks[n] as Look, to))
  const most = (of: keyof Look) => Math.max(...looks.map((each) => each[of]))
  const fence = `fence table ${(looks[0]?.bytes ?? 0) / 1_024} kB at first, ${most('bytes') / 1_024} kB at most; ${most('dead')} dead rows at most; vacuumed ${most('vacuums')} times`
  return {
    on: 'postgres',
    id: 'bloat',
    title: `append, 64 callers, for ${seconds} s`,
    value: run.rate,
    unit: 'events/s',
    latency: run.latency,
    peers: {
      'its second fifth': {
        value: second,
        ratio: last / second,
        note: `the last fifth: ${show(last)}/s (the ratio is last to second)`,
      },
    },
    goal: `last fifth at least 0.9 × the second (${(last / second).toFixed(2)} ×), no error`,
    met: last / second >= 0.9 && run.failed === 0 && run.lost === 0,
    spread: [Math.min(...rates), Math.max(...rates)],
    note: fence,
    machine: describeMachine(),
  }
}
