/** Something that is done again and again in the background, and keeps no process alive. */
import type { Clock } from '../clock.ts'

export interface RoundOptions {
  readonly clock: Clock
  /** Milliseconds from the end of one turn to the begin of the next. */
  readonly everyMs: number
  readonly work: () => Promise<void>
  /** Told what a turn failed with, and `undefined` when one succeeds. */
  readonly tell: (error: unknown) => void
}

export class Round {
  readonly #options: RoundOptions
  #turn: Promise<void> | undefined
  #cancel: () => void = () => {}
  #isOver = false

  constructor(options: RoundOptions) {
    this.#options = options
  }

  /** Does a turn at once, behind one that is under way, and goes on from there. Never rejects. */
  async now(): Promise<void> {
    await this.#turn
    this.#turn ??= this.#take()
    await this.#turn
  }

  /** No further turn begins; waits for one that is under way. */
  async end(): Promise<void> {
    this.#isOver = true
    this.#cancel()
    await this.#turn
  }

  async #take(): Promise<void> {
    this.#cancel()
    if (this.#isOver) return
    const { work, tell } = this.#options
    await work().then(() => tell(undefined), tell)
    this.#turn = undefined
    this.#wait()
  }

  #wait(): void {
    if (this.#isOver) return
    const { clock, everyMs } = this.#options
    this.#cancel = clock.timer(everyMs, () => void this.now(), true)
  }
}
