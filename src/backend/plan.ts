/**
 * What a group of commits does to a domain, worked out against what the domain holds: checks are judged, positions and
 * seqs given, checksums and the digest summed. Pure: a backend looks things up for it and then writes what it says.
 */
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Change, Write } from '../model/change.ts'
import { type Check, documentIs, type FailedCheck, streamIs } from '../model/check.ts'
import {
  type CollectionDefinition,
  definitionsCollection,
  type FieldValue,
  uniqueKey,
} from '../model/collection.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { noteChanges } from '../model/committed.ts'
import { type Checksum, DigestSum } from '../model/digest.ts'
import {
  type Document,
  documentChecksum,
  isExpired,
  type Tombstone,
  tombstoneChecksum,
} from '../model/document.ts'
import { eventChecksum } from '../model/event.ts'
import type { Fence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import { truncationsCollection } from '../model/truncation.ts'
import { decodeValue } from '../model/value.ts'
import { type Held, holderKey, Stage, type View } from './stage.ts'
import { judgeTruncation, type Removed } from './truncate.ts'

export interface Plan {
  readonly outcomes: readonly Outcome[]
  /** The new records, in position order; of a document changed twice both. */
  readonly changes: readonly Change[]
  /** Documents that a follower must drop without a trace, before the changes: older state in the way of a unique index. */
  readonly evicted: readonly { readonly collection: string; readonly id: string }[]
  /** Streams whose events below a seq are to be removed. */
  readonly removed: readonly Removed[]
  readonly head: Position
  readonly digest: DigestSum
  /** A follower then holds what its source does: no older state is in the way of a unique index. */
  readonly isWhole: boolean
  /** The seqs and documents that the changes leave, for caches. */
  readonly stage: Stage
}

/** What a plan starts from: the last position of the domain, and the digest there. */
export interface Base {
  readonly head: Position
  readonly digest: DigestSum
}

export function baseOf({ head, digest }: Fence): Base {
  return { head, digest: new DigestSum(digest) }
}

/** Plans a group of commits, to be written under a fence that holds authority. */
export function planCommits(view: View, base: Base, commits: readonly Commit[]): Plan {
  const group = new Group(view, base.head)
  const outcomes = commits.map((commit) => group.plan(commit))
  const digest = base.digest.copy()
  for (const checksum of group.superseded) digest.subtract(checksum)
  for (const { checksum } of group.changes) digest.add(checksum)
  const { changes, removed, stage } = group
  return {
    outcomes,
    changes,
    evicted: [],
    removed,
    head: base.head + changes.length,
    digest,
    isWhole: false,
    stage,
  }
}

/**
 * Parts a group where a commit declares a collection, truncates a stream or has a table handler. Such a commit stands
 * alone: what comes behind a declaration must be judged by indexes that are not there yet, what a truncation removes
 * must have been written, and what a handler undoes must be the transaction of its own commit. What fails behind the first part is the outcome of its own
 * commits only; but for a store that is busy: then nothing behind it is tried either, so that it can be in its order.
 */
export function inParts(
  commits: readonly Commit[],
  commit: (part: readonly Commit[]) => readonly Outcome[],
): readonly Outcome[] {
  const parts = partsOf(commits)
  if (parts.length === 1) return commit(commits)
  const outcomes: Outcome[] = []
  for (const part of parts) {
    try {
      outcomes.push(...commit(part))
    } catch (error) {
      if (outcomes.length === 0) throw error
      const refused = isUnderpinError(error, 'unavailable') ? commits.slice(outcomes.length) : part
      outcomes.push(...refused.map(() => ({ kind: 'refused' as const, error })))
      if (refused !== part) break
    }
  }
  return outcomes
}

/** The same, for a backend that answers later. */
export async function inPartsAsync(
  commits: readonly Commit[],
  commit: (part: readonly Commit[]) => Promise<readonly Outcome[]>,
): Promise<readonly Outcome[]> {
  const parts = partsOf(commits)
  if (parts.length === 1) return commit(commits)
  const outcomes: Outcome[] = []
  for (const part of parts) {
    try {
      outcomes.push(...(await commit(part)))
    } catch (error) {
      if (outcomes.length === 0) throw error
      const refused = isUnderpinError(error, 'unavailable') ? commits.slice(outcomes.length) : part
      outcomes.push(...refused.map(() => ({ kind: 'refused' as const, error })))
      if (refused !== part) break
    }
  }
  return outcomes
}

function partsOf(commits: readonly Commit[]): readonly (readonly Commit[])[] {
  if (!commits.some(standsAlone)) return [commits]
  const parts: Commit[][] = []
  let isOpen = false
  for (const commit of commits) {
    if (isOpen && !standsAlone(commit)) parts.at(-1)?.push(commit)
    else parts.push([commit])
    isOpen = !standsAlone(commit)
  }
  return parts
}

function standsAlone(commit: Commit): boolean {
  return commit.tables !== undefined || changesIn(commit) !== undefined
}

/** The collection, if the commit writes into one that backends interpret. */
function changesIn({ writes }: Commit): string | undefined {
  for (const write of writes)
    if (
      write.kind !== 'append' &&
      (write.collection === definitionsCollection || write.collection === truncationsCollection)
    )
      return write.collection
  return undefined
}

/** The commits of a group so far. */
class Group {
  readonly changes: Change[] = []
  readonly superseded: Checksum[] = []
  readonly removed: Removed[] = []
  readonly stage: Stage
  readonly #head: Position

  constructor(view: View, head: Position) {
    this.stage = new Stage(view)
    this.#head = head
  }

  plan(commit: Commit): Outcome {
    const interpreted = changesIn(commit)
    if (interpreted !== undefined && !commit.writes.every((write) => isPutInto(write, interpreted)))
      return { kind: 'refused', error: mixed(interpreted) }
    const failed = this.#judge(commit)
    if (failed !== undefined) return { kind: 'failed', failed }
    if (!this.#mayFailHalfway(commit)) return new Attempt(this, this.stage, this.#head, commit).run()
    const [changes, superseded, removed] = [this.changes.length, this.superseded.length, this.removed.length]
    const attempt = new Attempt(this, new Stage(this.stage), this.#head, commit)
    const outcome = attempt.run()
    if (outcome.kind === 'committed') {
      this.stage.absorb(attempt.stage)
    } else {
      this.changes.length = changes
      this.superseded.length = superseded
      this.removed.length = removed
    }
    return outcome
  }

  /** The checks that fail, all judged against the state before the commit. */
  #judge({ at, checks }: Commit): FailedCheck[] | undefined {
    let failed: FailedCheck[] | undefined
    for (const check of checks) {
      const found = judge(this.stage, check, at)
      if (found !== undefined) failed = [...(failed ?? []), found]
    }
    return failed
  }

  /** Whether a write of the commit can be refused after others were planned: such a commit gets a stage of its own. */
  #mayFailHalfway(commit: Commit): boolean {
    for (const write of commit.writes) {
      if (write.kind === 'append') continue
      const definition = this.stage.definition(write.collection)
      if (definition === undefined || changesIn(commit) !== undefined) return true
      for (const name in definition.indexes) if (definition.indexes[name]?.unique) return true
    }
    return false
  }
}

function isPutInto(write: Write, collection: string): boolean {
  return write.kind === 'put' && write.collection === collection
}

function mixed(collection: string): UnderpinError {
  const what =
    collection === definitionsCollection
      ? 'declares a collection can do nothing else, and a declaration cannot be deleted'
      : 'truncates streams can do nothing else, and a truncation cannot be deleted'
  return new UnderpinError('invalid', `A commit that ${what}`)
}

function judge(stage: Stage, check: Check, at: number): FailedCheck | undefined {
  if (check.kind === 'stream') {
    const found = stage.seq(check.stream)
    if (streamIs(found, check.expect)) return undefined
    return { kind: 'stream', stream: check.stream, expected: check.expect, found }
  }
  const { collection, id, expect } = check
  const found = revisionOf(stage.document(collection, id), at)
  return documentIs(found, expect) ? undefined : { kind: 'document', collection, id, expected: expect, found }
}

/** The revision that checks see: 0 for what is deleted or expired. */
function revisionOf(held: Held | undefined, at: number): number {
  return held === undefined || held.isTombstone || isExpired(held.expiresAt, at) ? 0 : held.position
}

/** The writes of one commit. */
class Attempt {
  readonly stage: Stage
  readonly #group: Group
  readonly #head: Position
  readonly #first: Position
  readonly #commit: Commit
  #seqs: number[] = []
  #failed: FailedCheck | undefined

  constructor(group: Group, stage: Stage, head: Position, commit: Commit) {
    this.stage = stage
    this.#group = group
    this.#head = head
    this.#first = head + group.changes.length + 1
    this.#commit = commit
  }

  run(): Outcome {
    const { writes } = this.#commit
    const { changes } = this.#group
    const from = changes.length
    for (const write of writes) if (write.kind === 'put') this.#evictExpired(write)
    const positions: Position[] = []
    for (const write of writes) {
      positions.push(this.#next())
      const refusal = this.#write(write)
      if (refusal !== undefined) return { kind: 'refused', error: refusal }
      if (this.#failed !== undefined) return { kind: 'failed', failed: [this.#failed] }
    }
    return noteChanges({ kind: 'committed', positions, seqs: this.#seqs }, changes, from)
  }

  #write(write: Write): UnderpinError | undefined {
    if (write.kind === 'append') {
      this.#append(write)
      return undefined
    }
    const definition = this.stage.definition(write.collection)
    if (definition === undefined) return undeclared(write.collection)
    if (write.kind === 'delete') {
      this.#delete(write.collection, write.id)
      return undefined
    }
    const refusal = write.collection === truncationsCollection ? this.#truncate(write) : undefined
    if (refusal === undefined) this.#put(write, definition)
    return refusal
  }

  #truncate(write: Write & { kind: 'put' }): UnderpinError | undefined {
    const { removed, superseded } = this.#group
    const judged = judgeTruncation(this.stage, removed, write)
    if (judged instanceof UnderpinError) return judged
    removed.push(judged)
    superseded.push(judged.sum)
    return undefined
  }

  #append({ stream, type, data, meta }: Write & { kind: 'append' }): void {
    const { at } = this.#commit
    const position = this.#next()
    const seq = this.stage.seq(stream) + 1
    const commit = this.#first
    const event = {
      kind: 'event' as const,
      stream,
      seq,
      type,
      data,
      meta,
      at,
      position,
      commit,
      checksum: '',
    }
    event.checksum = eventChecksum(event)
    this.stage.setSeq(stream, seq)
    this.#seqs.push(seq)
    this.#group.changes.push(event)
  }

  #put(write: Write & { kind: 'put' }, definition: CollectionDefinition): void {
    const keys = this.#claimKeys(write, definition)
    if (keys === undefined) return
    const { collection, id, data, expiresAt } = write
    const { at } = this.#commit
    const position = this.#next()
    const kind = 'document' as const
    const commit = this.#first
    const document = { kind, collection, id, data, expiresAt, at, position, commit, checksum: '' }
    document.checksum = documentChecksum(document)
    this.#replace(document, { position, checksum: document.checksum, expiresAt, isTombstone: false }, keys)
    this.stage.declare(document)
  }

  #delete(collection: string, id: string): void {
    const { at } = this.#commit
    const position = this.#next()
    const content = { kind: 'tombstone', collection, id, at, position, commit: this.#first } as const
    const tombstone = { ...content, checksum: tombstoneChecksum(content) }
    this.#replace(
      tombstone,
      { position, checksum: tombstone.checksum, expiresAt: null, isTombstone: true },
      [],
    )
  }

  #next(): Position {
    return this.#head + this.#group.changes.length + 1
  }

  #replace(change: Document | Tombstone, held: Held, keys: readonly string[]): void {
    const before = this.stage.document(change.collection, change.id)
    if (before !== undefined) this.#group.superseded.push(before.checksum)
    this.stage.setDocument(change.collection, change.id, held, keys)
    this.#group.changes.push(change)
  }

  /** Expired documents that hold a unique key of this put are deleted first, so that the writes' positions stay together. */
  #evictExpired({ collection, id, data }: Write & { kind: 'put' }): void {
    const definition = this.stage.definition(collection)
    if (definition === undefined) return
    for (const [index, key] of uniqueKeysOf(definition, data)) {
      const holder = this.stage.holder(collection, index, key)
      if (holder === undefined || holder === id) continue
      const held = this.stage.document(collection, holder)
      if (held !== undefined && isExpired(held.expiresAt, this.#commit.at)) this.#delete(collection, holder)
    }
  }

  /** The unique keys of a put, or undefined if another document holds one (the check failed). */
  #claimKeys(
    { collection, id, data }: Write & { kind: 'put' },
    definition: CollectionDefinition,
  ): readonly string[] | undefined {
    const keys: string[] = []
    for (const [index, key] of uniqueKeysOf(definition, data)) {
      const holder = this.stage.holder(collection, index, key)
      if (holder !== undefined && holder !== id) {
        const found = this.stage.document(collection, holder)?.position ?? 0
        this.#failed = { kind: 'unique', collection, id, index, holder, found }
        return undefined
      }
      keys.push(holderKey(collection, index, key))
    }
    return keys
  }
}

