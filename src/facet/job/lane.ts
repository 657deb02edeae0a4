/**
 * Groups: the unfinished jobs of one group are a lane, in their order, and only its head may run. A worker that meets
 * another one than the head sets it aside (`lined`), in a commit that depends on the head not having moved; whoever
 * moves the head looks at the lane afterwards. So a lane stands still only if a process dies between the two, and
 * {@link Lanes.repair} finds that.
 */
import type { CallOptions } from '../../backend/backend.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import type { Query } from '../../model/page.ts'
import type { Port } from '../port.ts'
import { type FoundJob, jobsCollection, putJob, toFound, unchanged } from './record.ts'

export class Lanes {
  readonly #port: Port

  constructor(port: Port) {
    this.#port = port
  }

  /** The job of a group that comes first. */
  async head(name: string, group: string, options?: CallOptions): Promise<FoundJob | undefined> {
    const query: Query = {
      collection: jobsCollection,
      by: 'index',
      index: 'lane',
      equals: [name, group],
      backwards: false,
      limit: 1,
      after: null,
    }
    const { items } = await this.#port.scan(query, options)
    return toFound(items[0], this.#port.clock.now())
  }

  /** Sets a job aside that is not the head of its lane. If the head moved meanwhile, nothing happens. */
  async setAside(job: FoundJob, head: FoundJob): Promise<void> {
    if (head.record.state === 'lined') return this.advance(head.record)
    await this.#commit({
      at: this.#port.clock.now(),
      writes: [putJob(job.id, { ...job.record, state: 'lined' })],
      checks: [unchanged(job), unchanged(head)],
    })
  }

  /** Lets the head of a lane be taken, if it was set aside: to be called when another one has left the lane. */
  async advance({ name, group }: FoundJob['record']): Promise<void> {
    for (;;) {
      const head = group === undefined ? undefined : await this.head(name, group)
      if (head?.record.state !== 'lined') return
      const outcome = await this.#commit({
        at: this.#port.clock.now(),
        writes: [putJob(head.id, { ...head.record, state: 'waiting' })],
        checks: [unchanged(head)],
      })
      if (outcome.kind === 'committed') return
    }
  }

  /** Looks at every lane in which a job was set aside. */
  async repair(name: string): Promise<void> {
    for (let from = ''; ; ) {
      const { items } = await this.#port.scan({
        collection: jobsCollection,
        by: 'index',
        index: 'lined',
        equals: [name],
        from,
        backwards: false,
        limit: 1,
        after: null,
      })
      const found = toFound(items[0], this.#port.clock.now())
      if (found === undefined) return
      await this.advance(found.record)
      // The least text above this one, among those without NUL.
      from = `${found.record.group}\u0001`
    }
  }

  async #commit(commit: Commit): Promise<Outcome> {
    const outcome = await this.#port.commit(commit)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome
  }
}
