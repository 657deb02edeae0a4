/** A domain for synchronous code, on an embedded backend: the same facets, answered at once. */
import type { TableHandler } from '../model/commit.ts'
import type { Position } from '../model/position.ts'
import { type DocumentPage, type ListOptions, toQuery } from './documents.ts'
import { type CommitOptions, type CommitResult, type DeleteOptions, Draft, type PutOptions } from './draft.ts'
import { checkAfter, type FeedOptions, type FeedPage, refuseBeyond, toFeedPage } from './feed.ts'
import { SyncLog } from './log.ts'
import { refuseOwn } from './own.ts'
import type { DeclaredCollection, SyncPort } from './port.ts'
import { parseWithSync } from './schema.ts'
import { sendSync } from './send.ts'
import { type NewEvent, type StoredDocument, toStoredDocument } from './shape.ts'
import type { Collections } from './transaction.ts'

/** Refuses a callback that returns a promise: what it did after its first `await` would be lost. */
type NotAsync<R> = [R] extends [never]
  ? unknown
  : R extends PromiseLike<unknown>
    ? 'The callback of a synchronous transaction must not be asynchronous'
    : unknown

export class SyncDomain<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  readonly name: string
  readonly log: SyncLog<E>
  readonly #port: SyncPort

  constructor(port: SyncPort) {
    this.#port = port
    this.name = port.domain
    this.log = new SyncLog(port)
  }

  /** What {@link DurableMap} and {@link DurableArray} are built on. */
  get port(): SyncPort {
    return this.#port
  }

  documents<K extends keyof C & string>(collection: K): SyncDocuments<C[K]> {
    return new SyncDocuments(this.#port, collection)
  }

  /** Commits what `work` asks for, all or nothing: events and documents together, with checks. Fails with `conflict` if one fails. */
  transaction<R>(
    work: ((transaction: SyncTransaction<E, C>) => R) & NotAsync<R>,
    options: CommitOptions = {},
  ): CommitResult & { readonly value: R } {
    const draft = new Draft(this.#port)
    const value = work(new SyncTransaction<E, C>(this.#port, draft))
    draft.end()
    if (typeof (value as PromiseLike<unknown> | undefined)?.then === 'function') {
      throw new TypeError(
        'The callback of a synchronous transaction returned a promise; nothing was written. Use openStore for asynchronous work.',
      )
    }
    return { ...sendSync(this.#port, draft, options), value }
  }

  changes({ after = 0, limit = 1_000 }: FeedOptions = {}): FeedPage<E> {
    checkAfter(after)
    const page = this.#port.changes(after, limit)
    refuseBeyond(after, page.head)
    return toFeedPage(this.#port.events, page)
  }

  head(): Position {
    return this.#port.head()
  }
}

export class SyncDocuments<T> {
  readonly #port: SyncPort
  readonly #name: string
  readonly #collection: DeclaredCollection

  constructor(port: SyncPort, name: string) {
    this.#port = port
    this.#name = name
    this.#collection = port.collection(name)
  }

  get(id: string): StoredDocument<T> | undefined {
    const { documents } = this.#port.get([{ collection: this.#name, id }])
    return toStoredDocument<T>(documents[0], this.#port.clock.now())
  }

  put(id: string, value: T, options: PutOptions & CommitOptions = {}): CommitResult {
    refuseOwn(this.#name)
    const draft = new Draft(this.#port)
    const parsed = parseWithSync(this.#collection.schema, value, `Document ${JSON.stringify(id)}`)
    draft.put(this.#name, this.#collection, id, parsed, options)
    return sendSync(this.#port, draft, options)
  }

  delete(id: string, options: DeleteOptions & CommitOptions = {}): CommitResult {
    refuseOwn(this.#name)
    const draft = new Draft(this.#port)
    draft.delete(this.#name, id, options)
    return sendSync(this.#port, draft, options)
  }

  list(options: ListOptions = {}): DocumentPage<T> {
    const page = this.#port.scan(toQuery(this.#name, options))
    const now = this.#port.clock.now()
    return {
      documents: page.items.flatMap((record) => toStoredDocument<T>(record, now) ?? []),
      cursor: page.next ?? undefined,
    }
  }

  *all(options: ListOptions = {}): Generator<StoredDocument<T>> {
    let cursor = options.cursor
    do {
      const page: DocumentPage<T> = this.list({
        limit: 1_000,
        ...options,
        ...(cursor === undefined ? {} : { cursor }),
      })
      yield* page.documents
      cursor = page.cursor
    } while (cursor !== undefined)
  }
}

/** What a synchronous transaction may ask for. */
export class SyncTransaction<E extends NewEvent, C extends Collections> {
  readonly #draft: Draft
  readonly #port: SyncPort

  /** Made by `domain.transaction`. */
  constructor(port: SyncPort, draft: Draft) {
    this.#port = port
    this.#draft = draft
  }

  append(stream: string, events: E | readonly E[], options: Parameters<Draft['append']>[2] = {}): void {
    this.#draft.append(stream, events, options)
  }

  put<K extends keyof C & string>(collection: K, id: string, value: C[K], options: PutOptions = {}): void {
    refuseOwn(collection)
    const declared = this.#port.collection(collection)
    this.#draft.put(
      collection,
      declared,
      id,
      parseWithSync(declared.schema, value, `Document ${JSON.stringify(id)}`),
      options,
    )
  }

  delete(collection: keyof C & string, id: string, options: DeleteOptions = {}): void {
    refuseOwn(collection)
    this.#port.collection(collection)
    this.#draft.delete(collection, id, options)
  }

  /**
   * Writes tables of your own in the same database transaction, where `supports.tables` is true (else `unsupported`):
   * with the SQLite handle, after this transaction's records were written. If it throws, nothing is written.
   */
  tables<Client = unknown>(handler: TableHandler<Client>): void {
    this.#draft.tables(handler)
  }

  checkStream(stream: string, expect: number | 'none' | 'some'): void {
    this.#draft.check({ kind: 'stream', stream, expect })
  }

  checkDocument(collection: keyof C & string, id: string, expect: number | 'absent' | 'present'): void {
    this.#draft.check({ kind: 'document', collection, id, expect })
  }
}
