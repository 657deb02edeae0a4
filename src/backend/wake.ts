/** Waiting that somebody else can end. */
import { type Clock, sleep } from '../clock.ts'

/** Waits until it is woken, a time has passed, or it is over. */
export class Wake {
  readonly #over: AbortSignal
  #due = new AbortController()

  constructor(over: AbortSignal) {
    this.#over = over
  }

  get isOver(): boolean {
    return this.#over.aborted
  }

  now(): void {
    this.#due.abort()
  }

  async next(clock: Clock, ms: number): Promise<void> {
    await sleep(clock, ms, AbortSignal.any([this.#due.signal, this.#over]))
    this.#due = new AbortController()
  }
}
