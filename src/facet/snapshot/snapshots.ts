/** Snapshots: the state of a stream as it was at a seq, one document for each fold and stream in `$snapshots`. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import type { Check, DocumentExpectation } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import { checksumOf } from '../../model/digest.ts'
import { checkName } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { OwnCollections, Port } from '../port.ts'
import { truncationCollections } from '../truncated.ts'
import type { Fold } from './fold.ts'

const snapshots = '$snapshots'
export const snapshotCollections: OwnCollections = {
  [snapshots]: plainCollection,
  ...truncationCollections,
}

/** What is kept. */
export interface Snapshot {
  /** The fold's. */
  readonly version: number
  readonly stream: string
  /** The last event in the state. */
  readonly seq: number
  readonly position: Position
  /** The latest time of any event in the state. */
  readonly until: number
  readonly state: unknown
}

/** What was found under a fold's name. */
export interface FoundSnapshot {
  /** Of the fold's own version; undefined if there is none. */
  readonly snapshot: Snapshot | undefined
  /** When it was taken; milliseconds since 1970. */
  readonly at: number
  /** What must still be so for another one to be put in its place. */
  readonly expect: DocumentExpectation
  /** It is of a later version of the fold, which another process has: it stays. */
  readonly isOfLaterVersion: boolean
}

/** `invalid` if the fold has no proper name or version. */
export function checkFold({ name, version }: Fold<never, never>, port: Port): void {
  checkName(name, 'The fold', port.limits)
  if (!Number.isSafeInteger(version) || version < 0)
    throw new UnderpinError('invalid', `The version of fold ${name} must be a whole number, not ${version}`)
}

/** A stream's name may be as long as an id, so a long one is kept as its hash, and the snapshot says whose it is. */
function snapshotId(fold: string, stream: string, port: Port): string {
  const id = `${fold}/${stream}`
  return Buffer.byteLength(id) <= port.limits.idBytes ? id : `${fold}#${checksumOf(stream)}`
}

export async function loadSnapshot<S, E extends never>(
  port: Port,
  fold: Pick<Fold<S, E>, 'name' | 'version'>,
  stream: string,
  options?: CallOptions,
): Promise<FoundSnapshot> {
  const key = { collection: snapshots, id: snapshotId(fold.name, stream, port) }
  const [record] = (await port.get([key], options)).documents
  if (record?.kind !== 'document')
    return { snapshot: undefined, at: 0, expect: 'absent', isOfLaterVersion: false }
  const stored = decodeValue(record.data) as Snapshot
  const isOurs = stored.version === fold.version && stored.stream === stream
  return {
    snapshot: isOurs ? stored : undefined,
    at: record.at,
    expect: record.position,
    isOfLaterVersion: stored.stream === stream && stored.version > fold.version,
  }
}

/** The check that a snapshot is still what was found. */
export function snapshotCheck(fold: string, stream: string, expect: DocumentExpectation, port: Port): Check {
  return { kind: 'document', collection: snapshots, id: snapshotId(fold, stream, port), expect }
}

/**
 * Puts a snapshot where another one was found; its revision, or undefined if something else is there by now. So an older
 * one never replaces a newer. `too-large` if the state is more than a document can hold.
 */
export async function putSnapshot(
  port: Port,
  fold: string,
  snapshot: Snapshot,
  expect: DocumentExpectation,
  options?: CallOptions,
): Promise<Position | undefined> {
  const id = snapshotId(fold, snapshot.stream, port)
  const data = encodeValue(snapshot, port.limits)
  const outcome = await port.commit(
    {
      at: port.clock.now(),
      writes: [{ kind: 'put', collection: snapshots, id, data, expiresAt: null }],
      checks: [{ kind: 'document', collection: snapshots, id, expect }],
    },
    options,
  )
  if (outcome.kind === 'refused') throw outcome.error
  return outcome.kind === 'committed' ? outcome.positions[0] : undefined
}
