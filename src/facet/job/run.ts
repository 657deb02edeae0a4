/**
 * One attempt at a job: its handler, its progress, and how it ends. Whatever is written of it depends on the job's
 * revision and on the worker's lease, so an attempt that was cancelled, taken over or woken too late writes nothing.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import { quote } from '../../model/key.ts'
import { fitText } from '../fit-text.ts'
import { ForwardPort } from '../forward-port.ts'
import { type Lease, lostLease } from '../lease.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { type Collections, type Transaction, type TransactionOptions, transact } from '../transaction.ts'
import { type JobDefinition, retryDelay } from './definition.ts'
import { Lanes } from './lane.ts'
import { type FoundJob, type JobRecord, jobsCollection, putJob, toFound, unchanged } from './record.ts'
import { cancelled, completed, failed, givenBack, toJobError } from './transition.ts'

/** What a handler is given besides the data. */
export interface JobContext<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  readonly id: string
  readonly name: string
  /** Counts from 1. With the id it names this attempt: an idempotency key for other systems. */
  readonly attempt: number
  readonly attempts: number
  readonly group: string | undefined
  readonly enqueuedAt: number
  /** Aborts when the job is cancelled, takes too long, was lost to another worker, or the worker must stop now. */
  readonly signal: AbortSignal
  /** Says how far it is. Written at most every half second, without being waited for; 1,000 characters of a note. */
  progress(value: number, note?: string): void
  /**
   * Commits what `work` asks for together with the completion of the job, whose result is what `work` returns: the
   * effects are there exactly once, whatever dies when. The last thing that a handler does.
   */
  transaction<R>(
    work: (transaction: Transaction<E, C>) => R | Promise<R>,
    options?: Omit<TransactionOptions, 'id'>,
  ): Promise<R>
}

export interface RunOptions {
  readonly port: Port
  readonly lease: Lease
  // biome-ignore lint/suspicious/noExplicitAny: a job of any types.
  readonly definition: JobDefinition<any, any>
  readonly handler: (context: JobContext, data: unknown) => unknown
  /** Milliseconds that a handler may go on after its signal aborted. */
  readonly graceMs: number
  readonly report: (error: unknown, jobId: string) => void
}

type Ending =
  | { readonly kind: 'completed'; readonly result: unknown }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'given back' }
  | { readonly kind: 'lost' }

const defaultKeepMs = 86_400_000
const progressMs = 500
const noteCharacters = 1_000

export class Run {
  readonly #options: RunOptions
  readonly #abort = new AbortController()
  #job: FoundJob
  /** What it ends as when its handler is no longer waited for. */
  #forced: Ending | undefined
  #isCompleted = false
  #writing: Promise<unknown> = Promise.resolve()
  #progress: JobRecord['progress']
  #isProgressDue = false
  #cancelProgress = () => {}
  #wroteProgressAt = Number.NEGATIVE_INFINITY

  constructor(job: FoundJob, options: RunOptions) {
    this.#job = job
    this.#options = options
  }

  get id(): string {
    return this.#job.id
  }

