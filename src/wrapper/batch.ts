/**
 * Group commit: commits that arrive while one group is in flight form the next group. One group is one transaction,
 * one round trip, one sync. A commit that waits in line can still be given up for certain; one in flight cannot.
 */
import type { Backend, CallOptions } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { Forward, isInMemory, type Wrapper } from './forward.ts'

export interface BatchOptions {
  readonly clock: Clock
  /** Milliseconds that a commit may wait in line. */
  readonly deadlineMs: number
  /** Commits in one group. */
  readonly groupCommits?: number
  /** Characters of JSON text in one group, beyond which no further commit joins it. */
  readonly groupSize?: number
}

/** The part of the deadline behind which a commit is not sent again: retries below end at nine tenths. */
const nearlyOver = 0.85

/** A backend that has nothing to sync and answers within the call gains nothing from groups: it is left as it is. */
export const batch =
  (options: BatchOptions): Wrapper =>
  (backend) =>
    isInMemory(backend) ? backend : new Batched(backend, options)

interface Waiting {
  readonly commits: readonly Commit[]
  readonly size: number
  readonly since: number
  readonly signal: AbortSignal | undefined
  state: 'waiting' | 'in flight' | 'settled'
  onAbort: (() => void) | undefined
  readonly resolve: (outcomes: readonly Outcome[]) => void
  readonly reject: (error: unknown) => void
}

class Batched extends Forward {
  readonly #options: Required<BatchOptions>
  readonly #lines = new Map<string, Line>()
  readonly #paces = new Map<string, Pace>()
  #isClosing = false

  constructor(inner: Backend, options: BatchOptions) {
    super(inner)
    this.#options = { groupCommits: 1_024, groupSize: 4_194_304, ...options }
  }

