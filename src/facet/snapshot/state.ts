/** The state of one stream, now, at a seq or at a time: a snapshot and the tail behind it. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { truncated } from '../truncated.ts'
import type { Fold } from './fold.ts'
import { Replay, type ReplayEnd } from './replay.ts'
import {
  checkFold,
  type FoundSnapshot,
  loadSnapshot,
  putSnapshot,
  type Snapshot,
  snapshotCollections,
} from './snapshots.ts'

/** When a snapshot is taken: as soon as one of these is reached by what had to be folded behind the last one. */
export interface SnapshotPolicy {
  /** So many events. */
  readonly events?: number
  /** So many bytes of their JSON. */
  readonly bytes?: number
  /** The last snapshot (without one, the first event) is so many milliseconds old, and there are events behind it. */
  readonly ageMs?: number
}

export interface StateOptions extends CallOptions {
  /**
   * The state as it was when this seq was the last, or at a time (milliseconds since 1970): then it is that before the
   * first event which was committed later, by its committer's clock.
   */
  readonly at?: { readonly seq: number } | { readonly time: number }
  /** Takes a snapshot when it is due. Left out, none is taken; those that are there are used always. */
  readonly snapshot?: SnapshotPolicy
}

/**
 * - `taken`: a snapshot of this state is stored;
 * - `overtaken`: another process stored one first;
 * - `too-large`: the state is more than a document can hold;
 * - `failed`: it could not be stored; `error` says why.
 */
export type SnapshotOutcome =
  | { readonly kind: 'taken' | 'overtaken' | 'too-large' }
  | { readonly kind: 'failed'; readonly error: unknown }

export interface StreamState<S> {
  readonly state: S
  /** The seq of the last event in it; 0 for the seed. */
  readonly seq: number
  /** The position of that event; 0 for the seed. */
  readonly position: Position
  /** The seq of the snapshot that was begun from; 0 if there was none. */
  readonly fromSeq: number
  /** What became of a snapshot that was due; undefined if none was. */
  readonly snapshot: SnapshotOutcome | undefined
}

/** How often a stream may be truncated under the eyes of a reader. */
const attempts = 5

export async function stateOf<S, E extends NewEvent>(
  port: Port,
  fold: Fold<S, E>,
  stream: string,
  options: StateOptions = {},
): Promise<StreamState<S>> {
  checkFold(fold as unknown as Fold<never, never>, port)
  const end = endOf(options)
  await port.ensure(snapshotCollections)
  for (let attempt = 1; ; attempt++) {
    const found = await loadSnapshot(port, fold, stream, options)
    const from = isWithin(found.snapshot, end) ? found.snapshot : undefined
    const replay = await new Replay<S, E>(fold, stream, from).run(port, end, options)
    if (replay.gap === undefined) {
      const { state, seq, position } = replay
      const outcome = await take(port, fold, found, replay, options)
      return { state, seq, position, fromSeq: from?.seq ?? 0, snapshot: outcome }
    }
    // What was truncated meanwhile is covered by a snapshot that was not there before.
    const isNew = (await loadSnapshot(port, fold, stream, options)).expect !== found.expect
    if (!isNew || attempt === attempts) throw await truncated(port, stream, replay.gap, options)
  }
}

function endOf({ at, snapshot }: StateOptions): ReplayEnd {
  if (at === undefined) return {}
  if (typeof at !== 'object' || at === null) throw new TypeError('A state is at: { seq }, or at: { time }')
  const [name, value] = 'seq' in at ? ['seq', at.seq] : ['time', at.time]
  if (!Number.isSafeInteger(value) || value < 0)
    throw new UnderpinError(
      'invalid',
      `The ${name} of a state must be a whole number from 0 on, not ${value}`,
    )
  if (snapshot !== undefined)
    throw new UnderpinError('invalid', 'A snapshot is of the latest state: leave out either at or snapshot')
  return at
}

function isWithin(snapshot: Snapshot | undefined, { seq, time }: ReplayEnd): snapshot is Snapshot {
  if (snapshot === undefined) return false
  return (seq === undefined || snapshot.seq <= seq) && (time === undefined || snapshot.until <= time)
}

/** Whoever asked for the state gets it, whatever becomes of the snapshot; except for a state that JSON cannot hold. */
async function take<S, E extends NewEvent>(
  port: Port,
  fold: Fold<S, E>,
  found: FoundSnapshot,
  replay: Replay<S, E>,
  options: StateOptions,
): Promise<SnapshotOutcome | undefined> {
  if (!isDue(port, found, replay, options.snapshot)) return undefined
  if (found.isOfLaterVersion) return { kind: 'overtaken' }
  try {
    const revision = await putSnapshot(port, fold.name, replay.snapshot, found.expect, options)
    return { kind: revision === undefined ? 'overtaken' : 'taken' }
  } catch (error) {
    if (isUnderpinError(error, 'too-large')) return { kind: 'too-large' }
    if (!isUnderpinError(error) || error.code === 'invalid') throw error
    return { kind: 'failed', error }
  }
}

function isDue<S, E extends NewEvent>(
  port: Port,
  { snapshot, at }: FoundSnapshot,
  { events, bytes, since }: Replay<S, E>,
  policy: SnapshotPolicy = {},
): boolean {
  if (events === 0) return false
  const ageMs = port.clock.now() - (snapshot === undefined ? since : at)
  return (
    events >= (policy.events ?? Number.POSITIVE_INFINITY) ||
    bytes >= (policy.bytes ?? Number.POSITIVE_INFINITY) ||
    ageMs >= (policy.ageMs ?? Number.POSITIVE_INFINITY)
  )
}
