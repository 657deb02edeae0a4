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

  /** Whether it was woken. */
  async next(clock: Clock, ms: number): Promise<boolean> {
    await sleep(clock, ms, AbortSignal.any([this.#due.signal, this.#over]))
    const isWoken = this.#due.signal.aborted
    this.#due = new AbortController()
    return isWoken
  }
}
