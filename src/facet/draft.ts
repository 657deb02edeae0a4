/** A commit being put together: writes and checks from all facets, encoded as they come. */
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Write } from '../model/change.ts'
import type { Check, DocumentExpectation, FailedCheck, StreamExpectation } from '../model/check.ts'
import { checkFields, commitsCollection } from '../model/collection.ts'
import type { Commit, Committed, Outcome, TableHandler } from '../model/commit.ts'
import { checksumOf } from '../model/digest.ts'
import type { Document } from '../model/document.ts'
import { checkId, quote } from '../model/key.ts'
import type { Limits } from '../model/limit.ts'
import { encodeValue } from '../model/value.ts'
import { type EventCodec, isOwnStream } from './event/codec.ts'
import type { DeclaredCollection, Port } from './port.ts'
import type { NewEvent } from './shape.ts'

export interface AppendOptions {
  /** The stream's last seq: exactly n, `'none'`, or `'some'`. Left out, the append never conflicts. */
  readonly expect?: StreamExpectation
}

export interface PutOptions {
  /** The document's revision: exactly n, `'absent'`, or `'present'`. Left out, the put never conflicts. */
  readonly expect?: DocumentExpectation
  /** Milliseconds since 1970 from which on the document counts as absent. */
  readonly expiresAt?: number
}

export interface DeleteOptions {
  readonly expect?: DocumentExpectation
}

export interface CommitOptions {
  /** Applied once, however often and from whichever process the commit is retried with this id. */
  readonly id?: string
  /** Milliseconds that the id is remembered; 7 days if left out. */
  readonly idExpiresInMs?: number
}

/** What a commit did. */
export interface CommitResult {
  /** The position of its last change; 0 for a commit without writes. */
  readonly position: number
  /** The position of each write, in order. */
  readonly positions: readonly number[]
  /** The seq of each appended event, in order. */
  readonly seqs: readonly number[]
  /** Milliseconds since 1970: `at` of every record that it wrote. */
  readonly at: number
  /** Whether a commit with this id had been applied before; nothing was written now. */
  readonly isReplay: boolean
}

const defaultIdExpiryMs = 7 * 24 * 3_600_000

export class Draft {
  readonly writes: Write[] = []
  readonly checks: Check[] = []
  #isOver = false
  #pending = 0
  #isCut = false
  /** Whether the writes were made from what was read: then a retry with the same id may well ask for others. */
  dependsOnReads = false
  readonly #limits: Limits
  readonly #events: EventCodec
  #tables: TableHandler | undefined

  constructor({ limits, events }: Pick<Port, 'limits' | 'events'>) {
    this.#limits = limits
    this.#events = events
  }

  /** Nothing is taken any more: what came later would be lost without a word. */
  end(): void {
    this.#isOver = true
    this.#isCut = this.#pending > 0
  }

  /** For work that ends in a write: a callback that returns before it has ended is refused, not committed without it. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#refuseOver()
    this.#pending++
    try {
      return await work()
    } finally {
      this.#pending--
    }
  }

  check(check: Check): void {
    this.#refuseOver()
    this.checks.push(check)
  }

  /** A write that a facet made, encoded and checked. */
  write(write: Write): void {
    this.#refuseOver()
    this.writes.push(write)
  }

