/** Soak: the gates are watched until all of them have held for a time. */
import type { Gate } from './gates.ts'
import type { MoveRecord } from './record.ts'

export interface SoakOptions {
  /** Milliseconds for which all other gates must have held while this, or another soak, watched. */
  readonly forMs: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: SoakProgress) => void
}

export interface SoakProgress {
  /** Milliseconds for which all gates held so far. */
  readonly soakedMs: number
  readonly forMs: number
  /** Those that do not hold: they begin it anew. */
  readonly failing: readonly Gate[]
}

/** Milliseconds between two looks. A time in which nobody looked for longer than three of them does not count. */
export function lookEveryMs(forMs: number): number {
  return Math.min(5_000, Math.max(20, forMs / 20))
}

/** The record after one more look at the gates. */
export function watched(record: MoveRecord, isSound: boolean, now: number, everyMs: number): MoveRecord {
  if (!isSound) return { ...record, soundSince: null, watchedAt: now }
  if (record.soundSince === null || record.watchedAt === null)
    return { ...record, soundSince: now, watchedAt: now }
  const unwatchedMs = Math.max(0, now - record.watchedAt - everyMs * 3)
  return { ...record, soundSince: record.soundSince + unwatchedMs, watchedAt: now }
}
