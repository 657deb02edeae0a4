/** Sends a draft as one commit, and finds out what became of it when its id is known already. */
import type { CallOptions } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import { commitsCollection } from '../model/collection.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { type Document, isExpired, type Tombstone } from '../model/document.ts'
import { quote } from '../model/key.ts'
import { decodeValue } from '../model/value.ts'
import { type CommitOptions, type CommitResult, type Draft, isKnownId, toReplay, toResult } from './draft.ts'
import type { Port, SyncPort } from './port.ts'

/** Commits; fails with `conflict` if a check failed. With an id, an unknown outcome is resolved by committing again. */
export async function send(
  port: Port,
  draft: Draft,
  options: CommitOptions & CallOptions,
): Promise<CommitResult> {
  const commit = draft.toCommit(port.clock.now(), options)
  if (options.id !== undefined) return sendOnce(port, draft, commit, options.id, options)
  return toResult(await port.commit(commit, options), commit, options)
}

async function sendOnce(
  port: Port,
  draft: Draft,
  commit: Commit,
  id: string,
  options: CommitOptions & CallOptions,
): Promise<CommitResult> {
  const since = port.clock.monotonic()
  const outcome = await port.commit(commit, options).catch((error: unknown) => {
    const leftMs = port.deadlineMs - (port.clock.monotonic() - since)
    const mayRetry = isUnderpinError(error, 'unknown') && !options.signal?.aborted && leftMs > 0
    if (!mayRetry) throw error
    return commitWithin(port, commit, leftMs, options).catch((cause: unknown) => {
      // Whatever the second attempt met, the first may have been applied.
      throw new UnderpinError('unknown', error.message, {
        hint: 'Make the same call again, with the same id, to find out.',
        cause,
      })
    })
  })
  if (!isKnownId(outcome, id)) return toResult(outcome, commit, options)
  const { documents } = await port.get([{ collection: commitsCollection, id }], options)
  const record = readRecord(id, documents[0])
  if (!draft.dependsOnReads) draft.checkFingerprint(id, record.fingerprint)
  return replay(port, record, options)
}

/** A commit that is given up when its time is over. */
async function commitWithin(
  port: Port,
  commit: Commit,
  ms: number,
  { signal }: CallOptions,
): Promise<Outcome> {
  const over = new AbortController()
  const cancel = port.clock.timer(ms, () => over.abort())
  try {
    const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    return await port.commit(commit, { signal: either })
  } finally {
    cancel()
  }
}

/** What a commit with this id did, if there was one: asked before the work that such a commit needs is done again. */
export async function recall(
  port: Port,
  id: string,
  options: CallOptions,
): Promise<CommitResult | undefined> {
  const { documents } = await port.get([{ collection: commitsCollection, id }], options)
  const [record] = documents
  if (record?.kind !== 'document' || isExpired(record.expiresAt, port.clock.now())) return undefined
  return replay(port, readRecord(id, record), options)
}

async function replay(port: Port, record: CommitRecord, options: CallOptions): Promise<CommitResult> {
  const from = record.position - record.writes - 1
  const page = record.writes === 0 ? [] : (await port.changes(from, record.writes, options)).items
  return toReplay(record, record.writes, seqsOf(page, record))
}

/** The same, synchronously. */
export function sendSync(port: SyncPort, draft: Draft, options: CommitOptions): CommitResult {
  const commit = draft.toCommit(port.clock.now(), options)
  const outcome = port.commit(commit)
  if (options.id === undefined || !isKnownId(outcome, options.id)) return toResult(outcome, commit, options)
  const record = readRecord(
    options.id,
    port.get([{ collection: commitsCollection, id: options.id }]).documents[0],
  )
  draft.checkFingerprint(options.id, record.fingerprint)
  const page =
    record.writes === 0 ? [] : port.changes(record.position - record.writes - 1, record.writes).items
  return toReplay(record, record.writes, seqsOf(page, record))
}

interface CommitRecord {
  readonly id: string
  readonly fingerprint: string
  readonly writes: number
  /** Those of them that are events; a record of an early version does not say. */
  readonly appends: number | undefined
  readonly position: number
  readonly at: number
}

function readRecord(id: string, record: Document | Tombstone | undefined): CommitRecord {
  if (record?.kind !== 'document')
    throw new UnderpinError('unknown', `The record of commit ${id} expired while it was being read`)
  const { fingerprint, writes, appends } = decodeValue(record.data) as Omit<
    CommitRecord,
    'id' | 'position' | 'at'
  >
  return { id, fingerprint, writes, appends, position: record.position, at: record.at }
}

function seqsOf(changes: readonly Change[], { id, appends, position }: CommitRecord): number[] {
  const seqs = changes.flatMap((change) =>
    change.kind === 'event' && change.position < position ? [change.seq] : [],
  )
  if (appends === undefined || seqs.length === appends) return seqs
  throw new UnderpinError(
    'truncated',
    `The commit ${quote(id)} was applied before, and events of it were truncated since: their seqs cannot be told`,
    { hint: 'It is done: do not make it again with another id.', details: { id, position } },
  )
}
