/**
 * The same three repositories for route code that is synchronous today: where there was a `Map` there is one that survives
 * a restart. On SQLite (or in memory); acknowledged is on the disk, and what other processes write is seen at once.
 */
import { DurableArray, DurableMap, openStoreSync } from 'underpin/sync'
import type { User } from './db.ts'
import type { StreamRecord } from './stream.ts'

/** What is left of `Map` in code that should run on any of them: no more than it uses. */
export type SyncMap<V> = Pick<
  Map<string, V>,
  'get' | 'set' | 'has' | 'delete' | 'clear' | 'size' | 'entries' | 'values' | 'forEach'
>

export interface SyncActivity {
  readonly stream: string
  readonly type: string
  readonly at: number
  readonly amount: number
}

export interface SyncResponse {
  readonly status: number
  readonly body: unknown
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

export interface SyncExportJob {
  readonly tenant: string
  readonly id: string
  readonly kind: string
  readonly state: 'requested' | 'running' | 'ready' | 'failed' | 'expired'
  readonly requestedAt: number
}

export interface SyncAuditRecord {
  readonly tenant: string
  readonly export: string
  readonly type: 'requested' | 'downloaded' | 'expired'
  readonly at: number
}

/** A list that is only added to. */
export type SyncList<T> = Pick<
  DurableArray<T>,
  'push' | 'length' | 'at' | 'slice' | 'filter' | 'forEach' | 'toArray'
> &
  Iterable<T>

export interface SyncStreamRepository {
  readonly streams: SyncMap<StreamRecord>
  readonly users: SyncMap<User>
  readonly activity: SyncList<SyncActivity>
  /** Serialises asynchronous work on one stream, within this process. */
  withLock<R>(id: string, work: () => R | Promise<R>): Promise<R>
  /** Empties it; the activity is kept in the store, for the record, and begins anew here. */
  reset(): void
}

export interface SyncIdempotencyStore {
  readonly responses: SyncMap<SyncResponse>
  /** Requests under way, by token: promises live in the process that has made them, and die with it. */
  readonly processing: Map<string, Promise<SyncResponse>>
  reset(): void
}

export interface SyncExportRepository {
  readonly jobs: SyncMap<SyncExportJob>
  /** Append-only. */
  readonly audit: SyncList<SyncAuditRecord>
  /** Exports under way, by job: in memory, as above. */
  readonly processing: Map<string, Promise<void>>
  reset(): void
}

export interface SyncStore {
  readonly streams: SyncStreamRepository
  readonly idempotency: SyncIdempotencyStore
  readonly exports: SyncExportRepository
  close(): void
}

/** `createSyncStore('sqlite:./streampay.db')`; beside the asynchronous repositories, in a domain of its own. */
export function createSyncStore(url: string): SyncStore {
  const store = openStoreSync(url, { domains: { [syncDomain]: {} } })
  const domain = store.domain(syncDomain)
  return {
    streams: new SyncStreams(domain),
    idempotency: new SyncIdempotency(domain),
    exports: new SyncExports(domain),
    close: () => store.close(),
  }
}

const syncDomain = 'streampay-sync'

let current: SyncStore | undefined

/** The store that route code gets; `TypeError` before {@link setStore}. */
export function getStore(): SyncStore {
  if (current === undefined)
    throw new TypeError("Call setStore(createSyncStore('sqlite:./streampay.db')) when the process starts")
  return current
}

/** Swaps the store in; gives back the one before, which the caller closes. */
export function setStore(store: SyncStore | undefined): SyncStore | undefined {
  const before = current
  current = store
  return before
}

type Home = ConstructorParameters<typeof DurableMap>[0]

class SyncStreams implements SyncStreamRepository {
  readonly streams: DurableMap<string, StreamRecord>
  readonly users: DurableMap<string, User>
  readonly activity: DurableArray<SyncActivity>
  /** The end of the line for each stream that somebody works on. */
  readonly #lines = new Map<string, Promise<unknown>>()

  constructor(domain: Home) {
    this.streams = new DurableMap(domain, 'streams')
    this.users = new DurableMap(domain, 'users')
    this.activity = new DurableArray(domain, 'activity')
  }

  async withLock<R>(id: string, work: () => R | Promise<R>): Promise<R> {
    const before = this.#lines.get(id)
    const turn = (async () => {
      await Promise.allSettled([before])
      return work()
    })()
    this.#lines.set(id, turn)
    try {
      return await turn
    } finally {
      if (this.#lines.get(id) === turn) this.#lines.delete(id)
    }
  }

  reset(): void {
    this.streams.clear()
    this.users.clear()
    this.activity.clear()
  }
}

class SyncIdempotency implements SyncIdempotencyStore {
  readonly responses: DurableMap<string, SyncResponse>
  readonly processing = new Map<string, Promise<SyncResponse>>()

  constructor(domain: Home) {
    this.responses = new DurableMap(domain, 'responses')
  }

  reset(): void {
    this.responses.clear()
    this.processing.clear()
  }
}

class SyncExports implements SyncExportRepository {
  readonly jobs: DurableMap<string, SyncExportJob>
  readonly audit: DurableArray<SyncAuditRecord>
  readonly processing = new Map<string, Promise<void>>()

  constructor(domain: Home) {
    this.jobs = new DurableMap(domain, 'jobs')
    this.audit = new DurableArray(domain, 'audit')
  }

  reset(): void {
    this.jobs.clear()
    this.processing.clear()
    this.audit.clear()
  }
}
