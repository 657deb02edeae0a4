/** A trial: a process is killed on a new file; the file is opened, judged, written to, and judged again. */
import { openStore } from '../../src/index.ts'
import { openStoreSync } from '../../src/sync.ts'
import { judge, missingOf } from './checker.ts'
import type { ChildJob } from './child.ts'
import { readHistory } from './history.ts'
import { domains, perform, performSync } from './perform.ts'
import type { Trial } from './proof.ts'
import type { Ended } from './run.ts'
import { makeScript, type Operation } from './script.ts'

/** One after the other, and not while processes run: the test has to hear those without delay. */
export async function examineAll(
  killed: readonly { readonly job: ChildJob; readonly ended: Ended }[],
): Promise<Trial[]> {
  const trials: Trial[] = []
  for (const { job, ended } of killed)
    trials.push(await examine(job, ended).catch((error: unknown) => unusable(ended, error)))
  return trials
}

/** A file that cannot be opened, read or written to is a failure like any other, and recorded as one. */
function unusable({ acknowledged, wasKilled }: Ended, error: unknown): Trial {
  const verdict = { lost: acknowledged, doubled: [], half: [], faults: [`the file cannot be used: ${error}`] }
  return { wasKilled, acknowledged: acknowledged.length, verdicts: [verdict] }
}

/** Judges what is in the file, then does what was not acknowledged, and judges the whole. */
async function examine(job: ChildJob, { acknowledged, wasKilled }: Ended): Promise<Trial> {
  const operations = makeScript(job.seed, job.verbs, job.batches).flat()
  const heard = new Set(acknowledged)
  const first = await withStore(job, async (store) => {
    const history = await readHistory(store)
    return { verdict: judge(operations, heard, history), missing: new Set(missingOf(operations, history)) }
  })
  // With an id an operation is committed again without looking; without one, only if it is not there.
  const rest = operations.filter((one) => !heard.has(one.n) && (one.hasId || first.missing.has(one)))
  await finish(job, rest)
  const last = await withStore(job, async (store) =>
    judge(operations, new Set(operations.map(({ n }) => n)), await readHistory(store)),
  )
  return { wasKilled, acknowledged: acknowledged.length, verdicts: [first.verdict, last] }
}

async function finish(job: ChildJob, rest: readonly Operation[]): Promise<void> {
  if (job.verbs === 'asynchronous')
    return withStore(job, async (store) => {
      for (const operation of rest) await perform(store.domain('app'), operation)
    })
  using store = openStoreSync(job.url, { domains })
  for (const operation of rest) performSync(store.domain('app'), operation)
}

async function withStore<R>(
  { url }: ChildJob,
  work: (store: Awaited<ReturnType<typeof openStore<typeof domains>>>) => Promise<R>,
): Promise<R> {
  await using store = await openStore(url, { domains })
  return await work(store)
}

/** Runs jobs two at a time: a trial mostly waits for a process to start. */
export async function inPairs<J, R>(jobs: readonly J[], work: (job: J) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const queue = [...jobs.entries()]
  const lane = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      results[next[0]] = await work(next[1])
  }
  await Promise.all([lane(), lane()])
  return results
}
