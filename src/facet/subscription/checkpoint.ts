/** Checkpoints: how far a consumer has come, one document each in `$subscriptions`. */
import type { CallOptions } from '../../backend/backend.ts'
import type { Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { OwnCollections, Port } from '../port.ts'

export const checkpoints = '$subscriptions'
export const checkpointCollections: OwnCollections = { [checkpoints]: plainCollection }

/** What keeps a consumer from going on. */
export interface Trouble {
  /** Of the change that failed. */
  readonly position: Position
  /** How often it was tried. */
  readonly attempt: number
  /** When it is tried again, in milliseconds since 1970 by the consumer's clock: to be shown, not to be relied on. */
  readonly untilMs: number
  readonly error: string
}

export interface Checkpoint {
  /** Everything up to here is done. */
  readonly position: Position
  /** Among how many partitions the changes are divided. */
  readonly partitions: number
  /** How often it was reset. */
  readonly resets: number
  /** How often parked events were asked to be replayed. */
  readonly replays: number
  readonly isPaused: boolean
  readonly trouble: Trouble | null
}

export interface StoredCheckpoint extends Checkpoint {
  /** What a commit that moves it expects. */
  readonly revision: number
  /** When it was last moved, in milliseconds since 1970. */
  readonly at: number
}

/** Several checkpoints, in the order of their ids. */
export async function readCheckpoints(
  port: Port,
  ids: readonly string[],
  options?: CallOptions,
): Promise<readonly (StoredCheckpoint | undefined)[]> {
  const { documents } = await port.get(
    ids.map((id) => ({ collection: checkpoints, id })),
    options,
  )
  return documents.map((found) =>
    found?.kind === 'document'
      ? { ...(decodeValue(found.data) as Checkpoint), revision: found.position, at: found.at }
      : undefined,
  )
}

/**
 * Makes checkpoints that are not there, all in one commit, so that all partitions of a subscription begin at the same
 * position. Two processes may do so at once: one does.
 */
export async function makeCheckpoints(port: Port, ids: readonly string[], position: Position): Promise<void> {
  const made = ids.map((id) =>
    checkpointWrites(id, 'absent', {
      position,
      partitions: ids.length,
      resets: 0,
      replays: 0,
      isPaused: false,
      trouble: null,
    }),
  )
  const outcome = await port.commit({
    at: port.clock.now(),
    writes: made.map(({ write }) => write),
    checks: made.map(({ check }) => check),
  })
  if (outcome.kind === 'refused') throw outcome.error
}

/** What changes a checkpoint from the revision at which it was read. */
export function checkpointWrites(
  id: string,
  expect: number | 'absent',
  { position, partitions, resets, replays, isPaused, trouble }: Checkpoint,
): { readonly write: Write; readonly check: Check } {
  const data = encodeValue({ position, partitions, resets, replays, isPaused, trouble })
  return {
    write: { kind: 'put', collection: checkpoints, id, data, expiresAt: null },
    check: { kind: 'document', collection: checkpoints, id, expect },
  }
}
