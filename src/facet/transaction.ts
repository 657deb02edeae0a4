/** The transaction facet: reads, changes and checks over all facets of a domain, in one commit. */
import type { CallOptions } from '../backend/backend.ts'
import { sleep } from '../clock.ts'
import type { Check, DocumentExpectation, FailedCheck, StreamExpectation } from '../model/check.ts'
import type { TableHandler } from '../model/commit.ts'
import {
  type AppendOptions,
  type CommitOptions,
  type CommitResult,
  type DeleteOptions,
  Draft,
  failedChecksOf,
  type PutOptions,
} from './draft.ts'
import { decodeEvents } from './event/codec.ts'
import type { DataOf, JobDefinitions } from './job/definition.ts'
import type { Enqueued, EnqueueOptions, Jobs } from './job/jobs.ts'
import { jobsCollection } from './job/record.ts'
import { refuseOwn } from './own.ts'
import type { Port } from './port.ts'
import { parseWithSync } from './schema.ts'
import { recall, send } from './send.ts'
import { type NewEvent, type StoredDocument, type StoredEvent, toStoredDocument } from './shape.ts'
import { readStream } from './truncated.ts'

export interface TransactionOptions extends CommitOptions, CallOptions {
  /** How often the callback is run again when something it read was changed meanwhile; 10 if left out. */
  readonly retries?: number
}

export interface TransactionResult<R> extends CommitResult {
  /** What the callback returned. */
  readonly value: R
}

/** What a transaction with an id gives when that id was committed before: what it did, without the callback's value. */
export interface ReplayedTransaction extends CommitResult {
  readonly isReplay: true
  readonly value: undefined
}

/** Documents by collection name, for the types. */
export type Collections = Readonly<Record<string, unknown>>

/**
 * Runs `work` and commits what it asked for, all or nothing. What it reads through the transaction becomes a check, so
 * that the commit stands only if nothing of it has changed; else `work` runs again. If a commit with the given id was
 * applied before, `work` does not run at all.
 */
export async function transact<E extends NewEvent, C extends Collections, R>(
  port: Port,
  work: (transaction: Transaction<E, C>) => R | Promise<R>,
  options: TransactionOptions,
): Promise<TransactionResult<R> | ReplayedTransaction> {
  if (options.id !== undefined) {
    const before = await recall(port, options.id, options)
    if (before !== undefined) return { ...before, isReplay: true, value: undefined }
  }
  for (let retriesLeft = options.retries ?? 10; ; retriesLeft--) {
    const draft = new Draft(port)
    const reads: Reads = new Map()
    const value = await run(work, new Transaction<E, C>(port, options, draft, reads), draft)
    try {
      const result = await send(port, draft, options)
      return result.isReplay ? { ...result, isReplay: true, value: undefined } : { ...result, value }
    } catch (error) {
      const failed = failedChecksOf(error)
      if (retriesLeft <= 0 || failed === undefined || !wasOvertaken(reads, failed)) throw error
      await sleep(port.clock, 5 * port.clock.random(), options.signal)
    }
  }
}

/** What was read, and how it was found: by collection and id, or by stream. */
type Reads = Map<string, Check>

/** Runs the callback; when it has returned, the transaction takes nothing more. */
async function run<T, R>(work: (transaction: T) => R | Promise<R>, transaction: T, draft: Draft): Promise<R> {
  try {
    return await work(transaction)
  } finally {
    draft.end()
  }
}

/**
 * Whether all failed checks are of things that were read in the transaction: then running it again can succeed. A dedupe
 * key of a job that was taken meanwhile is such a thing.
 */
function wasOvertaken(reads: Reads, failed: readonly FailedCheck[]): boolean {
  return failed.every((check) => {
    if (check.kind === 'unique') return check.collection === jobsCollection
    const read = reads.get(check.kind === 'stream' ? check.stream : `${check.collection}\0${check.id}`)
    return read !== undefined && read.expect === check.expected
  })
}

/** What a transaction has put together so far: for facets, which also write what an application may not. */
export let draftOf: (transaction: Transaction) => Draft

