/** A domain as an application holds it: all facets over one port. */
import type { CallOptions } from '../backend/backend.ts'
import { UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import type { TransactionClient } from '../model/transaction-client.ts'
import { Documents } from './documents.ts'
import { type FeedItem, type FeedOptions, type FeedPage, follow, readFeed } from './feed.ts'
import type { JobDefinitions } from './job/definition.ts'
import { Jobs } from './job/jobs.ts'
import { type LockOptions, Locks } from './lock/lock.ts'
import { Log } from './log.ts'
import { Once, type OnceOptions, type OnceResult, type RecalledResult } from './once/once.ts'
import type { IdempotencyToken } from './once/token.ts'
import { ownCollections } from './own-collections.ts'
import type { Port } from './port.ts'
import type { Projection, TableProjection } from './projection/definition.ts'
import { Projected, ProjectedTables } from './projection/projected.ts'
import type { NewEvent, StoredEvent } from './shape.ts'
import type { Archive } from './snapshot/archive.ts'
import { type Compaction, type CompactOptions, compactStream } from './snapshot/compact.ts'
import type { Fold } from './snapshot/fold.ts'
import { historyOf } from './snapshot/history.ts'
import { type StateOptions, type StreamState, stateOf } from './snapshot/state.ts'
import { type LiveOptions, live, type Missed } from './subscription/live.ts'
import type { SubscriptionOptions } from './subscription/options.ts'
import { Subscription } from './subscription/subscription.ts'
import {
  type Collections,
  type ReplayedTransaction,
  type Transaction,
  type TransactionOptions,
  type TransactionResult,
  transact,
} from './transaction.ts'

/** A domain of any type, for what concerns all of them. */
export interface AnyDomain {
  readonly name: string
  head(options?: CallOptions): Promise<Position>
}

/** The port of a domain: what facets outside this file, with entries of their own, work on. */
export let portOf: (domain: AnyDomain) => Port

/** What work under a lock is given by {@link Domain.withLock}. */
export interface HeldLock<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  /** The same domain, but every commit made with it depends on the lock: who lost it is refused with `lost-lease`. */
  readonly domain: Domain<E, C>
  /** Higher than that of every holder before: give it to other systems that can refuse lower ones. */
  readonly token: number
  /** Aborts when the lock was lost. */
  readonly signal: AbortSignal
}

