/** Says what became of jobs: pure, so that it can be shown what it must find. */
import type { JobInfo } from '../../src/index.ts'
import { groupOf } from './app.ts'

export interface History {
  /** The id of the job of each number that was enqueued. */
  readonly enqueued: ReadonlyMap<number, string>
  /** The number of each effect, in order. */
  readonly effects: readonly number[]
  readonly jobs: readonly Pick<JobInfo, 'id' | 'state' | 'result'>[]
}

export interface Verdict {
  /** Jobs that are gone, or not completed. */
  readonly lost: number
  /** Jobs that are completed without their effect. */
  readonly missing: number
  /** Effects beyond one for each job. */
  readonly doubled: number
  /** Effects and results that belong to no job, or to another one. */
  readonly foreign: number
  /** Effects that came before one of their group that was enqueued earlier. */
  readonly disordered: number
}

export function judge({ enqueued, effects, jobs }: History): Verdict {
  const times = new Map<number, number>()
  for (const n of effects) times.set(n, (times.get(n) ?? 0) + 1)
  const byId = new Map(jobs.map((job) => [job.id, job]))
  let [lost, missing, doubled, foreign] = [0, 0, 0, 0]
  for (const [n, id] of enqueued) {
    const job = byId.get(id)
    if (job?.state !== 'completed') lost++
    else if (job.result !== n) foreign++
    if (!times.has(n)) missing++
    doubled += Math.max(0, (times.get(n) ?? 0) - 1)
  }
  foreign += [...times.keys()].filter((n) => !enqueued.has(n)).length
  const ids = new Set(enqueued.values())
  foreign += jobs.filter(({ id }) => !ids.has(id)).length
  return { lost, missing, doubled, foreign, disordered: disorderIn(effects) }
}

function disorderIn(effects: readonly number[]): number {
  const last = new Map<string, number>()
  return effects.filter((n) => {
    const group = groupOf(n)
    if (group === undefined) return false
    const before = last.get(group) ?? -1
    last.set(group, Math.max(before, n))
    return n < before
  }).length
}
