/** What a mover waits for when it has copied everything: the source's hints, which may be left out, and which may fail. */
import { Alarm, sleep } from '../clock.ts'
import { isUnderpinError } from '../error.ts'
import type { Sides } from './sides.ts'

/** Milliseconds after which the source is watched again, when it stopped telling. */
const againMs = 1_000

/** Rings when the source may have moved. */
export class Bell {
  readonly #sides: Sides
  readonly #alarm = new Alarm()
  readonly #over = new AbortController()
  readonly #signal: AbortSignal
  readonly #watching: Promise<void>

  constructor(sides: Sides, signal: AbortSignal) {
    this.#sides = sides
    this.#signal = signal
    this.#watching = this.#watch()
    // Whoever ends the bell meets its failure.
    void Promise.allSettled([this.#watching])
  }

  /** Until it rings; or, because hints may be left out, for so long. */
  async wait(ms: number): Promise<void> {
    await this.#alarm.wait(this.#sides.clock, ms, this.#signal)
  }

  async end(): Promise<void> {
    this.#over.abort()
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { domain, source, clock } = this.#sides
    const end = () => this.#over.abort()
    if (this.#signal.aborted) end()
    this.#signal.addEventListener('abort', end)
    const { signal } = this.#over
    while (!signal.aborted) {
      try {
        for await (const _head of source.watch(domain, signal)) this.#alarm.ring()
      } catch (error) {
        // The copier meets the same failure and says so; the hints come back when the store does.
        if (!isUnderpinError(error)) throw error
      }
      this.#alarm.ring()
      await sleep(clock, againMs, signal)
    }
    this.#signal.removeEventListener('abort', end)
  }
}