  append(stream: string, events: NewEvent | readonly NewEvent[], options: AppendOptions = {}): void {
    this.#refuseOver()
    if (expectsSomething(options)) this.checks.push({ kind: 'stream', stream, expect: options.expect })
    for (const event of Array.isArray(events) ? (events as readonly NewEvent[]) : [events as NewEvent]) {
      const { type, data, meta } = isOwnStream(stream) ? event : this.#events.encode(event)
      const metaText = meta === undefined ? null : encodeValue(meta, this.#limits)
      this.writes.push({
        kind: 'append',
        stream,
        type,
        data: encodeValue(data, this.#limits),
        meta: metaText,
      })
    }
  }

  put(
    collection: string,
    { definition }: DeclaredCollection,
    id: string,
    value: unknown,
    options: PutOptions = {},
  ): void {
    this.#refuseOver()
    if (expectsSomething(options))
      this.checks.push({ kind: 'document', collection, id, expect: options.expect })
    const data = encodeValue(value, this.#limits)
    checkFields(collection, definition, value, this.#limits)
    this.writes.push({ kind: 'put', collection, id, data, expiresAt: options.expiresAt ?? null })
  }

  delete(collection: string, id: string, options: DeleteOptions = {}): void {
    this.#refuseOver()
    if (expectsSomething(options))
      this.checks.push({ kind: 'document', collection, id, expect: options.expect })
    this.writes.push({ kind: 'delete', collection, id })
  }

  /** One handler: what several write belongs together, and its order should be seen in one place. */
  tables<Client>(handler: TableHandler<Client>): void {
    this.#refuseOver()
    if (typeof handler !== 'function') throw new TypeError('A table handler must be a function')
    if (this.#tables !== undefined) throw new TypeError('This transaction has a table handler already')
    this.#tables = handler as TableHandler
  }

  /** The commit; with an id, it also puts a record of the id, which must not be there yet. */
  toCommit(at: number, { id, idExpiresInMs = defaultIdExpiryMs }: CommitOptions): Commit {
    this.#refuseCut()
    const tables = this.#handler()
    if (id === undefined) return { at, writes: this.writes, checks: this.checks, ...tables }
    checkId(id, 'The commit id', this.#limits)
    const appends = this.writes.filter(({ kind }) => kind === 'append').length
    const record = encodeValue({ fingerprint: this.#fingerprint(), writes: this.writes.length, appends })
    const put: Write = {
      kind: 'put',
      collection: commitsCollection,
      id,
      data: record,
      expiresAt: at + idExpiresInMs,
    }
    const absent: Check = { kind: 'document', collection: commitsCollection, id, expect: 'absent' }
    return { at, writes: [...this.writes, put], checks: [...this.checks, absent], ...tables }
  }

  /** What it asks for, to be committed together with something else. */
  toEffect(): Pick<Commit, 'writes' | 'checks' | 'tables'> {
    this.#refuseCut()
    const tables = this.#tables === undefined ? undefined : this.#told(this.#tables)
    return { writes: this.writes, checks: this.checks, ...tables }
  }

  /** `mismatch` if the id was used before for other writes. */
  checkFingerprint(id: string, fingerprint: string): void {
    if (fingerprint === this.#fingerprint()) return
    throw new UnderpinError('mismatch', `The commit id ${quote(id)} was used before for other changes`, {
      hint: 'Give each commit an id of its own, and retry it with the same changes.',
      details: { id },
    })
  }

  /** The handler is told of what the application wrote, not of the record of a commit id. */
  #handler(): Pick<Commit, 'tables'> | undefined {
    const handler = this.#tables
    if (handler === undefined) return undefined
    if (this.writes.length === 0)
      throw new UnderpinError(
        'invalid',
        'A commit with a table handler must write an event or a document too',
      )
    return this.#told(handler)
  }

  #told(handler: TableHandler): Pick<Commit, 'tables'> {
    const count = this.writes.length
    return {
      tables: (client, { positions, ...committed }) =>
        handler(client, { positions: positions.slice(0, count), ...committed }),
    }
  }

  #refuseOver(): void {
    if (!this.#isOver) return
    throw new TypeError(
      'This transaction is over: its callback has returned. Await everything in the callback that uses the transaction.',
    )
  }

  #refuseCut(): void {
    if (!this.#isCut) return
    throw new TypeError(
      'The callback returned before a job was enqueued; nothing was written. Await transaction.enqueue(…).',
    )
  }

  #fingerprint(): string {
    return checksumOf(JSON.stringify(this.writes))
  }
}

function expectsSomething<X>(options: { readonly expect?: X }): options is { readonly expect: X } {
  if (!('expect' in options)) return false
  if (options.expect !== undefined) return true
  throw new UnderpinError('invalid', 'The expectation is undefined', {
    hint: 'An undefined expectation is usually a mistake, so it is not taken for none: leave "expect" out to expect nothing.',
  })
}

/** Whether a failed commit failed because its id is known. */
export function isKnownId(outcome: Outcome, id: string | undefined): boolean {
  if (id === undefined || outcome.kind !== 'failed') return false
  return outcome.failed.some(
    (failed) => failed.kind === 'document' && failed.collection === commitsCollection && failed.id === id,
  )
}

/** The result of an outcome; the failed checks as `conflict`. The record of a commit id is left out. */
export function toResult(outcome: Outcome, { at }: Pick<Commit, 'at'>, options: CommitOptions): CommitResult {
  assertCommitted(outcome)
  const positions = options.id === undefined ? outcome.positions : outcome.positions.slice(0, -1)
  return { position: positions.at(-1) ?? 0, positions, seqs: outcome.seqs, at, isReplay: false }
}

/** Throws what a commit was refused with; the failed checks as `conflict`. */
export function assertCommitted(outcome: Outcome): asserts outcome is Committed {
  if (outcome.kind === 'refused') throw outcome.error
  if (outcome.kind === 'failed') throw conflict(outcome.failed)
}

/** The result of a commit that was applied before, from the position of its record: its writes stand right before that. */
export function toReplay(
  { position, at }: Pick<Document, 'position' | 'at'>,
  writes: number,
  seqs: Committed['seqs'],
): CommitResult {
  const positions = Array.from({ length: writes }, (_, i) => position - writes + i)
  return { position: positions.at(-1) ?? 0, positions, seqs, at, isReplay: true }
}

/** The checks that a commit failed for; undefined of other errors, also of a `conflict` that a table handler threw. */
export function failedChecksOf(error: unknown): readonly FailedCheck[] | undefined {
  if (!isUnderpinError(error, 'conflict') || !Array.isArray(error.details.failed)) return undefined
  return error.details.failed as readonly FailedCheck[]
}

function conflict(failed: readonly FailedCheck[]): UnderpinError {
  return new UnderpinError('conflict', failed.map(describeFailed).join('; '), {
    hint: 'Read again, decide again, and commit again.',
    details: { failed },
  })
}

function describeFailed(failed: FailedCheck): string {
  if (failed.kind === 'stream')
    return `Stream ${quote(failed.stream)} was expected at seq ${failed.expected} and is at ${failed.found}`
  if (failed.kind === 'unique') {
    return `Document ${quote(failed.id)} of collection ${failed.collection} has the key of ${quote(failed.holder)} in the unique index ${failed.index}`
  }
  const found = failed.found === 0 ? 'absent' : `at revision ${failed.found}`
  return `Document ${quote(failed.id)} of collection ${failed.collection} was expected ${typeof failed.expected === 'number' ? `at revision ${failed.expected}` : failed.expected} and is ${found}`
}