  override commit(
    domain: string,
    epoch: number,
    commits: readonly Commit[],
    options?: CallOptions,
  ): Promise<readonly Outcome[]> {
    if (this.#isClosing)
      return Promise.reject(new UnderpinError('closed', 'The store is being closed; nothing was written'))
    const name = `${domain}\0${epoch}`
    let line = this.#lines.get(name)
    if (line === undefined) {
      const send = (group: readonly Commit[], since: number) =>
        this.inner.commit(domain, epoch, group, { since })
      line = new Line(send, this.#options, this.#paceOf(domain), () => this.#lines.delete(name))
      this.#lines.set(name, line)
    }
    return line.join(commits, options)
  }

  #paceOf(domain: string): Pace {
    const known = this.#paces.get(domain)
    if (known !== undefined) return known
    const pace = { isShared: false, mustYield: this.supports.sync }
    this.#paces.set(domain, pace)
    return pace
  }

  override open(): Promise<void> {
    this.#isClosing = false
    return this.inner.open()
  }

  /** Finishes what was taken and takes nothing more, or callers that never rest would keep it open for ever. */
  override async close(): Promise<void> {
    this.#isClosing = true
    await Promise.all([...this.#lines.values()].map((line) => line.drain()))
    await this.inner.close()
  }
}

/** `since`: when the first of the group began to wait. */
type Send = (group: readonly Commit[], since: number) => Promise<readonly Outcome[]>

interface Pace {
  /** Whether the last group of the domain held the commits of several callers. */
  isShared: boolean
  /** The backend answers within the call: nothing but a turn of the event loop lets others run. */
  readonly mustYield: boolean
}

/** The commits of one domain under one epoch, in the order in which they came. */
class Line {
  readonly #send: Send
  readonly #options: Required<BatchOptions>
  readonly #pace: Pace
  readonly #onEmpty: () => void
  #waiting: Waiting[] = []
  #inFlight: readonly Waiting[] = []
  #isRunning = false
  #cancelTimer: (() => void) | undefined
  #drained: (() => void)[] = []

  constructor(send: Send, options: Required<BatchOptions>, pace: Pace, onEmpty: () => void) {
    this.#send = send
    this.#options = options
    this.#pace = pace
    this.#onEmpty = onEmpty
  }

  join(commits: readonly Commit[], options: CallOptions = {}): Promise<readonly Outcome[]> {
    const { signal } = options
    if (signal?.aborted) return Promise.reject(aborted(signal))
    return new Promise((resolve, reject) => {
      let size = 0
      for (const { writes } of commits)
        for (const write of writes) if (write.kind !== 'delete') size += write.data.length
      const entry: Waiting = {
        commits,
        size,
        since: options.since ?? this.#options.clock.monotonic(),
        signal,
        state: 'waiting',
        onAbort: undefined,
        resolve,
        reject,
      }
      if (signal !== undefined) {
        entry.onAbort = () => this.#abort(entry)
        signal.addEventListener('abort', entry.onAbort, { once: true })
      }
      this.#waiting.push(entry)
      if (!this.#isRunning) this.#run()
    })
  }

  /** Resolves when nothing waits and nothing is in flight. */
  drain(): Promise<void> {
    if (!this.#isRunning) return Promise.resolve()
    return new Promise((resolve) => this.#drained.push(resolve))
  }

  /**
   * Sends groups until nobody waits. Behind a group of several callers the next begins a turn of the event loop later,
   * so that those who were just answered can join; a lone caller waits only for what is called together with it. On a
   * backend that answers within the call every group begins a turn later, or a loop of commits would let nothing else run.
   */
  async #run(): Promise<void> {
    this.#isRunning = true
    this.#watchDeadline()
    while (this.#waiting.length > 0) {
      await new Promise<void>((resolve) =>
        this.#pace.isShared || this.#pace.mustYield ? setImmediate(resolve) : process.nextTick(resolve),
      )
      const group = this.#takeGroup()
      this.#pace.isShared = group.length > 1
      await this.#sendGroup(group)
    }
    this.#isRunning = false
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#onEmpty()
    for (const resolve of this.#drained.splice(0)) resolve()
  }

  #takeGroup(): Waiting[] {
    const { groupCommits, groupSize } = this.#options
    let count = 0
    let size = 0
    let taken = 0
    for (const entry of this.#waiting) {
      if (entry.state === 'waiting') {
        if (taken > 0 && (count + entry.commits.length > groupCommits || size + entry.size > groupSize)) break
        count += entry.commits.length
        size += entry.size
      }
      taken++
    }
    const group = this.#waiting.splice(0, taken).filter(({ state }) => state === 'waiting')
    for (const entry of group) entry.state = 'in flight'
    return group
  }

  async #sendGroup(group: readonly Waiting[]): Promise<void> {
    const [first] = group
    if (first === undefined) return
    this.#inFlight = group
    try {
      const commits = group.length === 1 ? first.commits : group.flatMap(({ commits }) => commits)
      const outcomes = await this.#send(commits, first.since)
      let from = 0
      for (const entry of group) {
        const to = from + entry.commits.length
        settle(entry, () => entry.resolve(outcomes.slice(from, to)))
        from = to
      }
    } catch (error) {
      const again = isUnderpinError(error, 'unavailable') ? this.#withTimeLeft(group) : []
      for (const entry of group) if (!again.includes(entry)) settle(entry, () => entry.reject(error))
      for (const entry of again) entry.state = 'waiting'
      this.#waiting.unshift(...again)
    }
  }

  /** Nothing was written, and it was tried for as long as the first of the group could wait: others can wait longer. */
  #withTimeLeft(group: readonly Waiting[]): readonly Waiting[] {
    const isOld = ({ since }: Waiting) =>
      this.#options.clock.monotonic() - since > this.#options.deadlineMs * nearlyOver
    if (group[0] === undefined || !isOld(group[0])) return []
    return group.filter((entry) => entry.state === 'in flight' && !isOld(entry))
  }

  #abort(entry: Waiting): void {
    const cause = entry.signal?.reason
    if (entry.state === 'waiting') settle(entry, () => entry.reject(aborted(entry.signal)))
    else if (entry.state === 'in flight') settle(entry, () => entry.reject(givenUp('was aborted', cause)))
  }

  /** One timer for the line: the deadline is the same for all, so the first in line is the first to reach it. */
  #watchDeadline(): void {
    const { clock, deadlineMs } = this.#options
    this.#cancelTimer = clock.timer(deadlineMs / 10, () => {
      const isOver = ({ since }: Waiting) => clock.monotonic() - since >= deadlineMs
      for (const entry of this.#inFlight)
        if (isOver(entry)) settle(entry, () => entry.reject(givenUp(`took longer than ${deadlineMs} ms`)))
      for (const entry of this.#waiting) {
        if (!isOver(entry)) break
        const error = new UnderpinError(
          'timeout',
          `The commit waited ${deadlineMs} ms for its turn; nothing was written`,
        )
        settle(entry, () => entry.reject(error))
      }
      if (this.#isRunning) this.#watchDeadline()
    })
  }
}

/** A commit in flight that nobody waits for any more. */
function givenUp(what: string, cause?: unknown): UnderpinError {
  return new UnderpinError('unknown', `The call ${what} while its commit was in flight`, {
    hint: 'The commit may be applied. Give commits an id and retry them to find out.',
    ...(cause === undefined ? {} : { cause }),
  })
}

function settle(entry: Waiting, answer: () => void): void {
  if (entry.state === 'settled') return
  entry.state = 'settled'
  if (entry.onAbort !== undefined) entry.signal?.removeEventListener('abort', entry.onAbort)
  answer()
}

function aborted(signal: AbortSignal | undefined): UnderpinError {
  return new UnderpinError('aborted', 'The call was aborted; nothing was written', { cause: signal?.reason })
}