export function uniqueKeysOf(
  definition: CollectionDefinition,
  data: Parameters<typeof decodeValue>[0],
): [string, FieldValue[]][] {
  const keys: [string, FieldValue[]][] = []
  let value: unknown
  for (const name in definition.indexes) {
    const index = definition.indexes[name]
    if (!index?.unique) continue
    value ??= decodeValue(data)
    const key = uniqueKey(definition, index, value)
    if (key !== undefined) keys.push([name, key])
  }
  return keys
}

function undeclared(collection: string): UnderpinError {
  return new UnderpinError('invalid', `The collection ${collection} is not declared in this domain`, {
    hint: `Declare it: openStore(url, { domains: { …: { collections: { ${JSON.stringify(collection)}: {} } } } })`,
    details: { collection },
  })
}

const noDefinitions = new Map<string, CollectionDefinition>()

/** The definitions that a list of changes declares, the last of each collection. */
export function declaredIn(changes: readonly Change[]): ReadonlyMap<string, CollectionDefinition> {
  let declared = noDefinitions
  for (const change of changes) {
    if (change.kind === 'document' && change.collection === definitionsCollection) {
      if (declared === noDefinitions) declared = new Map()
      declared.set(change.id, decodeValue(change.data) as CollectionDefinition)
    }
  }
  return declared
}

type Role = Pick<Fence, 'role' | 'epoch' | 'successor'>

/** Refuses a commit on a backend that does not hold authority under the epoch that the caller believes in. */
export function checkAuthority(domain: string, fence: Role, epoch: number): void {
  if (fence.role === 'authority' && fence.epoch === epoch) return
  throw new UnderpinError(
    'fenced',
    `Domain ${domain} does not accept commits of epoch ${epoch} here: it is ${fence.role} at epoch ${fence.epoch}`,
    {
      hint: 'The store finds the backend that has authority and tries again; seen by an application, no candidate backend has it.',
      details: { domain, epoch, found: fence.epoch, role: fence.role, successor: fence.successor },
    },
  )
}

/** Refuses a page on a backend that is no follower under the epoch named. */
export function checkFollower(domain: string, fence: Role, epoch: number): void {
  if ((fence.role === 'follower' || fence.role === 'prepared') && fence.epoch === epoch) return
  throw new UnderpinError(
    'fenced',
    `Domain ${domain} takes no pages of epoch ${epoch} here: it is ${fence.role} at epoch ${fence.epoch}`,
    {
      details: { domain, epoch, found: fence.epoch, role: fence.role },
    },
  )
}
