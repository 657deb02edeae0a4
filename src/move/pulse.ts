/** That somebody copies, noted in the domain every so often: the gate `mover` asks for it, and `status` shows it. */
import { isUnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import { isAway } from './again.ts'
import { type MoverNote, noteMover } from './record.ts'
import { lookFromLead, type Sides } from './sides.ts'

/** Milliseconds between two notes: each is a commit of the domain. */
const everyMs = 10_000

interface Beat {
  readonly position: Position
  readonly recordsPerSecond?: number | null
  readonly eta?: MoverNote['eta'] | undefined
}

export class Pulse {
  readonly #sides: Sides
  #notedAt = Number.NEGATIVE_INFINITY

  constructor(sides: Sides) {
    this.#sides = sides
  }

  /** Notes that the copy has come so far, unless it was noted a moment ago. */
  async beat({ position, recordsPerSecond: rate = null, eta }: Beat): Promise<void> {
    const now = this.#sides.clock.monotonic()
    if (now - this.#notedAt < everyMs) return
    this.#notedAt = now
    try {
      const { sides } = await lookFromLead(this.#sides)
      await noteMover(sides, { at: sides.clock.now(), position, rate, ...(eta && { eta }) })
    } catch (error) {
      // A cutover is under way, or the store is out of reach, which the mover meets and says itself.
      if (!isAway(error) && !isUnderpinError(error, 'fenced')) throw error
    }
  }
}