export class Domain<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  readonly name: string
  /** Streams of events. */
  readonly log: Log<E>
  readonly #port: Port
  readonly #shared: Shared | undefined

  static {
    portOf = (domain) => {
      if (#port in domain) return (domain as unknown as Domain).#port
      throw new TypeError('This is not a domain of a store: give store.domain(name)')
    }
  }

  /** `'within'`: in a transaction that the caller holds, which no lease can wait for. */
  constructor(port: Port, shared: Shared | 'within' = { locks: new Locks(port), once: new Once(port) }) {
    this.#port = port
    this.name = port.domain
    this.log = new Log(port)
    this.#shared = shared === 'within' ? undefined : shared
  }

  /** The documents of a declared collection; `invalid` if it is not declared. */
  documents<K extends keyof C & string>(collection: K): Documents<C[K]> {
    return new Documents(this.#port, collection)
  }

  /** A projection: to read it, run it, keep it in memory, verify it, or replace one version by the next. */
  projection<S>(projection: Projection<S, E>): Projected<S>
  projection<Client>(projection: TableProjection<E, Client>): ProjectedTables
  projection<S>(projection: Projection<S, E> | TableProjection<E>): Projected<S> | ProjectedTables {
    if (projection.kind === 'tables') return new ProjectedTables(this.#port, projection as TableProjection)
    return new Projected<S>(this.#port, projection as unknown as Projection<S>)
  }

  /**
   * Runs `work` and commits what it asked for, all or nothing: events and documents together, with checks also on what
   * is not written. What `work` reads through the transaction must still be so when it commits; else it runs again.
   */
  transaction<R>(
    work: (transaction: Transaction<E, C>) => R | Promise<R>,
    options?: Omit<TransactionOptions, 'id'>,
  ): Promise<TransactionResult<R>>
  /** With an id, applied once: if it was committed before, `work` does not run and the result has `isReplay: true`. */
  transaction<R>(
    work: (transaction: Transaction<E, C>) => R | Promise<R>,
    options: TransactionOptions & { readonly id: string },
  ): Promise<TransactionResult<R> | ReplayedTransaction>
  transaction<R>(
    work: (transaction: Transaction<E, C>) => R | Promise<R>,
    options: TransactionOptions = {},
  ): Promise<TransactionResult<R> | ReplayedTransaction> {
    return transact(this.#port, work, options)
  }

  /**
   * The same domain inside a transaction that you hold with `pg`, Drizzle, Kysely, Prisma or PGlite, so that what is
   * committed here stands or falls with your own tables. Reads see what that transaction sees, its own writes included.
   *
   * Every result is provisional until you have committed. The domain is locked from the first commit made here until
   * your transaction ends, and its other writers wait for that long: do it last. A failed commit leaves your transaction
   * usable. Fails with `unsupported` where `supports.transactions` is false, and with `invalid` if the client is not in
   * a transaction; `unavailable` (a serialization failure, a deadlock) means: run your whole transaction again.
   */
  within(client: TransactionClient): Domain<E, C> {
    return new Domain(this.#port.within(client), 'within')
  }

  /**
   * Runs `work` while nobody else, in any process, has the lock of this key. Callers of one process are served in the
   * order in which they came. What `work` commits through the domain it is given depends on the lock, so a holder that
   * was paused for longer than `ttlMs` and wakes up late is refused by the store.
   *
   * Fails with `locked` if it is not had within `waitMs` (`details.holder` says who has it), with what `work` fails
   * with, and with `lost-lease` if the lock was lost before `work` had settled; what was committed until then stands.
   * Taken again within its own work it would wait for itself: a `TypeError`.
   */
  async withLock<R>(
    key: string,
    work: (lock: HeldLock<E, C>) => R | Promise<R>,
    options: LockOptions = {},
  ): Promise<R> {
    const shared = this.#shared ?? refuseWithin('A lock', 'lock.domain.within(client)')
    return shared.locks.hold(
      key,
      this.#port,
      ({ port, token, signal }) => work({ domain: new Domain<E, C>(port, shared), token, signal }),
      options,
    )
  }

  /**
   * Runs `work` in a transaction once for a token, however often and from wherever it is asked for: what `work` returns
   * is kept in the same commit as what it wrote, and given to all who ask again until it expires. Work that throws
   * leaves nothing. It may run more than once before it is committed, so its effects belong into the transaction.
   *
   * `request` tells one request from another: fails with `mismatch` if the token was used with another one, with
   * `in-flight` if somebody is at it for longer than `waitMs`, with `lost-lease` if a lock that it is done under was lost,
   * else like {@link transaction}.
   */
  async once<R>(
    token: IdempotencyToken,
    request: unknown,
    work: (transaction: Transaction<E, C>) => R | Promise<R>,
    options: OnceOptions = {},
  ): Promise<OnceResult<R>> {
    const { once } = this.#shared ?? refuseWithin('Work done once', 'transaction.tables')
    return once.run(this.#port, { token, request, work, options })
  }

  /** What {@link once} keeps for a token, its request not asked for; undefined if nothing, or no longer. */
  async recall<R = unknown>(
    token: IdempotencyToken,
    options: CallOptions = {},
  ): Promise<RecalledResult<R> | undefined> {
    const { once } = this.#shared ?? refuseWithin('What was done once', 'the domain itself')
    return once.recall<R>(token, options)
  }

  /** Durable work: `domain.jobs(defineJobs({ sendMail: job<{ to: string }>() }))`. Keep what it returns. */
  jobs<const D extends JobDefinitions>(definitions: D): Jobs<D, E, C> {
    return new Jobs(this.#port, definitions)
  }

  /** One page of the feed: all changes after a position, in order, never part of a commit. */
  changes(options: FeedOptions & CallOptions = {}): Promise<FeedPage<E>> {
    return readFeed(this.#port, options)
  }

  /** All changes after a position, then those to come, until the signal aborts or the loop is left. */
  follow(options: FeedOptions & { readonly signal?: AbortSignal } = {}): AsyncGenerator<FeedItem<E>> {
    return follow(this.#port, options)
  }

  /**
   * A named, durable consumer of the domain's changes: in order, at least once, or exactly once into this domain. Nothing
   * happens before `run` is called, by any number of processes.
   */
  subscription(options: SubscriptionOptions<E, C>): Subscription<E, C> {
    return new Subscription(this.#port, options)
  }

  /** Changes as they come, filtered, for a user interface: nothing durable, and a slow reader is never lied to. */
  live(options: LiveOptions & { readonly slow: 'skip' }): AsyncGenerator<FeedItem<E> | Missed>
  live(options?: LiveOptions & { readonly slow?: 'wait' }): AsyncGenerator<FeedItem<E>>
  live(options: LiveOptions = {}): AsyncGenerator<FeedItem<E> | Missed> {
    return live(this.#port, options)
  }

  /**
   * Declares the collections that facets keep their state in, which they otherwise do when they are first used: for a
   * database role that may create nothing, and before {@link within}. `underpin migrate --facets` does the same.
   */
  prepare(): Promise<void> {
    return this.#port.ensure(ownCollections)
  }

  /**
   * The state of a stream: what the fold makes of its events, from the latest snapshot on if there is one. With `at`, as
   * it was at a seq or a time; with `snapshot`, a snapshot is taken when it is due. Fails with `truncated` if events
   * that it needs were truncated and no snapshot of the fold's version covers them.
   */
  state<S>(fold: Fold<S, E>, stream: string, options?: StateOptions): Promise<StreamState<S>> {
    return stateOf(this.#port, fold, stream, options)
  }

  /**
   * Removes the first events of a stream, archived if you say where, up to what snapshots of all the named folds cover.
   * Name every fold that is used on the stream: one that is not named may lose its past. Nothing is removed before the
   * states are verified and stored, and the archive is synced and read back; a call that dies is simply made again.
   */
  compact(
    stream: string,
    // biome-ignore lint/suspicious/noExplicitAny: folds to states of any type.
    folds: Fold<any, E> | readonly Fold<any, E>[],
    options: CompactOptions,
  ): Promise<Compaction> {
    return compactStream(this.#port, stream, Array.isArray(folds) ? folds : [folds], options)
  }

  /**
   * All events of a stream, the archived ones included, in order of seq: what a new fold is made from. Each archived
   * event is verified by its checksum. Fails with `truncated` if events were removed without an archive.
   */
  history(stream: string, archive: Archive, options: CallOptions = {}): AsyncGenerator<StoredEvent<E>> {
    return historyOf(this.#port, stream, archive, options)
  }

  /** The last position. */
  head(options: CallOptions = {}): Promise<Position> {
    return this.#port.head(options)
  }
}

/** What all views of a domain in this process share. */
interface Shared {
  readonly locks: Locks
  readonly once: Once
}

function refuseWithin(what: string, instead: string): never {
  throw new UnderpinError('unsupported', `${what} cannot be had within a transaction of your own`, {
    hint: `It would hold up the domain for as long as it waits. Begin with it, and use ${instead} inside.`,
  })
}
