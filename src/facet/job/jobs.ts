/** The jobs facet: durable work, enqueued in the commit that causes it, done by workers in any number of processes. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import { quote } from '../../model/key.ts'
import type { Cursor, Query } from '../../model/page.ts'
import type { Port } from '../port.ts'
import { parseWith } from '../schema.ts'
import type { NewEvent } from '../shape.ts'
import type { Collections } from '../transaction.ts'
import { attemptsOf, type DataOf, defineJobs, type JobDefinitions, type ResultOf } from './definition.ts'
import { Lanes } from './lane.ts'
import {
  enqueueWrite,
  type FoundJob,
  type JobInfo,
  type JobRecord,
  type JobState,
  jobCollections,
  jobStates,
  jobsCollection,
  putJob,
  toFound,
  toInfo,
  unchanged,
} from './record.ts'
import { type JobContext, retainedWrite } from './run.ts'
import { type ScheduleInfo, type ScheduleOptions, Schedules } from './schedule.ts'
import { cancelled, replayed, waitingFrom } from './transition.ts'
import { type Handlers, Worker, type WorkOptions } from './worker.ts'

export interface EnqueueOptions {
  /** Milliseconds since 1970 before which it does not run. */
  readonly runAt?: number
  /** Milliseconds from now before which it does not run. */
  readonly delayMs?: number
  /** Higher comes first; 0 if left out. Those of one priority run in the order in which they were enqueued. */
  readonly priority?: number
  /** Jobs of one group run one at a time, in the order in which they were enqueued, whatever their priority. */
  readonly group?: string
  /** Nothing is enqueued while an unfinished job of this name has the same key. */
  readonly dedupe?: string
}

/** A job that was enqueued, or the unfinished one that has its dedupe key. */
export interface Enqueued {
  readonly id: string
  readonly isDuplicate: boolean
}

export interface JobListOptions {
  readonly state?: JobState
  /** Only jobs of this name; needs `state`. */
  readonly name?: string
  readonly backwards?: boolean
  /** At most so many; 100 if left out. */
  readonly limit?: number
  readonly cursor?: Cursor
}

export interface JobPage {
  readonly jobs: readonly JobInfo[]
  /** Where the next page begins; undefined at the end. */
  readonly cursor: Cursor | undefined
}

/** How many jobs of a name are in each state. */
export type JobCounts = Readonly<Record<JobState, number>>

/** Handlers by the names of jobs: what they return is the job's result, what they throw makes the attempt fail. */
export type HandlersOf<D extends JobDefinitions, E extends NewEvent, C extends Collections> = {
  readonly [N in keyof D & string]?: (
    data: DataOf<D[N]>,
    context: JobContext<E, C>,
  ) => ResultOf<D[N]> | Promise<ResultOf<D[N]>>
}

/** What the write of a job is made from. */
interface MakeOptions extends Omit<EnqueueOptions, 'group'> {
  readonly group?: string | undefined
  readonly attempts: number
}

/** A job that is ready to be written. */
export interface NewJob {
  readonly id: string
  readonly write: Write
}

export class Jobs<
  D extends JobDefinitions = JobDefinitions,
  E extends NewEvent = NewEvent,
  C extends Collections = Collections,
