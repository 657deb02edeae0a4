/**
 * A worker: takes jobs as long as it has free places, and runs their handlers. It has one lease for all of its jobs, and
 * the lease's beat is their heartbeat. That there may be something to do it learns by watching the domain.
 */
import { Alarm, sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import { Lease, Leases } from '../lease.ts'
import type { Port } from '../port.ts'
import { Claims } from './claim.ts'
import type { JobDefinitions } from './definition.ts'
import { type FoundJob, jobsCollection, toFound } from './record.ts'
import { type JobContext, Run } from './run.ts'
import type { Schedules } from './schedule.ts'
import { leasePrefix, Upkeep } from './upkeep.ts'

export interface WorkOptions {
  /** How many jobs this worker runs at once; 10 if left out. */
  readonly concurrency?: number
  /** Begins the graceful stop, as {@link Worker.stop} does. */
  readonly signal?: AbortSignal
  /** Milliseconds without a sign of life after which others take its jobs; 30,000 if left out. */
  readonly leaseMs?: number
  /** Milliseconds that a stopping worker lets its jobs run on before their signals abort; 30,000 if left out. */
  readonly stopMs?: number
  /** Milliseconds that a handler may go on after its signal aborted, before its job is taken from it; 5,000 if left out. */
  readonly graceMs?: number
  /** Told of what goes wrong outside of handlers (the store cannot be reached, a job was lost), with the job it concerns. */
  readonly onError?: (error: unknown, jobId: string | undefined) => void
}

export type Handlers = Readonly<Record<string, (data: unknown, context: JobContext) => unknown>>

/** Milliseconds between two looks that hints can cause while there is nothing to take. */
const quietMs = 3
/** Milliseconds between two looks for jobs that became due or are to be cancelled, and the longest between any two looks. */
const lookMs = 100
const restMs = 5_000
/** How often it looks again at once when it got none of the jobs it reached for. */
const looksInVain = 8

export class Worker {
  readonly #port: Port
  readonly #definitions: JobDefinitions
  readonly #handlers: Handlers
  readonly #options: Required<Omit<WorkOptions, 'signal'>>
  readonly #claims: Claims
  readonly #upkeep: Upkeep
  readonly #schedules: Schedules
  readonly #alarm = new Alarm()
  readonly #stopping = new AbortController()
  readonly #over = new AbortController()
  readonly #running = new Map<string, { readonly run: Run; readonly over: Promise<void> }>()
  #lease: Lease | undefined
  /** Whether a commit that took jobs may have been applied without our knowing. */
  #mayHaveMore = false
  #isClosed = false
  #promoteAt = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  #keptAt = Number.NEGATIVE_INFINITY
  /** Settles when the worker has stopped: never rejects. */
  readonly done: Promise<void>

  /** Made by `jobs.work`. */
  constructor(
    port: Port,
    definitions: JobDefinitions,
    schedules: Schedules,
    handlers: Handlers,
    options: WorkOptions,
  ) {
    this.#port = port
    this.#definitions = definitions
    this.#schedules = schedules
    this.#handlers = handlers
    this.#options = { ...defaults, ...options }
    this.#claims = new Claims(port, definitions, Object.keys(handlers))
    this.#upkeep = new Upkeep(port, definitions)
    const { signal } = options
    const stop = () => this.#stopping.abort()
    if (signal?.aborted) stop()
    signal?.addEventListener('abort', stop, { once: true })
    this.done = this.#live().finally(() => signal?.removeEventListener('abort', stop))
  }

  /** How many jobs it runs now. */
  get running(): number {
    return this.#running.size
  }

  /** Takes no more jobs, lets the running ones end, and gives back those that do not end in time. Settles when it has stopped. */
  stop(): Promise<void> {
    this.#stopping.abort()
    return this.done
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #live(): Promise<void> {
    const watching = this.#watch()
    await this.#takeJobs()
    await this.#finishJobs()
    this.#over.abort()
    await watching
    try {
      // With its lease gone, nobody would miss a worker that has jobs it was not told of; so it is left to end by itself.
      if (!this.#isClosed && !this.#mayHaveMore) await this.#lease?.release()
    } catch (error) {
      this.#report(error)
    } finally {
      await this.#lease?.released()
    }
  }

  async #takeJobs(): Promise<void> {
    const { clock } = this.#port
    for (let delayMs = 10; !this.#stopping.signal.aborted; ) {
      try {
        const waitMs = await this.#pass()
        await this.#alarm.wait(clock, waitMs, this.#stopping.signal)
        delayMs = 10
      } catch (error) {
        if (this.#isOver(error)) return this.#stopping.abort()
        this.#report(error)
        await sleep(clock, delayMs * (0.5 + clock.random()), this.#stopping.signal)
        delayMs = Math.min(1_000, delayMs * 2)
      }
    }
  }

  /** One round: what is to be seen to, then as many jobs as fit. Returns the milliseconds until the next one at the latest. */
  async #pass(): Promise<number> {
    const { clock } = this.#port
    const lease = await this.#leased()
    if (this.#mayHaveMore) await this.#adopt(lease)
    await this.#look(lease)
    let isQuiet = true
    let looksLeft = looksInVain
    while (this.#running.size < this.#options.concurrency && !this.#stopping.signal.aborted) {
      const jobs = await this.#take(lease)
      for (const job of jobs) this.#start(job, lease)
      if (jobs.length > 0) isQuiet = false
      else if (!this.#claims.mustLookAgain || --looksLeft === 0) break
    }
    if (isQuiet) await sleep(clock, quietMs, this.#stopping.signal)
    return Math.max(0, Math.min(this.#promoteAt - clock.now(), restMs, this.#options.leaseMs / 3))
  }

  async #take(lease: Lease): Promise<FoundJob[]> {
    const free = this.#options.concurrency - this.#running.size
    try {
      return await this.#claims.take(free, lease)
    } catch (error) {
      this.#mayHaveMore = true
      throw error
    }
  }

  /** The worker's lease; a new one, under another id, when it was lost. */
  async #leased(): Promise<Lease> {
    if (this.#lease !== undefined && !this.#lease.signal.aborted) return this.#lease
    const leases = new Leases(this.#port)
    const { leaseMs: ttlMs } = this.#options
    const id = `${leasePrefix}${this.#port.clock.id()}`
    const lease = await leases.acquire(id, { ttlMs, waitMs: 0, signal: this.#stopping.signal })
    if (!(lease instanceof Lease))
      throw new UnderpinError('unavailable', 'The lease of a new worker could not be taken')
    lease.signal.addEventListener('abort', () => this.#loseJobs(), { once: true })
    this.#lease = lease
    return lease
  }

  /** The lease is gone: whoever has it now gives its jobs to others. */
  #loseJobs(): void {
    for (const { run } of this.#running.values()) run.lose()
    this.#alarm.ring()
  }

  /** Jobs that were taken by a commit whose outcome we were not told. */
  async #adopt(lease: Lease): Promise<void> {
    // One that ends while this looks is still among what is found.
    const known = new Set(this.#running.keys())
    for (const job of await this.#jobs('worker', lease)) {
      if (!known.has(job.id)) this.#start(job, lease)
    }
    this.#mayHaveMore = false
  }

  /** What hints may be about besides waiting jobs, not more often than every so many milliseconds. */
  async #look(lease: Lease): Promise<void> {
    const { clock } = this.#port
    const now = clock.monotonic()
    if (now - this.#lookedAt < lookMs && this.#promoteAt > clock.now()) {
      this.#promoteAt = Math.min(this.#promoteAt, clock.now() + lookMs)
      return
    }
    this.#lookedAt = now
    if (this.#running.size > 0) {
      for (const { id } of await this.#jobs('cancelling', lease)) this.#running.get(id)?.run.cancel()
    }
    this.#promoteAt = Math.min(await this.#fire(), await this.#upkeep.promote())
    if (now - this.#keptAt < this.#options.leaseMs / 3) return
    this.#keptAt = now
    // A commit whose outcome is unknown may be written later than we looked for it.
    await this.#adopt(lease)
    await this.#upkeep.reap(lease.id, this.#options.leaseMs)
    await this.#upkeep.repair()
    await this.#upkeep.sweep()
  }

  /** A schedule that cannot be read (croner is missing, say) holds up no jobs. */
  async #fire(): Promise<number> {
    try {
      return await this.#schedules.fire()
    } catch (error) {
      if (this.#isOver(error)) throw error
      this.#report(error)
      return this.#port.clock.now() + restMs
    }
  }

  #start(job: FoundJob, lease: Lease): void {
    const { name } = job.record
    const handler = this.#handlers[name]
    if (handler === undefined) throw new TypeError(`There is no handler for the job ${name}`)
    const run = new Run(job, {
      port: this.#port,
      lease,
      definition: this.#definitions[name] ?? {},
      handler: (context, data) => handler(data, context),
      graceMs: this.#options.graceMs,
      report: (error, jobId) => this.#report(error, jobId),
    })
    const over = run.go().then(() => {
      if (this.#running.get(job.id)?.run === run) this.#running.delete(job.id)
      this.#alarm.ring()
    })
    this.#running.set(job.id, { run, over })
  }

  /** Lets the running jobs end; those that do not in their time are aborted, and given back. */
  async #finishJobs(): Promise<void> {
    const { clock } = this.#port
    const all = Promise.all([...this.#running.values()].map(({ over }) => over))
    const ended = new AbortController()
    const patience = sleep(clock, this.#isClosed ? 0 : this.#options.stopMs, ended.signal)
    await Promise.race([all, patience])
    ended.abort()
    const reason = new UnderpinError('aborted', 'The worker was stopped')
    const ending = this.#isClosed ? ({ kind: 'lost' } as const) : ({ kind: 'given back' } as const)
    for (const { run } of this.#running.values()) run.end(ending, reason)
    await all
  }

  async #watch(): Promise<void> {
    const { signal } = this.#over
    while (!signal.aborted) {
      try {
        for await (const _hint of this.#port.watch(signal)) this.#alarm.ring()
        // A watch that ends by itself: the store was closed.
        if (!signal.aborted) this.#alarm.ring()
      } catch (error) {
        if (this.#isOver(error)) this.#stopping.abort()
        else this.#report(error)
      }
      await sleep(this.#port.clock, lookMs, signal)
    }
  }

  async #jobs(index: string, lease: Lease): Promise<FoundJob[]> {
    const { items } = await this.#port.scan({
      collection: jobsCollection,
      by: 'index',
      index,
      equals: [lease.id],
      backwards: false,
      limit: this.#port.limits.pageItems,
      after: null,
    })
    const now = this.#port.clock.now()
    return items.flatMap((document) => toFound(document, now) ?? [])
  }

  /** Whether the store was closed: then there is nothing left to do. */
  #isOver(error: unknown): boolean {
    this.#isClosed ||= isUnderpinError(error, 'closed')
    return this.#isClosed
  }

  #report(error: unknown, jobId?: string): void {
    if (isUnderpinError(error, 'closed')) return
    if (isUnderpinError(error, 'aborted') && this.#stopping.signal.aborted) return
    this.#options.onError(error, jobId)
  }
}

const defaults = {
  concurrency: 10,
  leaseMs: 30_000,
  stopMs: 30_000,
  graceMs: 5_000,
  onError: () => {},
} as const satisfies Omit<Required<WorkOptions>, 'signal'>