  /** Runs the handler and writes how it ended. Never rejects. */
  async go(): Promise<void> {
    const { port, lease, definition } = this.#options
    if (lease.signal.aborted) this.lose()
    const cancelTimer =
      definition.timeoutMs === undefined
        ? () => {}
        : port.clock.timer(definition.timeoutMs, () => this.#timeOut(definition.timeoutMs as number))
    try {
      const ending = await this.#handle()
      cancelTimer()
      this.#cancelProgress()
      await this.#writing
      if (!this.#isCompleted) await this.#settle(this.#endingOf(ending))
      if (this.#job.record.group !== undefined) await new Lanes(port).advance(this.#job.record)
    } catch (error) {
      this.#options.report(error, this.id)
    } finally {
      cancelTimer()
      this.#cancelProgress()
    }
  }

  /** The worker's lease was lost, and with it the job. */
  lose(): void {
    this.end({ kind: 'lost' }, this.#options.lease.signal.reason)
  }

  /** The job is marked as to be cancelled. */
  cancel(): void {
    const reason = new UnderpinError('aborted', `Job ${quote(this.id)} was cancelled`)
    this.end({ kind: 'cancelled' }, reason)
  }

  /** Aborts the handler; however it ends then, the job ends so. */
  end(ending: Ending, reason: unknown): void {
    if (this.#forced !== undefined) return
    this.#forced = ending
    this.#abort.abort(reason)
  }

  #timeOut(ms: number): void {
    const error = new UnderpinError('timeout', `Job ${quote(this.id)} took longer than ${ms} ms`)
    this.end({ kind: 'failed', error }, error)
  }

  /** What the handler came to; when its signal aborted, it is waited for only a while longer. */
  async #handle(): Promise<Ending> {
    const { port, handler, graceMs } = this.#options
    const handled = (async () => handler(this.#context(), this.#job.record.data))().then(
      (result): Ending => ({ kind: 'completed', result }),
      (error: unknown): Ending => ({ kind: 'failed', error }),
    )
    const over = new AbortController()
    const givenUp = new Promise<Ending>((resolve) => {
      const giveUp = () =>
        void sleep(port.clock, graceMs, over.signal).then(() => resolve(this.#forced ?? { kind: 'lost' }))
      this.#abort.signal.addEventListener('abort', giveUp, { once: true })
      if (this.#abort.signal.aborted) giveUp()
    })
    const ending = await Promise.race([handled, givenUp])
    over.abort()
    if (this.#isCompleted && ending.kind === 'failed') this.#options.report(ending.error, this.id)
    return ending
  }

  /** How it ends when it was aborted: what was done all the same while the worker stopped need not be done again. */
  #endingOf(ending: Ending): Ending {
    if (this.#forced?.kind === 'given back' && ending.kind === 'completed') return ending
    return this.#forced ?? ending
  }

  #context(): JobContext {
    const { id, record } = this.#job
    return {
      id,
      name: record.name,
      attempt: record.attempt,
      attempts: record.attempts,
      group: record.group,
      enqueuedAt: record.enqueuedAt,
      signal: this.#abort.signal,
      progress: (value, note) => this.#noteProgress(value, note),
      transaction: (work, options) => this.#transaction(work, options),
    }
  }

  #noteProgress(value: number, note?: string): void {
    if (!Number.isFinite(value)) throw new TypeError(`Progress must be a number, not ${quote(value)}`)
    this.#progress = { value: value + 0, note: note === undefined ? null : fitText(note, noteCharacters) }
    if (this.#isProgressDue || this.#isCompleted || this.#forced !== undefined) return
    this.#isProgressDue = true
    const { clock } = this.#options.port
    const waitMs = Math.max(0, this.#wroteProgressAt + progressMs - clock.monotonic())
    this.#cancelProgress = clock.timer(waitMs, () => {
      this.#writing = this.#writing.then(() => this.#writeProgress())
    })
  }

  async #writeProgress(): Promise<void> {
    this.#isProgressDue = false
    if (this.#isCompleted || this.#forced !== undefined) return
    this.#wroteProgressAt = this.#options.port.clock.monotonic()
    try {
      await this.#commitJob([putJob(this.id, this.#withProgress())])
    } catch (error) {
      this.#options.report(error, this.id)
    }
  }

  #withProgress(): JobRecord {
    const { record } = this.#job
    return this.#progress === undefined ? record : { ...record, progress: this.#progress }
  }

  /** Commits a write of the job; false if somebody changed it meanwhile, which is looked into. */
  async #commitJob(writes: readonly Write[]): Promise<boolean> {
    const { port, lease } = this.#options
    const checks = [unchanged(this.#job), lease.check]
    const outcome = await port.commit({ at: port.clock.now(), writes, checks })
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'committed') {
      this.#job = { ...this.#job, revision: outcome.positions[0] as number }
      return true
    }
    if (!lease.isRefused(outcome)) await this.#lookAgain()
    return false
  }

  /** Somebody changed the job: to cancel it, or because it is no longer ours. */
  async #lookAgain(): Promise<void> {
    const { port, lease } = this.#options
    const { documents } = await port.get([{ collection: jobsCollection, id: this.id }])
    const found = toFound(documents[0], port.clock.now())
    const { worker, state, attempt, isCancelling } = found?.record ?? {}
    const isOurs = worker === lease.id && state === 'running' && attempt === this.#job.record.attempt
    if (found === undefined || !isOurs) return this.end({ kind: 'lost' }, lostJob(this.id))
    this.#job = found
    if (isCancelling) this.cancel()
  }

  /** Writes the ending, again while the store cannot be reached and the lease lasts. */
  async #settle(ending: Ending): Promise<void> {
    const { port, lease, report } = this.#options
    for (
      let [current, delayMs] = [ending, 10];
      current.kind !== 'lost';
      delayMs = Math.min(1_000, delayMs * 2)
    ) {
      if (lease.signal.aborted) return
      try {
        if (await this.#commitJob([this.#endWrite(current)])) return
        current = this.#forced ?? current
      } catch (error) {
        if (isUnderpinError(error, 'closed')) return
        report(error, this.id)
        if (current.kind === 'completed' && isOfValue(error)) current = { kind: 'failed', error }
        else await sleep(port.clock, delayMs * (0.5 + port.clock.random()), lease.signal)
      }
    }
  }

  #endWrite(ending: Exclude<Ending, { kind: 'lost' }>): Write {
    const { port, definition } = this.#options
    const record = this.#withProgress()
    const now = port.clock.now()
    // Whatever else it was about to end as: somebody was told that it is cancelled.
    if (record.isCancelling && ending.kind !== 'completed') return this.#finish(cancelled(record, now))
    switch (ending.kind) {
      case 'completed':
        return this.#finish(completed(record, ending.result, now))
      case 'cancelled':
        return this.#finish(cancelled(record, now))
      case 'given back':
        return putJob(this.id, givenBack(record))
      case 'failed': {
        const error = toJobError(ending.error, record.attempt)
        const delayMs = retryDelay(definition.retry, record.attempt, port.clock.random())
        return this.#finish(failed(record, error, now, delayMs))
      }
    }
  }

  /** A finished job expires after its time of retention. */
  #finish(record: JobRecord): Write {
    const { port, definition } = this.#options
    return retainedWrite(this.id, record, definition, port.clock.now())
  }

  async #transaction<R>(
    work: (transaction: Transaction) => R | Promise<R>,
    options: Omit<TransactionOptions, 'id'> = {},
  ): Promise<R> {
    if (this.#isCompleted) throw new TypeError('This job was completed by its transaction already')
    const made: { value?: R } = {}
    const port = new CompletingPort(this.#options.port, (commit, call) =>
      this.#completeBy(commit, made.value, call),
    )
    await transact(
      port,
      async (transaction: Transaction) => {
        made.value = await work(transaction)
      },
      options,
    )
    return made.value as R
  }

  /** The commit of a handler's transaction, with the completion of the job as its last write. */
  async #completeBy(commit: Commit, result: unknown, options?: CallOptions): Promise<Outcome> {
    const { port, lease } = this.#options
    await this.#writing
    if (this.#isCompleted) throw new TypeError('This job was completed by its transaction already')
    if (this.#forced !== undefined) throw this.#abort.signal.reason
    const writes = [...commit.writes, this.#endWrite({ kind: 'completed', result })]
    const checks = [...commit.checks, unchanged(this.#job), lease.check]
    const committing = port.commit({ ...commit, writes, checks }, options)
    this.#writing = Promise.allSettled([committing])
    const outcome = await committing
    if (outcome.kind === 'committed') {
      this.#isCompleted = true
      return { ...outcome, positions: outcome.positions.slice(0, -1) }
    }
    if (lease.isRefused(outcome)) throw lostLease(lease.id)
    if (!isOfJob(outcome, this.id)) return outcome
    await this.#lookAgain()
    if (this.#forced !== undefined) throw this.#abort.signal.reason
    // It is ours still: what changed it was a progress that we had taken for lost.
    return this.#completeBy(commit, result, options)
  }
}

/** The write of a job that may be finished: with its expiry then, or as a delete. */
export function retainedWrite(
  id: string,
  record: JobRecord,
  { keepMs = defaultKeepMs, keepDeadMs }: RunOptions['definition'],
  now: number,
): Write {
  if (record.finishedAt === undefined) return putJob(id, record)
  const forMs = record.state === 'dead' ? keepDeadMs : keepMs
  if (forMs === 0) return { kind: 'delete', collection: jobsCollection, id }
  const expiresAt = forMs === undefined ? null : Math.min(Math.floor(now + forMs), Number.MAX_SAFE_INTEGER)
  return putJob(id, record, expiresAt)
}

function isOfJob(outcome: Outcome, id: string): boolean {
  if (outcome.kind !== 'failed') return false
  return outcome.failed.some(
    (check) => check.kind === 'document' && check.collection === jobsCollection && check.id === id,
  )
}

/** Whether the store will never take a value, however often it is tried. */
function isOfValue(error: unknown): boolean {
  return isUnderpinError(error, 'invalid') || isUnderpinError(error, 'too-large')
}

function lostJob(id: string): UnderpinError {
  return new UnderpinError('lost-lease', `Job ${quote(id)} is somebody else's by now, or finished`, {
    hint: 'Nothing of this attempt was written.',
    details: { id },
  })
}

class CompletingPort extends ForwardPort {
  readonly #commit: (commit: Commit, options?: CallOptions) => Promise<Outcome>

  constructor(inner: Port, commit: (commit: Commit, options?: CallOptions) => Promise<Outcome>) {
    super(inner)
    this.#commit = commit
  }

  override commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    return this.#commit(commit, options)
  }

  protected override around(inner: Port): Port {
    return new CompletingPort(inner, this.#commit)
  }
}
