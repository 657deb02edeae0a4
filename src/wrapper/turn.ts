/**
 * Lets the event loop turn. A backend that answers within the call would let nothing else run while somebody awaits one
 * call after another in a loop: no timer, no socket, no signal. So when the loop has not turned for some time, the next
 * call waits until it has.
 */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { Forward, type Wrapper } from './forward.ts'

/**
 * Milliseconds for which calls may follow one another within one turn of the event loop. Whatever else goes on in the
 * process advances by one step a turn: at 10 ms a copy to a server, some dozens of turns a page, was outrun by writers
 * in memory. At 2 ms it keeps up, and the writers are no slower (`test/move/cutover.test.ts` prints the pauses).
 */
const longestTurnMs = 2

/** A backend that always answers later is left as it is. */
export const turn =
  (clock: Clock): Wrapper =>
  (backend) =>
    backend.supports.sync ? new Turning(backend, clock) : backend

class Turning extends Forward {
  readonly #clock: Clock
  /** When this turn's first call was made; undefined until there is one. */
  #since: number | undefined
  /** Resolves in the next turn; whoever comes until then waits behind those who wait. */
  #next: Promise<void> | undefined

  constructor(inner: Backend, clock: Clock) {
    super(inner)
    this.#clock = clock
  }

  override domains(...call: Parameters<Backend['domains']>) {
    return this.#inTurn(() => this.inner.domains(...call))
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#inTurn(() => this.inner.fence(...call))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    return this.#inTurn(() => this.inner.commit(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#inTurn(() => this.inner.read(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#inTurn(() => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#inTurn(() => this.inner.scan(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#inTurn(() => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#inTurn(() => this.inner.apply(...call))
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#inTurn(() => this.inner.transition(...call))
  }

  /** Calls that wait for the turn are under way: they go first. */
  override close() {
    return this.#next === undefined ? this.inner.close() : this.#next.then(() => this.inner.close())
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    if (this.#next !== undefined) return this.#next.then(call)
    if (this.#since === undefined) {
      this.#since = this.#clock.monotonic()
      setImmediate(() => {
        this.#since = undefined
      })
      return call()
    }
    if (this.#clock.monotonic() - this.#since < longestTurnMs) return call()
    this.#next = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      this.#next = undefined
    })
    return this.#next.then(call)
  }
}
