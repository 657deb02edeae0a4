/** Exports as jobs: one is enqueued in the commit of each request, makes the file, and leaves one that lets it expire. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import { job } from '../job/definition.ts'
import type { Jobs } from '../job/jobs.ts'
import type { JobContext } from '../job/run.ts'
import type { ExportInfo } from './record.ts'

/** The data of an export's job. */
export interface ExportJob {
  readonly tenant: string
  readonly id: string
}

/** To be declared as `export`: `shop.jobs(defineJobs({ export: exportJob, … }))`. */
export const exportJob = job<ExportJob, null>({
  // An export counts by itself what goes wrong; these are also for workers that die.
  retry: { attempts: 20, delayMs: 1_000, maxDelayMs: 60_000 },
})

const name = 'export'

/** Jobs among which there is {@link exportJob}, of the same domain as the exports. */
export type ExportJobs = Pick<
  Jobs<{ readonly [name]: typeof exportJob }>,
  'domain' | 'definitions' | 'prepare' | 'findLive'
>

/** The job of a request, for its commit. */
export async function requestWrites(jobs: ExportJobs | undefined, data: ExportJob): Promise<Write[]> {
  return jobs === undefined ? [] : [(await jobs.prepare(name, data, {})).write]
}

/** Makes the export, or lets it expire; a ready one is looked at again when its time is over. */
export async function runJob(
  jobs: ExportJobs | undefined,
  data: ExportJob,
  { signal, transaction }: Pick<JobContext, 'signal' | 'transaction'>,
  work: (options: CallOptions) => Promise<ExportInfo | undefined>,
): Promise<null> {
  if (jobs === undefined) throw new TypeError('Exports are worked on as jobs if they are made with { jobs }')
  const info = await work({ signal })
  if (info?.state === 'requested' || info?.state === 'running')
    throw new UnderpinError('unavailable', `The export failed for now: ${info.error}`, {
      details: { tenant: data.tenant, id: data.id },
    })
  if (info?.state !== 'ready' || info.expiresAt === undefined) return null
  const { expiresAt: runAt } = info
  return transaction(async (tx) => {
    await tx.enqueue(jobs, name, data, { runAt })
    return null
  })
}
