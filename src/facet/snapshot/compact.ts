/**
 * Compaction: what a snapshot covers of a stream is archived, if wanted, and truncated. In this order: the states are
 * replayed twice and compared, snapshots of them stored and read back; the events archived and read back; then truncated,
 * by commits that depend on those very snapshots. Dying anywhere between loses nothing: what was done is done again.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { DocumentExpectation } from '../../model/check.ts'
import type { Commit } from '../../model/commit.ts'
import { checksumOf } from '../../model/digest.ts'
import type { Event } from '../../model/event.ts'
import type { Position } from '../../model/position.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import { encodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { type StoredTruncation, storedTruncation } from '../truncated.ts'
import { type Archive, writeArchive } from './archive.ts'
import { leastCheckpoint } from './checkpoints.ts'
import { type Covered, cover, overtaken } from './cover.ts'
import type { Fold } from './fold.ts'
import { loadSnapshot, snapshotCheck, snapshotCollections } from './snapshots.ts'

export interface CompactOptions extends CallOptions {
  /** Where the events are kept that are removed; `false` removes them for good. */
  readonly archive: Archive | false
  /** Events to leave at the end of what the snapshots cover; 1 if left out, and at least. */
  readonly keep?: number
  /**
   * No event behind this position is removed. Left out, it is the least checkpoint of the domain's subscriptions and
   * projections, which would miss what is removed before they have seen it, and what is before the stream's first parked event.
   */
  readonly protect?: Position
}

export interface Compaction {
  /** The first seq that is left. */
  readonly before: number
  /** Events removed by this call. */
  readonly removed: number
  /** The reference of the archive of what was removed by the last compaction, this one or one before; null if it was not archived. */
  readonly archive: string | null
  /** Why fewer events were removed than the snapshots cover. */
  readonly protectedAfter: Position | undefined
}

/** Events removed in one commit: other writers wait for that long. */
const eventsPerCommit = 10_000
/** How often compaction begins again when another process changes what it stands on. */
const attempts = 5

/** `conflict` if other processes kept changing the snapshots or compacting the stream; nothing is lost then. */
export async function compactStream<E extends NewEvent>(
  port: Port,
  stream: string,
  folds: readonly Fold<unknown, E>[],
  options: CompactOptions,
): Promise<Compaction> {
  checkOptions(folds, options)
  await port.ensure(snapshotCollections)
  for (let attempt = 1; ; attempt++) {
    try {
      return await compactOnce(port, stream, folds, options)
    } catch (error) {
      if (!isUnderpinError(error, 'conflict') || attempt === attempts) throw error
    }
  }
}

function checkOptions(folds: readonly unknown[], options: CompactOptions | undefined): void {
  const { archive, keep = 1, protect = 0 }: Partial<CompactOptions> = options ?? {}
  if (folds.length === 0) throw new TypeError('Name the folds whose snapshots are to cover what is removed')
  if (archive === undefined) throw new TypeError('Say where to archive what is removed, or archive: false')
  if (archive !== false && typeof archive.write !== 'function')
    throw new TypeError('The archive must be archiveFolder(path), or an object with write and read')
  if (!Number.isSafeInteger(keep) || keep < 1)
    throw new UnderpinError('invalid', `The events to keep must be a whole number from 1 on, not ${keep}`)
  if (!Number.isSafeInteger(protect) || protect < 0)
    throw new UnderpinError(
      'invalid',
      `The position to protect must be a whole number from 0 on, not ${protect}`,
    )
}

/** The stored truncation of a stream, and its revision. */
interface Known extends StoredTruncation {
  readonly expect: DocumentExpectation
}

async function compactOnce<E extends NewEvent>(
  port: Port,
  stream: string,
  folds: readonly Fold<unknown, E>[],
  options: CompactOptions,
): Promise<Compaction> {
  const known = await findTruncation(port, stream, options)
  const covered: Covered[] = []
  for (const fold of folds) covered.push(await cover(port, fold, stream, known, options))
  const wanted = Math.min(...covered.map(({ seq }) => seq)) - (options.keep ?? 1) + 1
  const protect = options.protect ?? (await leastCheckpoint(port, stream, options))
  const before = await behind(port, stream, known.before, wanted, protect, options)
  const protectedAfter = before < wanted ? protect : undefined
  if (before <= known.before)
    return { before: known.before, removed: 0, archive: known.archive, protectedAfter }
  const archive = await archived(port, stream, known, before, options)
  await truncate(port, stream, { ...known, archive }, before, folds, covered, options)
  return { before, removed: before - known.before, archive, protectedAfter }
}

