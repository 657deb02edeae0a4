/** What an operator may tune while a move runs. */

export interface MoveSettings {
  /** Records read and applied at a time. */
  readonly pageItems: number
  /** Records a second that the mover copies at most; null for as fast as the throttle allows. */
  readonly maxRate: number | null
  /** The part of the time, in (0, 1], that the mover may work, whatever else it is told. */
  readonly maxDuty: number
  /** The application's commits may take so many times as long as without the mover before it gives way. */
  readonly latencyFactor: number
  /** Milliseconds that callers may wait for a cutover; then it is given up and the source goes on. */
  readonly maxPauseMs: number
  /** The part of the reads, in [0, 1], that are made on the other side too, and compared. */
  readonly shadow: number
  /** Acknowledge commits when the other side has them (`await`), or at once. */
  readonly mirror: 'behind' | 'await'
  readonly gates: GateLimits
}

export interface GateLimits {
  /** Positions that the copy may be behind. */
  readonly lag: number
  /** Milliseconds for which the copy must have followed without a gap or a difference. */
  readonly soakMs: number
  /** A full comparison counts for so many milliseconds. */
  readonly verifiedForMs: number
  /** A look at the target may take so many times as long as at the source. */
  readonly latencyFactor: number
}

export const defaultSettings: MoveSettings = {
  pageItems: 10_000,
  maxRate: null,
  maxDuty: 1,
  latencyFactor: 1.3,
  maxPauseMs: 2_000,
  shadow: 0,
  mirror: 'behind',
  gates: { lag: 10_000, soakMs: 0, verifiedForMs: 3_600_000, latencyFactor: 20 },
}