> {
  /** What it was made of: by it, `transaction.enqueue` knows the names and data of the jobs. */
  readonly definitions: D
  readonly #port: Port
  readonly #schedules: Schedules
  readonly #lanes: Lanes
  #lastOrder = 0

  /** Where the jobs are: what enqueues them in a commit of its own has to be of the same domain. */
  readonly domain: string

  /** Made by `domain.jobs`. */
  constructor(port: Port, definitions: D) {
    this.definitions = defineJobs(definitions)
    this.#port = port
    this.domain = port.domain
    this.#lanes = new Lanes(port)
    this.#schedules = new Schedules(port, (name, data, options) => this.#make(name, data, options).write)
  }

  /**
   * Enqueues a job in a commit of its own; `transaction.enqueue` does it in the commit of other changes. `invalid` if
   * the data does not fit its schema or the job is not declared.
   */
  async enqueue<N extends keyof D & string>(
    name: N,
    data: DataOf<D[N]>,
    options: EnqueueOptions & CallOptions = {},
  ): Promise<Enqueued> {
    const { id, write } = await this.prepare(name, data, options)
    for (;;) {
      const found = await this.findLive(this.#port, name, options)
      if (found !== undefined) return { id: found.id, isDuplicate: true }
      if (await this.#enqueue(id, write, options)) return { id, isDuplicate: false }
    }
  }

  /** False if another job has the dedupe key. The id is new, so a job that is there already is this one. */
  async #enqueue(id: string, write: Write, options: CallOptions): Promise<boolean> {
    const absent = { kind: 'document', collection: jobsCollection, id, expect: 'absent' } as const
    const commit: Commit = { at: this.#port.clock.now(), writes: [write], checks: [absent] }
    let outcome: Outcome
    try {
      outcome = await this.#port.commit(commit, options)
    } catch (error) {
      if (!isUnderpinError(error, 'unknown') || options.signal?.aborted) throw error
      outcome = await this.#port.commit(commit, options)
    }
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed' || outcome.failed.some(({ kind }) => kind === 'document')
  }

  /** Validates a job and makes its write: what `transaction.enqueue` commits. */
  async prepare(name: string, data: unknown, options: EnqueueOptions): Promise<NewJob> {
    const definition = this.#definition(name)
    await this.#port.ensure(jobCollections)
    const parsed = await parseWith(definition.schema, data, `The data of job ${quote(name)}`)
    return this.#make(name, parsed, { ...options, attempts: attemptsOf(definition) })
  }

  /** The unfinished job that has the dedupe key of a new one. */
  async findLive(
    port: Port,
    name: string,
    { dedupe, signal }: EnqueueOptions & CallOptions,
  ): Promise<FoundJob | undefined> {
    if (dedupe === undefined) return undefined
    const { items } = await port.scan(
      indexQuery('dedupe', [name, dedupe], { limit: 1 }),
      signal && { signal },
    )
    return toFound(items[0], port.clock.now())
  }

  /**
   * Starts a worker for the jobs that handlers are given for. At least once: a job whose worker dies is run again by
   * another one. What a handler commits by `context.transaction` is there exactly once.
   */
  async work(handlers: HandlersOf<D, E, C>, options: WorkOptions = {}): Promise<Worker> {
    const names = Object.keys(handlers)
    if (names.length === 0) throw new TypeError('A worker needs a handler')
    for (const name of names) {
      this.#definition(name)
      if (typeof handlers[name] !== 'function')
        throw new TypeError(`The handler of job ${quote(name)} must be a function`)
    }
    checkWorkOptions(options)
    await this.#port.ensure(jobCollections)
    return new Worker(this.#port, this.definitions, this.#schedules, handlers as unknown as Handlers, options)
  }

  /** The job as it is now; undefined if there is none, or no longer. */
  async get<N extends keyof D & string>(
    id: string,
    options?: CallOptions,
  ): Promise<JobInfo<DataOf<D[N]>, ResultOf<D[N]>> | undefined> {
    const found = await this.#find(id, options)
    return found === undefined ? undefined : toInfo(found)
  }

  /** Waits until a job is finished: completed, cancelled or dead; undefined if there is none, or it is not kept. */
  async finished<N extends keyof D & string>(
    id: string,
    { signal = new AbortController().signal }: CallOptions = {},
  ): Promise<JobInfo<DataOf<D[N]>, ResultOf<D[N]>> | undefined> {
    for await (const _hint of this.#port.watch(signal)) {
      const found = await this.#find(id, { signal })
      if (found === undefined) return undefined
      if (found.record.finishedAt !== undefined) return toInfo(found)
    }
    throw new UnderpinError(signal.aborted ? 'aborted' : 'closed', `Waiting for job ${quote(id)} was ended`, {
      cause: signal.reason,
    })
  }

  /** One page of jobs: in the order in which they were enqueued, or, of one state, by name and in the order of their turn. */
  async list(options: JobListOptions & CallOptions = {}): Promise<JobPage> {
    await this.#port.ensure(jobCollections)
    const page = await this.#port.scan(toListQuery(options), options)
    const now = this.#port.clock.now()
    const jobs = page.items.flatMap((document) => toFound(document, now) ?? [])
    return { jobs: jobs.map((job) => toInfo(job)), cursor: page.next ?? undefined }
  }

  /**
   * Cancels a job: one that waits at once, one that runs by its handler's signal; then it is cancelled when the handler
   * has ended. What the handler had not committed by then is not committed. False if the job is finished, or unknown.
   */
  async cancel(id: string, options: CallOptions = {}): Promise<boolean> {
    const job = await this.#change(id, options, ({ record }) => {
      if (record.finishedAt !== undefined) return undefined
      const now = this.#port.clock.now()
      if (record.state === 'running') return putJob(id, { ...record, isCancelling: true })
      return retainedWrite(id, cancelled(record, now), this.definitions[record.name] ?? {}, now)
    })
    if (job !== undefined && job.record.state !== 'running') await this.#lanes.advance(job.record)
    return job !== undefined
  }

  /** Runs a finished job again, from the dead letter or not, with all its attempts. False if it is not finished, or unknown. */
  async replay(id: string, options: CallOptions = {}): Promise<boolean> {
    const job = await this.#change(id, options, ({ record }) => {
      if (record.finishedAt === undefined) return undefined
      return putJob(id, replayed(record, this.#order(), this.#port.clock.now()))
    })
    return job !== undefined
  }

  /**
   * Enqueues a job whenever a cron expression says so (five fields, or six with seconds): one for each time, over any
   * number of processes that work. To be called at every start; what is so already stays as it is. Needs the package
   * `croner` (`driver-missing`), here and where jobs are worked on; `invalid` for what it cannot read.
   */
  async schedule<N extends keyof D & string>(
    name: N,
    cron: string,
    data: DataOf<D[N]>,
    options: ScheduleOptions = {},
  ): Promise<ScheduleInfo> {
    const { priority, group } = options
    const definition = this.#definition(name)
    const parsed = await parseWith(definition.schema, data, `The data of job ${quote(name)}`)
    const attempts = attemptsOf(definition)
    // Refuses now what would be refused when it is due.
    this.#make(name, parsed, { ...(priority === undefined ? {} : { priority }), group, attempts })
    await this.#port.ensure(jobCollections)
    return this.#schedules.set({ name, cron, data: parsed, attempts }, options)
  }

  /** Ends a schedule, by its key; false if there is none. Jobs that it enqueued stay. */
  async unschedule(key: string): Promise<boolean> {
    await this.#port.ensure(jobCollections)
    return this.#schedules.remove(key)
  }

  async schedules(): Promise<readonly ScheduleInfo[]> {
    await this.#port.ensure(jobCollections)
    return this.#schedules.list()
  }

  /** How many jobs of each name are in each state. Counts by reading: its cost grows with the number of jobs that are kept. */
  async stats(options: CallOptions = {}): Promise<Readonly<Record<string, JobCounts>>> {
    await this.#port.ensure(jobCollections)
    const none = Object.fromEntries(jobStates.map((state) => [state, 0])) as JobCounts
    const counts: Record<string, Record<JobState, number>> = {}
    for (let cursor: Cursor | undefined, isDone = false; !isDone; ) {
      const page: JobPage = await this.list({ ...options, limit: 1_000, ...(cursor && { cursor }) })
      for (const { name, state } of page.jobs) {
        counts[name] ??= { ...none }
        counts[name][state]++
      }
      cursor = page.cursor
      isDone = cursor === undefined
    }
    return counts
  }

  /** Puts what `change` makes of the job, again if it was changed meanwhile; the job before that, or undefined if nothing was to do. */
  async #change(
    id: string,
    options: CallOptions,
    change: (job: FoundJob) => Write | undefined,
  ): Promise<FoundJob | undefined> {
    await this.#port.ensure(jobCollections)
    for (;;) {
      const found = await this.#find(id, options)
      const write = found === undefined ? undefined : change(found)
      if (found === undefined || write === undefined) return undefined
      const commit = { at: this.#port.clock.now(), writes: [write], checks: [unchanged(found)] }
      const outcome = await this.#port.commit(commit, options)
      if (outcome.kind === 'refused') throw outcome.error
      if (outcome.kind === 'committed') return found
    }
  }

  async #find(id: string, options?: CallOptions): Promise<FoundJob | undefined> {
    await this.#port.ensure(jobCollections)
    const { documents } = await this.#port.get([{ collection: jobsCollection, id }], options)
    return toFound(documents[0], this.#port.clock.now())
  }

  #make(name: string, data: unknown, options: MakeOptions): NewJob {
    const { priority = 0, group, dedupe, attempts } = options
    const now = this.#port.clock.now()
    const order = this.#order()
    const record: JobRecord = {
      name,
      data,
      rank: 0 - checkFinite(priority, 'priority'),
      order,
      enqueuedAt: now,
      attempt: 0,
      attempts,
      ...waitingFrom(runAtOf(options, now), now),
      ...(group === undefined ? {} : { group, inLane: true }),
      ...(dedupe === undefined ? {} : { dedupe, isDeduped: true }),
    }
    const id = `${order.toString(36).padStart(11, '0')}-${this.#port.clock.id().slice(-12)}`
    return { id, write: enqueueWrite(id, record, this.#port.limits) }
  }

  /** Higher each time; later processes begin higher. */
  #order(): number {
    this.#lastOrder = Math.max(this.#lastOrder + 1, Math.floor(this.#port.clock.now()) * 1_000)
    return this.#lastOrder
  }

  #definition(name: string): JobDefinitions[string] {
    const definition = Object.hasOwn(this.definitions, name) ? this.definitions[name] : undefined
    if (definition !== undefined) return definition
    throw new UnderpinError('invalid', `The job ${quote(name)} is not declared`, {
      hint: 'Declare it where the jobs are made: domain.jobs({ … }).',
      details: { declared: Object.keys(this.definitions) },
    })
  }
}

