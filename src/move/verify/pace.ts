/** How far a comparison is, how fast it goes and when it will end; and what slows it down. */
import { type Clock, sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'

export interface CompareProgress {
  /** What is compared: the feed by positions (and each stream where it begins), then the collections by ids. */
  readonly phase: 'positions' | 'keys'
  /** Up to where the feed was compared, and up to where it will be. */
  readonly position: Position
  readonly head: Position
  /** Records of the source that were compared. */
  readonly compared: number
  readonly differences: number
  /** Records a second, since it began. */
  readonly rate: number
  /** Milliseconds that the phase will still take at this rate; null while nothing can be said. */
  readonly etaMs: number | null
  /** Goes on from here: `verify({ resume })`. */
  readonly checkpoint: Checkpoint
}

/** Where a comparison stands, as JSON. What was found before is not in it. */
export interface Checkpoint {
  /** Of the copy: another copy cannot be gone on with. */
  readonly incarnation: string
  /** Up to where the feed was compared. */
  readonly position: Position
}

export interface PaceOptions {
  readonly signal?: AbortSignal | undefined
  /** Records of the source a second, at most; as fast as can be if left out. */
  readonly maxRate?: number
  readonly onProgress?: ((progress: CompareProgress) => void | Promise<void>) | undefined
}

export class Pace {
  readonly #clock: Clock
  readonly #options: PaceOptions
  readonly #since: number
  readonly #from: Position

  constructor(clock: Clock, from: Position, options: PaceOptions) {
    this.#clock = clock
    this.#options = options
    this.#from = from
    this.#since = clock.monotonic()
  }

  /** Tells how far it is, and waits while it goes too fast. `aborted` if the signal says so. */
  async advance(now: Omit<CompareProgress, 'rate' | 'etaMs'>): Promise<void> {
    const { signal, maxRate, onProgress } = this.#options
    const elapsedMs = this.#clock.monotonic() - this.#since
    const rate = elapsedMs > 0 ? (now.compared / elapsedMs) * 1_000 : 0
    const done = now.position - this.#from
    const etaMs =
      now.phase === 'keys' || done <= 0 ? null : (elapsedMs / done) * Math.max(0, now.head - now.position)
    await onProgress?.({ ...now, rate, etaMs })
    if (maxRate !== undefined) {
      const earlyMs = (now.compared / maxRate) * 1_000 - elapsedMs
      if (earlyMs > 0) await sleep(this.#clock, earlyMs, signal)
    }
    if (signal?.aborted)
      throw new UnderpinError('aborted', `The comparison was ended at position ${now.position}`, {
        hint: 'verify({ resume: error.details.checkpoint }) goes on from there.',
        details: { checkpoint: now.checkpoint },
        cause: signal.reason,
      })
  }
}
