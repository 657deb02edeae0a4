/**
 * Publishes every call on the diagnostics channel `underpin:call`, as `{ backend, verb, domain, ms, error }`. Costs
 * nothing while nobody subscribes.
 */
import { channel } from 'node:diagnostics_channel'
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { Forward, type Wrapper } from './forward.ts'

/** What subscribers of `underpin:call` receive. */
export interface CallRecord {
  readonly backend: string
  readonly verb: string
  readonly domain: string
  /** Milliseconds that the call took. */
  readonly ms: number
  /** What the call failed with, or undefined. */
  readonly error: unknown
}

const calls = channel('underpin:call')

export const observe =
  (clock: Clock): Wrapper =>
  (backend) =>
    new Observed(backend, clock)

class Observed extends Forward {
  readonly #clock: Clock

  constructor(inner: Backend, clock: Clock) {
    super(inner)
    this.#clock = clock
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#run('fence', call[0], () => this.inner.fence(...call))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    return this.#run('commit', call[0], () => this.inner.commit(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#run('read', call[0], () => this.inner.read(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#run('get', call[0], () => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#run('scan', call[0], () => this.inner.scan(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#run('changes', call[0], () => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#run('apply', call[0], () => this.inner.apply(...call))
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#run('transition', call[0], () => this.inner.transition(...call))
  }

  override within(client: unknown): Backend {
    return new Observed(this.inner.within(client), this.#clock)
  }

  #run<T>(verb: string, domain: string, start: () => Promise<T>): Promise<T> {
    if (!calls.hasSubscribers) return start()
    const since = this.#clock.monotonic()
    const publish = (error?: unknown) => {
      const record: CallRecord = {
        backend: this.name,
        verb,
        domain,
        ms: this.#clock.monotonic() - since,
        error,
      }
      calls.publish(record)
    }
    return start().then(
      (value) => {
        publish()
        return value
      },
      (error) => {
        publish(error)
        throw error
      },
    )
  }
}