export class Transaction<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  readonly #port: Port
  readonly #options: TransactionOptions
  readonly #draft: Draft
  readonly #reads: Reads
  /** Ids of the jobs that it enqueues, by name and dedupe key. */
  readonly #enqueued = new Map<string, string>()

  static {
    draftOf = (transaction) => transaction.#draft
  }

  /** Made by `domain.transaction`. */
  constructor(port: Port, options: TransactionOptions, draft: Draft, reads: Reads) {
    this.#port = port
    this.#options = options
    this.#draft = draft
    this.#reads = reads
  }

  /** Appends events when the transaction commits. */
  append(stream: string, events: E | readonly E[], options: AppendOptions = {}): void {
    this.#draft.append(stream, events, options)
  }

  /** Puts a document when the transaction commits. `unsupported` if the collection's schema validates asynchronously. */
  put<K extends keyof C & string>(collection: K, id: string, value: C[K], options: PutOptions = {}): void {
    refuseOwn(collection)
    const declared = this.#port.collection(collection)
    const parsed = parseWithSync(declared.schema, value, `Document ${JSON.stringify(id)}`)
    this.#draft.put(collection, declared, id, parsed, options)
  }

  /** Deletes a document when the transaction commits. */
  delete(collection: keyof C & string, id: string, options: DeleteOptions = {}): void {
    refuseOwn(collection)
    this.#port.collection(collection)
    this.#draft.delete(collection, id, options)
  }

  /**
   * Enqueues a job when the transaction commits; with a dedupe key that an unfinished job has, it does not, and the
   * transaction runs again if that job finishes meanwhile. Await it within the callback.
   */
  enqueue<D extends JobDefinitions, N extends keyof D & string>(
    jobs: Pick<Jobs<D>, 'domain' | 'definitions' | 'prepare' | 'findLive'>,
    name: N,
    data: DataOf<D[N]>,
    options: EnqueueOptions = {},
  ): Promise<Enqueued> {
    return this.#draft.during(() => this.#enqueue(jobs, name, data, options))
  }

  async #enqueue<D extends JobDefinitions, N extends keyof D & string>(
    jobs: Pick<Jobs<D>, 'domain' | 'prepare' | 'findLive'>,
    name: N,
    data: DataOf<D[N]>,
    options: EnqueueOptions,
  ): Promise<Enqueued> {
    if (jobs.domain !== this.#port.domain)
      throw new TypeError(
        `Jobs of ${jobs.domain} cannot be enqueued in a transaction of ${this.#port.domain}: a commit is of one domain`,
      )
    const { id, write } = await jobs.prepare(name, data, options)
    const found = await jobs.findLive(this.#port, name, { ...options, ...this.#options })
    const { dedupe } = options
    const key = `${name}\0${dedupe}`
    const own = dedupe === undefined ? undefined : this.#enqueued.get(key)
    if (own !== undefined) return { id: own, isDuplicate: true }
    if (found === undefined) {
      this.#draft.write(write)
      this.#enqueued.set(key, id)
      return { id, isDuplicate: false }
    }
    const check: Check = {
      kind: 'document',
      collection: jobsCollection,
      id: found.id,
      expect: found.revision,
    }
    this.#depend(`${jobsCollection}\0${found.id}`, check)
    return { id: found.id, isDuplicate: true }
  }

  /** The document as it is in the store (not as this transaction will leave it); the commit depends on its revision. */
  async get<K extends keyof C & string>(
    collection: K,
    id: string,
  ): Promise<StoredDocument<C[K]> | undefined> {
    const { documents } = await this.#port.get([{ collection, id }], this.#options)
    const found = toStoredDocument<C[K]>(documents[0], this.#port.clock.now())
    this.#depend(`${collection}\0${id}`, {
      kind: 'document',
      collection,
      id,
      expect: found?.revision ?? 'absent',
    })
    return found
  }

  /** All events of a stream; the commit depends on its last seq. */
  async read(stream: string): Promise<readonly StoredEvent<E>[]> {
    const events: StoredEvent<E>[] = []
    let last = 0
    for (let after: number | null = 0; after !== null; ) {
      const page = await readStream(
        this.#port,
        stream,
        { after, before: Number.POSITIVE_INFINITY, backwards: false, limit: 1_000 },
        this.#options,
      )
      events.push(...decodeEvents<E>(this.#port.events, page.items))
      last = page.items.at(-1)?.seq ?? last
      after = page.next
    }
    this.#depend(stream, { kind: 'stream', stream, expect: last })
    return events
  }

  /** The commit depends on a stream that it does not write. */
  checkStream(stream: string, expect: StreamExpectation): void {
    this.#draft.check({ kind: 'stream', stream, expect })
  }

  /** The commit depends on a document that it does not write. */
  checkDocument(collection: keyof C & string, id: string, expect: DocumentExpectation): void {
    this.#draft.check({ kind: 'document', collection, id, expect })
  }

  /**
   * Writes tables of your own in the same database transaction, where `supports.tables` is true (else `unsupported`).
   * `handler` runs after this transaction's records were written, and only if its checks held: with the driver's own
   * client (a `pg` client, PGlite’s transaction, the SQLite handle) and the positions, seqs and time that were given. If it throws, nothing is written and the
   * error reaches you as it was thrown. It may run more than once, when a session is lost, but takes effect once; leave
   * BEGIN, COMMIT and ROLLBACK to the store. On SQLite it must not be asynchronous. Other writers of the
   * domain wait for it.
   */
  tables<Client = unknown>(handler: TableHandler<Client>): void {
    this.#draft.tables(handler)
  }

  /** The first read of a thing counts: a second one that differs makes the commit fail, and the work run again. */
  #depend(name: string, check: Check): void {
    if (this.#reads.has(name)) return
    this.#reads.set(name, check)
    this.#draft.dependsOnReads = true
    this.#draft.check(check)
  }
}
