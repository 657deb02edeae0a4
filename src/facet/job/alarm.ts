/** Waiting that others can end, also before it has begun: no call between two waits is missed. */
import { type Clock, sleep } from '../../clock.ts'

export class Alarm {
  #rung = new AbortController()

  ring(): void {
    this.#rung.abort()
  }

  /** Waits until it is rung, the time is over, or the signal aborts. */
  async wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
    await sleep(clock, ms, AbortSignal.any([this.#rung.signal, signal]))
    this.#rung = new AbortController()
  }
}
