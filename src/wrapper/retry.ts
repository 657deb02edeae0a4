/** Tries calls again that could not begin because the store was busy or out of reach, for as long as the deadline allows. */
import type { Backend, CallOptions } from '../backend/backend.ts'
import { type Clock, sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Outcome } from '../model/commit.ts'
import { Forward, isInMemory, type Wrapper } from './forward.ts'

export interface RetryOptions {
  readonly clock: Clock
  /** Milliseconds after which the last error stands. */
  readonly deadlineMs: number
}

/** A backend in this process's own memory is never busy or out of reach: it is left as it is. */
export const retry =
  (options: RetryOptions): Wrapper =>
  (backend) =>
    isInMemory(backend) ? backend : new Retried(backend, options)

const firstDelayMs = 1
const longestDelayMs = 100

class Retried extends Forward {
  readonly #options: RetryOptions
  readonly #closing = new AbortController()

  constructor(inner: Backend, options: RetryOptions) {
    super(inner)
    this.#options = options
  }

  override domains(...call: Parameters<Backend['domains']>) {
    return this.#run(call, () => this.inner.domains(...call))
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#run(call, () => this.inner.fence(...call))
  }

  /** Of a group that was made in parts, those behind a part that met a busy store are still to be made. */
  override commit(...call: Parameters<Backend['commit']>) {
    const [domain, epoch, commits, options] = call
    const done: Outcome[] = []
    return this.#run(call, async () => {
      for (const outcome of await this.inner.commit(domain, epoch, commits.slice(done.length), options)) {
        if (outcome.kind === 'refused' && isUnderpinError(outcome.error, 'unavailable')) throw outcome.error
        done.push(outcome)
      }
      return done
    })
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#run(call, () => this.inner.read(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#run(call, () => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#run(call, () => this.inner.scan(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#run(call, () => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#run(call, () => this.inner.apply(...call))
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#run(call, () => this.inner.transition(...call))
  }

  override close(): Promise<void> {
    this.#closing.abort()
    return this.inner.close()
  }

  /**
   * `unavailable` says that nothing was written, so the same call may be made again, and given up for certain; the
   * delay doubles, with jitter, and ends with the deadline.
   */
  async #run<T>(call: readonly unknown[], attempt: () => Promise<T>): Promise<T> {
    const { clock, deadlineMs } = this.#options
    const options = call.at(-1) as CallOptions | undefined
    const signal = options?.signal
    const since = options?.since ?? clock.monotonic()
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, longestDelayMs)) {
      try {
        return await attempt()
      } catch (error) {
        if (!isUnderpinError(error, 'unavailable')) throw error
        if (signal?.aborted) throw aborted(signal, error)
        const leftMs = deadlineMs - (clock.monotonic() - since)
        if (leftMs <= 0 || this.#closing.signal.aborted) throw error
        const wake = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])])
        await sleep(clock, Math.min(delayMs * (0.5 + clock.random()), leftMs), wake)
        if (signal?.aborted) throw aborted(signal, error)
      }
    }
  }
}

function aborted(signal: AbortSignal, last: UnderpinError): UnderpinError {
  return new UnderpinError('aborted', `The call was aborted; nothing was written (${last.message})`, {
    cause: signal.reason,
  })
}
