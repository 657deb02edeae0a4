/** The answer to *may I cut over now, and if not, why not*: one list, pure. */
import type { Position } from '../model/position.ts'
import type { Phase } from './move.ts'
import type { MoveRecord } from './record.ts'
import type { GateLimits } from './settings.ts'

export interface Gate {
  readonly name: 'following' | 'no-gap' | 'lag' | 'verified' | 'soak' | 'latency'
  readonly holds: boolean
  /** What was found. */
  readonly found: string
  /** What would clear it; empty while it holds. */
  readonly clears: string
}

export interface Facts {
  readonly phase: Phase
  readonly position: Position
  readonly head: Position
  readonly record: MoveRecord | undefined
  readonly now: number
  /** Milliseconds that a look at each side takes, where it was measured. */
  readonly latency: { readonly sourceMs: number; readonly targetMs: number } | undefined
}

export function gatesOf({ phase, position, head, record, now, latency }: Facts, limits: GateLimits): Gate[] {
  const lag = Math.max(0, head - position)
  const gap = record?.gap ?? null
  const verified = record?.verified ?? null
  const isFresh = verified !== null && now - verified.at <= limits.verifiedForMs
  const soakedMs = record?.soundSince == null ? 0 : now - record.soundSince
  const isSlow = latency !== undefined && latency.targetMs > latency.sourceMs * limits.latencyFactor
  return [
    gate(
      'following',
      phase === 'mirroring' || phase === 'reversed',
      `the move is ${phase}`,
      'Start the move.',
    ),
    gate(
      'no-gap',
      gap === null,
      gap === null
        ? 'the target takes everything'
        : `the target refuses position ${gap.position}: ${gap.message}`,
      'Change or delete the record at the source, or raise the limit of the target.',
    ),
    gate(
      'lag',
      lag <= limits.lag,
      `${lag} positions behind`,
      `Let the mirror run until it is at most ${limits.lag} behind.`,
    ),
    gate(
      'verified',
      isFresh && verified.differences === 0,
      verified === null
        ? 'both sides were never compared'
        : `${verified.compared} records compared up to ${verified.head}, ${verified.differences} differences${isFresh ? '' : ', too long ago'}`,
      verified !== null && verified.differences > 0 ? 'Repair, then verify again.' : 'Verify.',
    ),
    gate(
      'soak',
      soakedMs >= limits.soakMs,
      `sound for ${soakedMs} ms`,
      `Wait until it was sound for ${limits.soakMs} ms.`,
    ),
    gate(
      'latency',
      !isSlow,
      latency === undefined
        ? 'not measured'
        : `${latency.targetMs.toFixed(1)} ms at the target, ${latency.sourceMs.toFixed(1)} at the source`,
      'Is the target far away, or busy?',
    ),
  ]
}

function gate(name: Gate['name'], holds: boolean, found: string, clears: string): Gate {
  return { name, holds, found, clears: holds ? '' : clears }
}
