/**
 * What is noted of a move in the domain itself: one document of `$moves` (`ledger.ts`). It decides nothing: who holds
 * authority is in the fences alone, and a record that is lost or late costs only what it tells. What changes with every
 * page (position, rate) is not in it: the fences say it.
 */
import type { CallOptions } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { RecordKey } from '../model/change.ts'
import type { Fence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import type { Gate } from './gates.ts'
import { type EntryChange, readEntry, writeEntries } from './ledger.ts'
import type { Gap } from './mirror.ts'
import { defaultSettings, type MoveSettings } from './settings.ts'
import type { Sides } from './sides.ts'
import type { DifferenceKind } from './verify/difference.ts'

/** The document of the move under way. */
const currentId = 'current'
const moverId = 'mover'

/** A full comparison of both sides, as it ended. */
export interface VerifyNote {
  readonly at: number
  readonly head: Position
  readonly compared: number
  readonly differences: number
  /** The first of them, and since when each was seen: a later comparison goes on with that. */
  readonly open?: readonly OpenDifference[]
}

export interface OpenDifference {
  readonly kind: DifferenceKind
  /** Left out where it is the fence itself that differs. */
  readonly key?: RecordKey | undefined
  readonly position: Position
  readonly since: number
}

/** A cutover that was begun: noted before the seal, so that whoever finishes it knows what to report. */
export interface CutoverAttempt {
  readonly id: string
  readonly at: number
  /** Who did it: a name that the operator gave. */
  readonly by: string | null
  readonly from: string
  readonly to: string
  readonly maxPauseMs: number
  /** Milliseconds of pause that were predicted from the round trips; null if they were not measured. */
  readonly predictedPauseMs: number | null
  readonly isForced: boolean
  readonly gates: readonly Gate[]
  /** Why it was given up, and how long writers were held up by it; null while it was not. */
  readonly givenUp: { readonly at: number; readonly why: string; readonly pauseMs: number } | null
}

export interface MoveRecord {
  /** The backend that had authority when the move was started, and the one it moves to, by their names in the store. */
  readonly from: string
  readonly to: string
  /** Of both copies, so that a record of another move is not taken for this one's. */
  readonly incarnations: readonly [string, string]
  readonly startedAt: number
  readonly by: string | null
  readonly isPaused: boolean
  /** A cutover that is ready waits until somebody says go. */
  readonly isHeld: boolean
  /** How often somebody said go: so that one who waits tells it from a hold that was withdrawn. */
  readonly goes: number
  readonly settings: MoveSettings
  /** What the target does not take, and since when; null while there is none. */
  readonly gap: (Gap & { readonly since: number }) | null
  /** Gaps that there were in all, and records that were repaired. */
  readonly gapsSeen: number
  readonly repaired: number
  /** Since when all gates but the soak held while somebody watched; null while they do not. */
  readonly soundSince: number | null
  /** When somebody watched last. */
  readonly watchedAt: number | null
  readonly verified: VerifyNote | null
  /** The last cutover that was begun, in either direction. */
  readonly attempt: CutoverAttempt | null
  /** How the move ended; null while it lasts. */
  readonly ended: {
    readonly how: 'complete' | 'cancel'
    readonly at: number
    readonly by: string | null
  } | null
}

/** What the running digests of both sides said when their heads met. */
export interface DigestNote {
  readonly at: number
  /** The incarnation of the copy. */
  readonly copy: string
  readonly head: Position
  readonly isEqual: boolean
}

/** That somebody copies: noted by movers every few seconds. */
export interface MoverNote {
  readonly at: number
  readonly position: Position
  /** Records a second, as measured last; null if it is not. */
  readonly rate: number | null
  /** Milliseconds from `at` until the copy has caught up, and the band that they lie in; left out if that cannot be told. */
  readonly eta?: { readonly ms: number; readonly lowMs: number; readonly highMs: number }
  /** Left out while the heads never met. */
  readonly digests?: DigestNote
}

/** A record as a move begins. */
export function newRecord(
  { from, to }: { readonly from: string; readonly to: string },
  incarnations: MoveRecord['incarnations'],
  startedAt: number,
): MoveRecord {
  return {
    ...{ from, to, incarnations, startedAt, by: null, isPaused: false, isHeld: false, goes: 0 },
    settings: defaultSettings,
    ...{
      gap: null,
      gapsSeen: 0,
      repaired: 0,
      soundSince: null,
      watchedAt: null,
      verified: null,
      attempt: null,
      ended: null,
    },
  }
}

/** Whether a record is of the move between these two copies, whichever of them leads; one that is not seen may be any. */
export function isRecordOf(
  { incarnations }: MoveRecord,
  a: Fence | undefined,
  b: Fence | undefined,
): boolean {
  return [a, b].every((fence) => fence === undefined || incarnations.includes(fence.incarnation))
}

/** The record as the source (who holds authority) has it, of whatever move it is: compare it with {@link isRecordOf}. */
export async function readRecord(
  sides: Pick<Sides, 'domain' | 'source'>,
  options?: CallOptions,
): Promise<MoveRecord | undefined> {
  return (await readEntry<MoveRecord>(sides, currentId, options))?.value
}

/** Tries of a change that others overtake, or whose outcome stays unknown, before the error stands. */
const tries = 20

/** Changes the record by what `change` makes of it; again if somebody else did so meanwhile. Nothing if it makes nothing. */
export async function changeRecord(
  sides: Sides,
  change: (record: MoveRecord | undefined) => MoveRecord | undefined,
  also: readonly EntryChange[] = [],
): Promise<MoveRecord | undefined> {
  for (let left = tries; ; left--) {
    const found = await readEntry<MoveRecord>(sides, currentId)
    const next = change(found?.value)
    if (next === undefined || same(found?.value, next)) return found?.value
    const put = { id: currentId, value: next, expect: found?.revision ?? 'absent' } as const
    try {
      if (await writeEntries(sides, [...asideOf(found?.value, next), put, ...also])) return next
    } catch (error) {
      // Looked at again: if it was done, the change makes nothing more of it.
      if (!isUnderpinError(error, 'unknown') || left <= 0) throw error
    }
    if (left <= 0)
      throw new UnderpinError('unavailable', `The record of the move of ${sides.domain} changes all the time`)
  }
}

/** Puts the record of a move that ended aside; leaves that of another move alone. */
export async function endRecord(
  sides: Sides,
  isEnded: (record: MoveRecord) => boolean,
  ended: NonNullable<MoveRecord['ended']>,
): Promise<void> {
  for (let left = tries; ; left--) {
    const found = await readEntry<MoveRecord>(sides, currentId)
    if (found?.value === undefined || !isEnded(found.value)) return
    const gone = { id: currentId, value: null, expect: found.revision }
    try {
      if (await writeEntries(sides, [...asideOf({ ...found.value, ended }), gone])) return
    } catch (error) {
      if (!isUnderpinError(error, 'unknown') || left <= 0) throw error
    }
  }
}

/** A record that makes room for that of another move is kept. */
function asideOf(found: MoveRecord | undefined, next?: MoveRecord): EntryChange[] {
  if (found === undefined || (next !== undefined && same(found.incarnations, next.incarnations))) return []
  return [{ id: `ended-${found.incarnations[1]}`, value: found }]
}

/** Notes what the copy does not take, or that it takes everything (again). */
export async function noteGap(sides: Sides, gap: Gap | null): Promise<void> {
  const at = sides.clock.now()
  await changeRecord(sides, (record) => {
    if (record === undefined) return undefined
    if (gap === null) return { ...record, gap: null }
    const isNew = record.gap?.position !== gap.position
    const since = isNew ? at : (record.gap?.since ?? at)
    const gapsSeen = record.gapsSeen + (isNew ? 1 : 0)
    return { ...record, gap: { ...gap, since }, gapsSeen, soundSince: null }
  })
}

/**
 * That this process copies, for the gate `mover` and for `status`. What the digests said last stays noted, whoever saw it,
 * until they are compared again; it names its copy.
 */
export async function noteMover(sides: Sides, note: MoverNote): Promise<void> {
  const digests = note.digests ?? (await readMover(sides))?.digests
  await writeEntries(sides, [{ id: moverId, value: { ...note, ...(digests && { digests }) } }])
}

export async function readMover(
  sides: Pick<Sides, 'domain' | 'source'>,
  options?: CallOptions,
): Promise<MoverNote | undefined> {
  return (await readEntry<MoverNote>(sides, moverId, options))?.value
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
