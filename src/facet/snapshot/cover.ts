/** Verified snapshots: what must be there before events are removed. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { encodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { type StoredTruncation, truncated } from '../truncated.ts'
import type { Fold } from './fold.ts'
import { Replay } from './replay.ts'
import { checkFold, type FoundSnapshot, loadSnapshot, putSnapshot, type Snapshot } from './snapshots.ts'

/** A snapshot that is stored, was read back, and is what the events give. */
export interface Covered {
  readonly seq: number
  readonly revision: Position
}

/** How often another process may store a snapshot first. */
const attempts = 10

/**
 * Replays the stream twice, and by way of the snapshot that is there; all must give the same, byte for byte, else fails
 * with `mismatch`. Then stores the state as the snapshot. `too-large` if it is more than a document can hold.
 */
export async function cover<E extends NewEvent>(
  port: Port,
  fold: Fold<unknown, E>,
  stream: string,
  { before }: StoredTruncation,
  options: CallOptions,
): Promise<Covered> {
  checkFold(fold as unknown as Fold<never, never>, port)
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const found = await loadSnapshot(port, fold, stream, options)
    if (found.isOfLaterVersion) throw laterVersion(fold.name, stream)
    const state = await verifiedState(port, fold, stream, before, found, options)
    const revision = await stored(port, fold.name, found, state, options)
    if (revision !== undefined) return { seq: state.seq, revision }
  }
  throw new UnderpinError('conflict', `Other processes kept storing snapshots of stream ${quote(stream)}`, {
    details: { stream, fold: fold.name },
  })
}

async function verifiedState<E extends NewEvent>(
  port: Port,
  fold: Fold<unknown, E>,
  stream: string,
  before: number,
  { snapshot }: FoundSnapshot,
  options: CallOptions,
): Promise<Snapshot> {
  const isWhole = before === 1
  const replay = async (from: Snapshot | undefined, seq?: number) => {
    const { gap, snapshot } = await new Replay(fold, stream, from).run(
      port,
      seq === undefined ? {} : { seq },
      options,
    )
    if (gap !== undefined) throw await gapError(port, stream, before, gap, options)
    return snapshot
  }
  const once = await replay(isWhole ? undefined : snapshot)
  const twice = await replay(isWhole ? undefined : snapshot, once.seq)
  const byWay = snapshot === undefined ? twice : await replay(snapshot, once.seq)
  const texts = [once, twice, byWay].map(({ state }) => encodeValue(state, port.limits))
  if (texts.every((text) => text === texts[0])) return once
  throw new UnderpinError(
    'mismatch',
    `Fold ${fold.name} does not give one state for stream ${quote(stream)}`,
    {
      hint: 'Its step must be pure, and its version raised whenever it changes. Nothing was removed.',
      details: { stream, fold: fold.name, seq: once.seq },
    },
  )
}

/** Another process may have truncated the stream meanwhile; else there is no snapshot to begin from. */
async function gapError(port: Port, stream: string, before: number, gap: number, options: CallOptions) {
  const error = await truncated(port, stream, gap, options)
  return error.code === 'truncated' && gap > before ? overtaken(stream) : error
}

export function overtaken(stream: string): UnderpinError {
  return new UnderpinError(
    'conflict',
    `Another process changed stream ${quote(stream)} or its snapshots meanwhile`,
    {
      hint: 'Nothing is lost: what was removed is covered. Compact again.',
      details: { stream },
    },
  )
}

/** The revision under which the state is stored; undefined if another process was quicker. */
async function stored(
  port: Port,
  fold: string,
  { snapshot, expect }: FoundSnapshot,
  state: Snapshot,
  options: CallOptions,
): Promise<Position | undefined> {
  const isThere = snapshot !== undefined && encodeValue(snapshot) === encodeValue(state)
  if (isThere) return expect as Position
  const revision = await putSnapshot(port, fold, state, expect, options)
  if (revision === undefined) return undefined
  const found = await loadSnapshot(port, { name: fold, version: state.version }, state.stream, options)
  if (found.expect !== revision) return undefined
  if (encodeValue(found.snapshot) === encodeValue(state)) return revision
  throw new UnderpinError('damaged', `The snapshot of stream ${quote(state.stream)} is not what was stored`, {
    details: { stream: state.stream, fold },
  })
}

function laterVersion(fold: string, stream: string): UnderpinError {
  return new UnderpinError(
    'mismatch',
    `There is a snapshot of stream ${quote(stream)} by a later version of fold ${fold}`,
    { hint: 'Compact with the version that the application uses now.', details: { stream, fold } },
  )
}
