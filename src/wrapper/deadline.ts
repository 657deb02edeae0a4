/** Ends every call within its deadline: a read with `timeout`, a commit in flight with `unknown`. */
import type { Backend, CallOptions } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import { Forward, type Wrapper } from './forward.ts'

export interface DeadlineOptions {
  readonly clock: Clock
  /** Milliseconds that a call may take. */
  readonly deadlineMs: number
}

/** A backend that does its work within the call is left as it is: nothing could end the call earlier. */
export const deadline =
  (options: DeadlineOptions): Wrapper =>
  (backend) =>
    backend.supports.sync ? backend : new Deadlined(backend, new Calls(options.clock, options.deadlineMs))

class Deadlined extends Forward {
  readonly #calls: Calls
  readonly #isWithin: boolean

  constructor(inner: Backend, calls: Calls, isWithin = false) {
    super(inner)
    this.#calls = calls
    this.#isWithin = isWithin
  }

  /** Its calls are among those that closing ends. */
  override within(client: unknown): Backend {
    return new Deadlined(this.inner.within(client), this.#calls, true)
  }

  override domains(options?: CallOptions) {
    return this.#run('domains', options, (signal) => this.inner.domains(signal))
  }

  override fence(domain: string, options?: CallOptions) {
    return this.#run('fence', options, (signal) => this.inner.fence(domain, signal))
  }

  override commit(...[domain, epoch, commits, options]: Parameters<Backend['commit']>) {
    return this.#run('commit', options, (signal) => this.inner.commit(domain, epoch, commits, signal))
  }

  override read(...[domain, stream, range, options]: Parameters<Backend['read']>) {
    return this.#run('read', options, (signal) => this.inner.read(domain, stream, range, signal))
  }

  override get(...[domain, keys, options]: Parameters<Backend['get']>) {
    return this.#run('get', options, (signal) => this.inner.get(domain, keys, signal))
  }

  override scan(...[domain, query, options]: Parameters<Backend['scan']>) {
    return this.#run('scan', options, (signal) => this.inner.scan(domain, query, signal))
  }

  override changes(...[domain, after, limit, options]: Parameters<Backend['changes']>) {
    return this.#run('changes', options, (signal) => this.inner.changes(domain, after, limit, signal))
  }

  override apply(...[domain, epoch, page, options]: Parameters<Backend['apply']>) {
    return this.#run('apply', options, (signal) => this.inner.apply(domain, epoch, page, signal))
  }

  override transition(...[domain, from, to, options]: Parameters<Backend['transition']>) {
    return this.#run('transition', options, (signal) => this.inner.transition(domain, from, to, signal))
  }

  /** Inside a caller's transaction a call that was ended must send nothing more: the transaction may be over. */
  #run<T>(
    verb: string,
    options: CallOptions | undefined,
    start: (options: CallOptions | undefined) => Promise<T>,
  ): Promise<T> {
    if (!this.#isWithin) return this.#calls.run(verb, options, start)
    const over = new AbortController()
    const call = this.#calls.run(verb, options, () => start({ ...options, signal: over.signal }))
    return call.catch((error) => {
      over.abort(error)
      throw error
    })
  }

  override async close(): Promise<void> {
    await this.inner.close()
    this.#calls.endAll()
  }
}

interface Call {
  readonly verb: string
  readonly since: number
  readonly end: (error: UnderpinError) => void
}

/** The calls under way, the oldest first, with one timer for all of them. */
class Calls {
  readonly #clock: Clock
  readonly #deadlineMs: number
  readonly #pending = new Set<Call>()
  #stopTicking: (() => void) | undefined

  constructor(clock: Clock, deadlineMs: number) {
    this.#clock = clock
    this.#deadlineMs = deadlineMs
  }

  run<T>(
    verb: string,
    options: CallOptions | undefined,
    start: (options: CallOptions | undefined) => Promise<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const signal = options?.signal
      const call: Call = { verb, since: this.#clock.monotonic(), end: (error) => finish(() => reject(error)) }
      const onAbort = () => call.end(endedError(verb, 'aborted', 'was aborted', signal?.reason))
      const finish = (answer: () => void) => {
        this.#pending.delete(call)
        signal?.removeEventListener('abort', onAbort)
        answer()
      }
      if (signal?.aborted)
        return reject(
          new UnderpinError('aborted', 'The call was aborted before it began', { cause: signal.reason }),
        )
      this.#pending.add(call)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#tick()
      start(options).then(
        (value) => finish(() => resolve(value)),
        (error) => finish(() => reject(error)),
      )
    })
  }

  /** Leaves no timer behind: a process that has closed its store may end at once. */
  endAll(): void {
    this.#stopTicking?.()
    this.#stopTicking = undefined
    for (const call of [...this.#pending]) call.end(endedError(call.verb, 'closed', 'was ended by close()'))
  }

  #tick(): void {
    if (this.#stopTicking !== undefined) return
    this.#stopTicking = this.#clock.timer(this.#deadlineMs / 10, () => {
      this.#stopTicking = undefined
      const now = this.#clock.monotonic()
      for (const call of this.#pending) {
        if (now - call.since < this.#deadlineMs) break
        call.end(endedError(call.verb, 'timeout', `took longer than ${this.#deadlineMs} ms`))
      }
      if (this.#pending.size > 0) this.#tick()
    })
  }
}

/** A call that writes and was given up may have written: its outcome is unknown. */
function endedError(
  verb: string,
  code: 'aborted' | 'timeout' | 'closed',
  what: string,
  cause?: unknown,
): UnderpinError {
  const writes = verb === 'commit' || verb === 'apply' || verb === 'transition'
  return new UnderpinError(
    writes ? 'unknown' : code,
    `The ${verb} ${what}${writes ? '; it may have been applied' : ''}`,
    {
      hint: writes
        ? 'Give commits an id and retry them to find out.'
        : 'Is the store reachable, and is the deadline long enough?',
      ...(cause === undefined ? {} : { cause }),
    },
  )
}
