/**
 * That somebody copies, noted in the domain every so often: the gate `mover` asks for it, and `status` shows it. With it
 * goes what the running digests said when the heads of both sides met last: the gate `no-divergence` asks for that.
 */
import { isUnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import { isAway } from './again.ts'
import { type DigestNote, type MoverNote, noteMover } from './record.ts'
import { lookFromLead, type Sides } from './sides.ts'
import { compareDigests } from './verify.ts'

/** Milliseconds between two notes: each is a commit of the domain. */
const everyMs = 10_000
/** Milliseconds between two looks whether the heads meet; where writers are busy they seldom do. */
const meetEveryMs = 1_000

interface Beat {
  readonly position: Position
  /** Of the source; left out where the digests are not to be compared. */
  readonly head?: Position
  readonly recordsPerSecond?: number | null
  readonly eta?: MoverNote['eta'] | undefined
}

export class Pulse {
  readonly #sides: Sides
  #notedAt = Number.NEGATIVE_INFINITY
  #lookedAt = Number.NEGATIVE_INFINITY
  #digests: DigestNote | undefined

  constructor(sides: Sides) {
    this.#sides = sides
  }

  /** Notes that the copy has come so far, unless it was noted a moment ago; a difference of the digests is noted at once. */
  async beat({ position, head, recordsPerSecond: rate = null, eta }: Beat): Promise<void> {
    try {
      const haveMet = position === head && position !== this.#digests?.head
      const differs = haveMet && (await this.#compare())
      const now = this.#sides.clock.monotonic()
      if (!differs && now - this.#notedAt < everyMs) return
      this.#notedAt = now
      const { sides } = await lookFromLead(this.#sides)
      const digests = this.#digests
      await noteMover(sides, {
        ...{ at: sides.clock.now(), position, rate },
        ...(eta && { eta }),
        ...(digests && { digests }),
      })
    } catch (error) {
      // A cutover is under way, or the store is out of reach, which the mover meets and says itself.
      if (!isAway(error) && !isUnderpinError(error, 'fenced')) throw error
    }
  }

  /** True if the digests differ and did not when they were compared before. */
  async #compare(): Promise<boolean> {
    const { clock } = this.#sides
    const sinceMs = clock.monotonic() - this.#lookedAt
    if (sinceMs < meetEveryMs) return false
    this.#lookedAt = clock.monotonic()
    const { sides, view } = await lookFromLead(this.#sides)
    const found = await compareDigests(sides)
    if (found === undefined) return false
    const wasEqual = this.#digests?.isEqual !== false
    const isEqual = found.source === found.target
    this.#digests = { at: clock.now(), copy: view.target.incarnation, head: found.head, isEqual }
    return wasEqual && !isEqual
  }
}