function runAtOf({ runAt, delayMs }: Pick<EnqueueOptions, 'runAt' | 'delayMs'>, now: number): number {
  if (runAt !== undefined && delayMs !== undefined)
    throw new UnderpinError('invalid', 'A job has a runAt or a delayMs, not both')
  if (runAt !== undefined) return checkFinite(runAt, 'runAt')
  return now + Math.max(0, checkFinite(delayMs ?? 0, 'delayMs'))
}

function checkFinite(value: number, what: string): number {
  if (Number.isFinite(value)) return value + 0
  throw new UnderpinError('invalid', `The ${what} of a job must be a number, not ${quote(value)}`)
}

function checkWorkOptions(options: WorkOptions): void {
  for (const name of ['concurrency', 'leaseMs'] as const) checkLeast(name, options[name], 1)
  for (const name of ['stopMs', 'graceMs'] as const) checkLeast(name, options[name], 0)
}

function checkLeast(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return
  throw new UnderpinError('invalid', `The ${name} of a worker cannot be ${quote(value)}`, {
    hint: `Give a whole number from ${least} on.`,
  })
}

function toListQuery({ state, name, backwards = false, limit = 100, cursor }: JobListOptions): Query {
  if (state !== undefined && !jobStates.includes(state))
    throw new UnderpinError('invalid', `There is no state of jobs ${quote(state)}`, {
      hint: `Give one of ${jobStates.join(', ')}.`,
    })
  const common = { backwards, limit, after: cursor ?? null }
  if (state !== undefined)
    return { ...indexQuery('queue', name === undefined ? [state] : [state, name], { limit }), ...common }
  if (name === undefined) return { ...common, collection: jobsCollection, by: 'id', prefix: '' }
  throw new UnderpinError('invalid', 'A list of jobs by name needs a state too')
}

function indexQuery(index: string, equals: readonly string[], { limit }: { readonly limit: number }) {
  return {
    collection: jobsCollection,
    by: 'index',
    index,
    equals,
    backwards: false,
    limit,
    after: null,
  } as const satisfies Query
}