async function findTruncation(port: Port, stream: string, options: CallOptions): Promise<Known> {
  const { documents } = await port.get([{ collection: truncationsCollection, id: stream }], options)
  const known = storedTruncation(documents[0]) ?? { before: 1, archive: null, last: 0 }
  return { ...known, expect: documents[0]?.position ?? 'absent' }
}

/** The highest seq up to `wanted` before which no event is behind the protected position. Positions grow with seqs. */
async function behind(
  port: Port,
  stream: string,
  first: number,
  wanted: number,
  protect: Position | undefined,
  options: CallOptions,
): Promise<number> {
  if (protect === undefined || wanted <= first) return Math.max(first, wanted)
  let [low, high] = [first, wanted]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((await positionAt(port, stream, middle, options)) <= protect) low = middle + 1
    else high = middle
  }
  return low
}

async function positionAt(port: Port, stream: string, seq: number, options: CallOptions): Promise<Position> {
  const range = { after: seq - 1, before: seq + 1, backwards: false, limit: 1 }
  const [event] = (await port.read(stream, range, options)).items
  if (event === undefined) throw overtaken(stream)
  return event.position
}

async function archived(
  port: Port,
  stream: string,
  { before: first, archive: previous }: Known,
  before: number,
  { archive, signal }: CompactOptions,
): Promise<string | null> {
  if (archive === false) return null
  const part = { domain: port.domain, stream, first, last: before - 1, previous }
  const name = `${port.domain}-${checksumOf(stream).slice(0, 16)}-${first}-${before - 1}.ndjson.gz`
  return writeArchive(archive, part, name, eventsOf(port, stream, first, before, signal && { signal }))
}

async function* eventsOf(
  port: Port,
  stream: string,
  first: number,
  before: number,
  options?: CallOptions,
): AsyncGenerator<Event> {
  for (let seq = first; seq < before; ) {
    const range = { after: seq - 1, before, backwards: false, limit: Math.min(1_000, port.limits.pageItems) }
    const { items } = await port.read(stream, range, options)
    if (items[0]?.seq !== seq) throw overtaken(stream)
    yield* items
    seq += items.length
  }
}

/** Removes the events, some at a time. Each commit depends on the snapshots: as they were verified, or newer ones. */
async function truncate<E extends NewEvent>(
  port: Port,
  stream: string,
  known: Known,
  before: number,
  folds: readonly Fold<unknown, E>[],
  covered: readonly Covered[],
  options: CallOptions,
): Promise<void> {
  const expected = covered.map(({ revision }) => revision as DocumentExpectation)
  let { expect } = known
  for (let from = known.before; from < before; ) {
    const to = Math.min(before, from + eventsPerCommit)
    const last = await positionAt(port, stream, to - 1, options)
    const data = encodeValue({ before: to, archive: known.archive, last } satisfies StoredTruncation)
    const commit: Commit = {
      at: port.clock.now(),
      writes: [{ kind: 'put', collection: truncationsCollection, id: stream, data, expiresAt: null }],
      checks: [
        { kind: 'document', collection: truncationsCollection, id: stream, expect },
        ...folds.map(({ name }, i) => snapshotCheck(name, stream, expected[i] as DocumentExpectation, port)),
      ],
    }
    const outcome = await port.commit(commit, options)
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'committed') {
      expect = outcome.positions[0] as Position
      from = to
    } else if (
      outcome.failed.some(
        (failed) =>
          failed.kind === 'document' && failed.id === stream && failed.collection === truncationsCollection,
      )
    ) {
      throw overtaken(stream)
    } else {
      for (const [i, fold] of folds.entries()) expected[i] = await newer(port, fold, stream, before, options)
    }
  }
}

/** The revision of a snapshot that was taken since; `conflict` if it does not cover what is being removed. */
async function newer<E extends NewEvent>(
  port: Port,
  fold: Fold<unknown, E>,
  stream: string,
  before: number,
  options: CallOptions,
): Promise<DocumentExpectation> {
  const { snapshot, expect } = await loadSnapshot(port, fold, stream, options)
  if (snapshot === undefined || snapshot.seq < before - 1) throw overtaken(stream)
  return expect
}
