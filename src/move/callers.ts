/**
 * How long callers waited because authority had gone elsewhere, as they saw it: from the call of one that was refused to
 * its answer. Each process counts its own, and notes them when nobody waits any more, never in a caller's way.
 */
import type { Clock } from '../clock.ts'
import { Durations } from './histogram.ts'
import type { CallersNote } from './report.ts'

export interface CallerWaitsOptions {
  readonly clock: Clock
  readonly process: string
  /** Writes a note; may be tried again when it fails. */
  readonly write: (id: string, note: CallersNote) => Promise<void>
}

/** Milliseconds without a wait, after which those before are noted. */
const quietMs = 250
/** A note that cannot be written so often is given up. */
const tries = 5
/** Epochs whose waits are kept in memory. */
const keptEpochs = 16

export class CallerWaits {
  readonly #options: CallerWaitsOptions
  readonly #waits = new Map<number, Durations>()
  readonly #untold = new Map<number, number>()
  #cancel: (() => void) | undefined
  #writing: Promise<void> = Promise.resolve()
  #isOver = false

  constructor(options: CallerWaitsOptions) {
    this.#options = options
  }

  add(ms: number, epoch: number): void {
    this.#of(epoch).add(ms)
    this.#untold.set(epoch, 0)
    this.#arm()
  }

  get hasUntold(): boolean {
    return this.#untold.size > 0
  }

  /** Notes what was not noted yet. Never rejects: what cannot be written is tried again later, some times. */
  tell(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    this.#writing = this.#writing.then(() => this.#writeAll())
    return this.#writing
  }

  /** Notes what is left, once. */
  async end(): Promise<void> {
    this.#isOver = true
    await this.tell()
  }

  #of(epoch: number): Durations {
    const known = this.#waits.get(epoch)
    if (known !== undefined) return known
    const durations = new Durations()
    this.#waits.set(epoch, durations)
    for (const old of [...this.#waits.keys()].slice(0, -keptEpochs)) this.#waits.delete(old)
    return durations
  }

  #arm(): void {
    if (this.#isOver || this.#cancel !== undefined) return
    this.#cancel = this.#options.clock.timer(quietMs, () => void this.tell(), true)
  }

  async #writeAll(): Promise<void> {
    const { process, write } = this.#options
    for (const [epoch, tried] of [...this.#untold]) {
      const durations = this.#waits.get(epoch)
      this.#untold.delete(epoch)
      if (durations === undefined) continue
      const failed = () => {
        // What came meanwhile is untold already, and begins to count anew.
        if (tried + 1 < tries && !this.#untold.has(epoch)) this.#untold.set(epoch, tried + 1)
      }
      await write(`callers-${epoch}-${process}`, { epoch, ...durations.histogram }).catch(failed)
    }
    if (this.#untold.size > 0) this.#arm()
  }
}
