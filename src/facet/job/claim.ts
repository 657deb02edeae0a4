/** Taking jobs: those that come first, as many as there are free places, in one commit under the worker's lease. */
import { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { FailedCheck } from '../../model/check.ts'
import type { Query } from '../../model/page.ts'
import { type Lease, lostLease } from '../lease.ts'
import type { Port } from '../port.ts'
import type { JobDefinitions } from './definition.ts'
import { Lanes } from './lane.ts'
import { type FoundJob, type JobState, jobsCollection, putJob, toFound, unchanged } from './record.ts'
import { taken } from './transition.ts'

/** A job that can be taken, and its place under the concurrency limit of its kind. */
interface Candidate {
  readonly job: FoundJob
  readonly slot: number | undefined
}

/** How many jobs are looked at when those at the front were set aside or taken by others. */
const wideWindow = 200

export class Claims {
  readonly #port: Port
  readonly #definitions: JobDefinitions
  readonly #names: readonly string[]
  readonly #lanes: Lanes
  /** The kind that comes first in the next round. */
  #turn = 0
  #isWide = false
  /** How many workers seem to take from the same front. */
  #rivals = 0

  constructor(port: Port, definitions: JobDefinitions, names: readonly string[]) {
    this.#port = port
    this.#definitions = definitions
    this.#names = names
    this.#lanes = new Lanes(port)
  }

  /** At most `free` jobs, taken. Fewer, when others were quicker. */
  async take(free: number, lease: Lease): Promise<FoundJob[]> {
    let candidates = await this.#candidates(free)
    while (candidates.length > 0) {
      const at = this.#port.clock.now()
      const all = candidates.map(({ job, slot }) => {
        const record = taken(job.record, { worker: lease.id, at, slot })
        return { record, write: putJob(job.id, record) }
      })
      const next = all.slice(0, countWithin(this.#port.limits.commitBytes, all))
      candidates = candidates.slice(0, next.length)
      const outcome = await this.#port.commit({
        at,
        writes: next.map(({ write }) => write),
        checks: [...candidates.map(({ job }) => unchanged(job)), lease.check],
      })
      if (outcome.kind === 'refused') throw outcome.error
      if (lease.isRefused(outcome)) throw lostLease(lease.id)
      if (outcome.kind === 'committed') {
        return candidates.map(({ job: { id } }, i) => ({
          id,
          revision: outcome.positions[i] as number,
          record: (next[i] as (typeof next)[number]).record,
        }))
      }
      this.#rivals = Math.min(8, this.#rivals + 1)
      this.#isWide = true
      candidates = without(candidates, outcome.failed)
    }
    return []
  }

  async #candidates(free: number): Promise<Candidate[]> {
    const names = [...this.#names.slice(this.#turn), ...this.#names.slice(0, this.#turn)]
    this.#turn = (this.#turn + 1) % this.#names.length
    const limit = this.#isWide ? Math.max(free * (1 + this.#rivals), wideWindow) : free
    this.#isWide = false
    const pages = await Promise.all(names.map((name) => this.#jobs('waiting', name, limit)))
    const candidates: Candidate[] = []
    for (const [i, page] of pages.entries()) {
      if (page.length === 0 || candidates.length >= free) continue
      const wanted = free - candidates.length
      candidates.push(...(await this.#fitting(names[i] as string, this.#spread(page, wanted), wanted)))
    }
    return candidates
  }

  /** With rivals, a part of the front at random: who reaches for the same jobs gets them only once. */
  #spread(page: FoundJob[], wanted: number): FoundJob[] {
    if (this.#rivals === 0 || page.length <= wanted) return page
    const at = Math.floor(this.#port.clock.random() * Math.min(this.#rivals + 1, page.length / wanted))
    this.#rivals--
    return [...page.slice(at * wanted), ...page.slice(0, at * wanted)]
  }

  /** Those of one kind that may run now: the heads of their groups, and as many as its concurrency leaves. */
  async #fitting(name: string, page: readonly FoundJob[], wanted: number): Promise<Candidate[]> {
    const slots = await this.#slots(name)
    const most = Math.min(wanted, slots?.length ?? wanted)
    const jobs = (await this.#heads(name, page, most)).slice(0, most)
    return jobs.map((job, i) => ({ job, slot: slots?.[i] }))
  }

  /** Sets aside what is not the head of its group; only a whole page of such is followed by a wider look. */
  async #heads(name: string, page: readonly FoundJob[], most: number): Promise<readonly FoundJob[]> {
    if (page.every(({ record }) => record.group === undefined)) return page
    const groups = [...new Set(page.flatMap(({ record }) => record.group ?? []))]
    const heads = await Promise.all(groups.map((group) => this.#lanes.head(name, group)))
    const headOf = new Map(groups.map((group, i) => [group, heads[i]]))
    const fitting: FoundJob[] = []
    const behind: Promise<void>[] = []
    for (const job of page) {
      const head = job.record.group === undefined ? job : headOf.get(job.record.group)
      if (head === undefined) continue
      if (head.id === job.id) fitting.push(job)
      else behind.push(this.#lanes.setAside(job, head))
    }
    await Promise.all(behind)
    if (fitting.length < most && behind.length > 0) this.#isWide = true
    return fitting
  }

  /** The free slots of a kind that has a limit. */
  async #slots(name: string): Promise<number[] | undefined> {
    const limit = this.#definitions[name]?.concurrency
    if (limit === undefined) return undefined
    const running = await this.#jobs('running', name, this.#port.limits.pageItems)
    const held = new Set(running.map(({ record }) => record.slot))
    return Array.from({ length: limit }, (_, slot) => slot).filter((slot) => !held.has(slot))
  }

  /** Whether the last round left jobs behind that a wider look may find. */
  get mustLookAgain(): boolean {
    return this.#isWide
  }

  async #jobs(state: JobState, name: string, limit: number): Promise<FoundJob[]> {
    const query: Query = {
      collection: jobsCollection,
      by: 'index',
      index: 'queue',
      equals: [state, name],
      backwards: false,
      limit: Math.min(limit, this.#port.limits.pageItems),
      after: null,
    }
    const { items } = await this.#port.scan(query)
    const now = this.#port.clock.now()
    return items.flatMap((document) => toFound(document, now) ?? [])
  }
}

/** How many of the first fit into one commit; one at least. */
function countWithin(bytes: number, all: readonly { readonly write: Write }[]): number {
  let left = bytes
  const over = all.findIndex(({ write }) => {
    if (write.kind === 'put') left -= Buffer.byteLength(write.data)
    return left < 0
  })
  return over === -1 ? all.length : Math.max(1, over)
}

/** The candidates whose checks held. */
function without(candidates: readonly Candidate[], failed: readonly FailedCheck[]): Candidate[] {
  const lost = new Set(failed.flatMap((check) => (check.kind === 'stream' ? [] : [check.id])))
  const left = candidates.filter(({ job }) => !lost.has(job.id))
  if (left.length < candidates.length) return left
  throw new UnderpinError('damaged', 'A commit failed by checks that it did not name', {
    details: { failed },
  })
}
