/**
 * Two backends as a process sees them that is killed at its n-th call, or the n-th that writes: before the call took
 * effect, or behind it.
 */
import type { Backend } from '../../src/index.ts'
import { Forward } from '../../src/wrapper/forward.ts'

/** No `UnderpinError`: nothing in the library may take it for a failure of a store, and go on. */
export class Killed extends Error {
  override readonly name = 'Killed'
}

export class Crash {
  readonly #at: number
  readonly #takesEffect: boolean
  readonly #onlyWrites: boolean
  #calls = 0

  constructor(at: number, takesEffect: boolean, onlyWrites: boolean) {
    this.#at = at
    this.#takesEffect = takesEffect
    this.#onlyWrites = onlyWrites
  }

  /** The process was killed. */
  get isOver(): boolean {
    return this.#calls >= this.#at
  }

  async run<T>(call: () => Promise<T>, isWrite = false): Promise<T> {
    if (this.isOver) throw new Killed('Killed before')
    if (isWrite || !this.#onlyWrites) this.#calls++
    if (!this.isOver) return call()
    if (this.#takesEffect) await call()
    throw new Killed(`Killed at call ${this.#at}`)
  }
}

export class Crashing extends Forward {
  readonly #crash: Crash

  constructor(inner: Backend, crash: Crash) {
    super(inner)
    this.#crash = crash
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#crash.run(() => this.inner.fence(...call))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    return this.#crash.run(() => this.inner.commit(...call), true)
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#crash.run(() => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#crash.run(() => this.inner.scan(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#crash.run(() => this.inner.read(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#crash.run(() => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#crash.run(() => this.inner.apply(...call), true)
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#crash.run(() => this.inner.transition(...call), true)
  }
}
