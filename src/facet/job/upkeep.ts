/** What all workers of a domain see to together, whoever comes first: jobs of dead workers, jobs that are due, jobs that are old. */
import type { Document } from '../../model/document.ts'
import type { Query } from '../../model/page.ts'
import { Lease, Leases } from '../lease.ts'
import type { Port } from '../port.ts'
import type { JobDefinitions } from './definition.ts'
import { Lanes } from './lane.ts'
import { type FoundJob, jobsCollection, putJob, toFound, unchanged } from './record.ts'
import { retainedWrite } from './run.ts'
import { bereaved, toJobError } from './transition.ts'

/** Before the ids of the leases of workers. */
export const leasePrefix = 'jobs/'

const pageSize = 500

export class Upkeep {
  readonly #port: Port
  readonly #definitions: JobDefinitions
  readonly #leases: Leases
  readonly #lanes: Lanes

  constructor(port: Port, definitions: JobDefinitions) {
    this.#port = port
    this.#definitions = definitions
    this.#leases = new Leases(port)
    this.#lanes = new Lanes(port)
  }

  /** Jobs whose time has come may be taken; when the next one's will have come. */
  async promote(): Promise<number> {
    for (;;) {
      const due = await this.#jobs('due', [], 1)
      const [next] = due
      const now = this.#port.clock.now()
      if (next === undefined) return Number.POSITIVE_INFINITY
      if (next.record.runAt > now) return next.record.runAt
      const all = await this.#jobs('due', [], pageSize)
      await Promise.all(all.filter(({ record }) => record.runAt <= now).map((job) => this.#promote(job)))
    }
  }

  async #promote(job: FoundJob): Promise<void> {
    const record = { ...job.record, state: 'waiting' as const }
    await this.#change(job, putJob(job.id, record))
  }

  /** Takes the leases of workers that gave no sign of life in their time, and gives their jobs to others. */
  async reap(own: string, ttlMs: number): Promise<void> {
    for (const id of await this.#workers()) {
      if (id === own) continue
      const taken = await this.#leases.attempt(id, { ttlMs })
      if (taken instanceof Lease) await this.#bereave(taken)
    }
  }

  /** Those that have a lease, and those that running jobs name: one that ended may never have heard that a job was its own. */
  async #workers(): Promise<ReadonlySet<string>> {
    const query: Query = {
      collection: '$leases',
      by: 'id',
      prefix: leasePrefix,
      backwards: false,
      limit: this.#port.limits.pageItems,
      after: null,
    }
    const workers = new Set((await this.#port.scan(query)).items.map(({ id }) => id))
    for (let from = ''; ; ) {
      const [next] = await this.#jobs('worker', [], 1, from)
      if (next?.record.worker === undefined) return workers
      workers.add(next.record.worker)
      // The least text above this one, among those without NUL.
      from = `${next.record.worker}\u0001`
    }
  }

  /** Under the dead worker's own lease: it can complete nothing any more, and if this process dies too, the next one goes on. */
  async #bereave(lease: Lease): Promise<void> {
    try {
      for (;;) {
        const jobs = await this.#jobs('worker', [lease.id], pageSize)
        if (jobs.length === 0) break
        await Promise.all(jobs.map((job) => this.#bereaveOne(job, lease)))
        if (lease.signal.aborted) return
      }
      await lease.release()
    } finally {
      // Renewed any longer, it would keep from everybody what this process failed to give back.
      await lease.released()
    }
  }

  async #bereaveOne(job: FoundJob, lease: Lease): Promise<void> {
    const now = this.#port.clock.now()
    const error = toJobError(
      new Error('The worker that had the job gave no sign of life'),
      job.record.attempt,
    )
    const record = bereaved(job.record, { ...error, code: 'lost-lease', stack: null }, now)
    const write = retainedWrite(job.id, record, this.#definitions[job.record.name] ?? {}, now)
    await this.#change(job, write, lease)
    if (record.finishedAt !== undefined) await this.#lanes.advance(record)
  }

  /** Deletes finished jobs whose time of retention is over. */
  async sweep(): Promise<void> {
    const until = this.#port.clock.now()
    const query: Query = {
      collection: jobsCollection,
      by: 'expiry',
      until,
      backwards: false,
      limit: pageSize,
      after: null,
    }
    const { items } = await this.#port.scan(query)
    const remove = ({ id }: Document) =>
      this.#port.commit({
        at: until,
        writes: [{ kind: 'delete', collection: jobsCollection, id }],
        checks: [{ kind: 'document', collection: jobsCollection, id, expect: 'absent' }],
      })
    await Promise.all(items.map(remove))
    if (items.length === pageSize) await this.sweep()
  }

  /** Lanes whose head was set aside by a process that died. */
  async repair(): Promise<void> {
    for (const name of Object.keys(this.#definitions)) await this.#lanes.repair(name)
  }

  async #change(job: FoundJob, write: ReturnType<typeof putJob>, lease?: Lease): Promise<void> {
    const at = this.#port.clock.now()
    const checks = lease === undefined ? [unchanged(job)] : [unchanged(job), lease.check]
    const outcome = await this.#port.commit({ at, writes: [write], checks })
    lease?.isRefused(outcome)
    if (outcome.kind === 'refused') throw outcome.error
  }

  async #jobs(index: string, equals: readonly string[], limit: number, from?: string): Promise<FoundJob[]> {
    const query: Query = {
      collection: jobsCollection,
      by: 'index',
      index,
      equals,
      ...(from === undefined ? {} : { from }),
      backwards: false,
      limit,
      after: null,
    }
    const { items } = await this.#port.scan(query)
    const now = this.#port.clock.now()
    return items.flatMap((document) => toFound(document, now) ?? [])
  }
}
