/** A clock that a test owns: time passes when `advance` is called, and timers run then, in order. */
import type { Clock } from '../clock.ts'

interface Timer {
  readonly at: number
  readonly run: () => void
}

export class FakeClock implements Clock {
  /** What `random()` returns: with 0.5, jitter adds nothing. */
  randomness = 0.5
  #began: number
  #elapsed = 0
  #ids = 0
  readonly #timers = new Set<Timer>()

  /** Milliseconds since 1970 at which it begins. */
  constructor(began = 1_700_000_000_000) {
    this.#began = began
  }

  now(): number {
    return this.#began + this.#elapsed
  }

  monotonic(): number {
    return this.#elapsed
  }

  timer(ms: number, run: () => void): () => void {
    const timer = { at: this.#elapsed + ms, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  random(): number {
    return this.randomness
  }

  id(): string {
    return String(++this.#ids).padStart(32, '0')
  }

  /** Timers that were set and neither ran nor were cancelled. */
  get timers(): number {
    return this.#timers.size
  }

  /** Lets `ms` milliseconds pass; what is due runs at its time, and what that starts goes as far as it can. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms
    await idle()
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#timers.delete(next)
      this.#elapsed = next.at
      next.run()
      await idle()
    }
    this.#elapsed = end
  }

  /** The wall clock is set, forwards or backwards; no time passes, and no timer runs. */
  jump(ms: number): void {
    this.#began += ms
  }

  #next(end: number): Timer | undefined {
    const [first] = [...this.#timers].sort((a, b) => a.at - b.at)
    return first !== undefined && first.at <= end ? first : undefined
  }
}

/** Some turns of the event loop: promises that wait for no timer have gone as far as they can. */
export async function idle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}
