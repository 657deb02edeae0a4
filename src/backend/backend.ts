/**
 * The seam. A backend translates these verbs to one place that keeps data, and does nothing else: no validation, no
 * retries, no deadlines, no batching; those are wrappers. It keeps the laws of the design (docs/laws.md); the
 * conformance suite `underpin/conformance` proves that it does.
 */
import type { Commit, Outcome } from '../model/commit.ts'
import type { Document, DocumentKey, Tombstone } from '../model/document.ts'
import type { Event } from '../model/event.ts'
import type { Fence } from '../model/fence.ts'
import type { Limits } from '../model/limit.ts'
import type { Cursor, FeedPart, Page, Query, Range, Served } from '../model/page.ts'
import type { Position } from '../model/position.ts'

/** What a backend can do, as data. What it cannot is refused with `unsupported`. */
export interface Supports {
  /** What an acknowledgement outlives: nothing, the process, or a power failure. */
  readonly durability: 'none' | 'process' | 'durable'
  /** Has the same verbs synchronously, under `sync`. */
  readonly sync: boolean
  /** Several processes may open the same place. */
  readonly shared: boolean
  /** A handler may write tables of its own in the transaction of a commit. */
  readonly tables: boolean
  /** Can commit inside a transaction that the caller holds (`within`); left out, it cannot. */
  readonly transactions?: boolean
  /** How a watcher of another process's commits learns of them. */
  readonly watch: 'push' | 'poll'
  /** Limits tighter than the common ones. */
  readonly limits: Partial<Limits>
}

export interface CallOptions {
  /** When the caller began to wait, by the clock's monotonic time, if that was before this call. */
  readonly since?: number
  /** Ends the call: `aborted` if it has not begun to take effect, else as it went, or `unknown`. */
  readonly signal?: AbortSignal
}

/** The documents asked for, in the order of the keys; a tombstone for a deleted one, undefined for one that never was. */
export interface Found extends Served {
  readonly documents: readonly (Document | Tombstone | undefined)[]
}

/** The same verbs with their answers as they are (`sync`), or as promises. */
interface Verbs {
  /** The names of the domains that have a fence here, in order. */
  domains(): readonly string[]
  fence(domain: string): Fence
  /**
   * A group of independent commits, in order: one round trip, one sync. Each has its own outcome: a failed check in
   * one never fails its neighbours. Fails as a whole with `fenced` if the backend does not hold authority under `epoch`.
   * A put into `$collections` declares a collection, one into `$truncated` removes the events that it says.
   */
  commit(domain: string, epoch: number, commits: readonly Commit[]): readonly Outcome[]
  /** Events of a stream; `next` is the seq to go on after (backwards: before), or null at the end. */
  read(domain: string, stream: string, range: Range): Page<Event, number | null>
  get(domain: string, keys: readonly DocumentKey[]): Found
  /** Documents without tombstones; expired ones included. */
  scan(domain: string, query: Query): Page<Document, Cursor | null>
  /**
   * The feed: all changes after a position that were not superseded or truncated. `next` is the position to go on after; the reader
   * is at the end when `next === head`. A page never splits a commit, so it may hold more than `limit`.
   */
  changes(domain: string, after: Position, limit: number): FeedPart
  /**
   * A follower takes a page of the feed, verbatim; its head becomes `page.next`. Pages that were read one after the other
   * may be taken as one. Where a page declares a unique index it is taken in parts, and what fails behind the first of
   * them leaves the head between. `fenced` if it is no follower of this epoch; `foreign` if a record that nobody applied
   * stands in the way. With `page.repair` it is put right instead.
   * Nothing else changes what it holds: a store's own expiry is never used, because a record that goes by itself
   * would make two sides differ; what is expired is hidden when it is read and deleted by commits.
   */
  apply(domain: string, epoch: number, page: FeedPart): void
  /**
   * Compare-and-set of the fence, the only way a role or an epoch changes; waits for commits in flight. False if the
   * fence is not `from`. Head and digest stay, except that a copy which becomes `prepared` starts empty.
   */
  transition(domain: string, from: Fence, to: Fence): boolean
}

export interface SyncBackend extends Verbs {
  open(): void
  close(): void
}

type Async<V> = {
  [K in keyof V]: V[K] extends (...args: infer A) => infer R
    ? (...args: [...A, CallOptions?]) => Promise<R>
    : never
}

export interface Backend extends Async<Verbs> {
  readonly name: string
  readonly supports: Supports
  /** The synchronous verbs, on a backend that supports them. */
  readonly sync: SyncBackend | undefined
  open(): Promise<void>
  /** Idempotent; waits for calls in flight, ends watchers. Calls afterwards fail with `closed`. */
  close(): Promise<void>
  /**
   * Heads as they move, and the same once more when the role or the epoch changes: hints only, some may be left out. Ends
   * when the signal aborts or the backend closes.
   */
  watch(domain: string, signal: AbortSignal): AsyncIterable<Position>
  /**
   * The verbs inside a transaction that the caller holds with `client`: reads see what it sees, and an outcome is
   * provisional until the caller commits. Life, roles and hints are none of its verbs: `open`, `close`, `apply`,
   * `transition` and `watch` are refused. Throws `unsupported` where `supports.transactions` is not true, a `TypeError`
   * for what is no client.
   */
  within(client: unknown): Backend
}
