/**
 * The persistence seam: what the routes need of a store, and nothing of which store it is. Three repositories, in memory,
 * in SQLite or in PostgreSQL by the URL: {@link openRepositories}. `sync-store.ts` has them for synchronous code.
 */
import type { IdempotencyToken, OnceResult, RecalledResult } from 'underpin'
import type { ExportInfo } from 'underpin/export'
import type { StreamTransaction } from './domain.ts'
import type { ActivityType, Command, Status, StreamRecord, StreamTerms } from './stream.ts'

/** The canonical replay token: no key of one scope is ever the key of another. */
export { idempotencyToken } from 'underpin'
export { openRepositories, type Repositories } from './repositories/open.ts'
/** The SQL views in PostgreSQL, as one script. */
export { POSTGRES_SCHEMA } from './repositories/schema.ts'
export { createSyncStore, getStore, type SyncStore, setStore } from './sync-store.ts'

/** A cursor: the id of the last record of a page, in base64, so that it can stand in a URL. */
export function encodeCursor(id: string): string {
  return Buffer.from(id, 'utf8').toString('base64url')
}

/** The id in a cursor; undefined if the text is none that {@link encodeCursor} made. */
export function decodeCursor(cursor: string): string | undefined {
  const id = Buffer.from(cursor, 'base64url').toString('utf8')
  return id !== '' && encodeCursor(id) === cursor ? id : undefined
}

export interface User {
  readonly wallet: string
  readonly createdAt: number
}

/** Something that happened to a stream, as it is listed: never changed, never deleted. */
export interface Activity {
  readonly id: string
  readonly stream: string
  readonly type: ActivityType
  readonly at: number
  /** Minor units that moved; 0 where none did. */
  readonly amount: number
  /** Of the stream, as this left it. */
  readonly version: number
}

/** A page in the order of (created at, id); `cursor` goes on behind it, and is undefined at the end. */
export interface Page<T> {
  readonly items: readonly T[]
  readonly cursor: string | undefined
}

export interface PageOptions {
  readonly cursor?: string | undefined
  /** 1 to 200; 50 if left out. */
  readonly limit?: number | undefined
}

export interface ChangeOptions {
  /** The versions that the stream may have; {@link VersionMismatch} if it has another. Any, if left out. */
  readonly versions?: readonly number[] | undefined
}

/** The stream has another version than the caller knows. */
export class VersionMismatch extends Error {
  readonly found: number

  constructor(id: string, found: number) {
    super(`The stream ${id} has version ${found}`)
    this.name = 'VersionMismatch'
    this.found = found
  }
}

/** A cursor that no page gave, or one of a record that there is not. */
export class UnknownCursor extends Error {
  constructor(cursor: string) {
    super(`${JSON.stringify(cursor)} is no cursor of this list`)
    this.name = 'UnknownCursor'
  }
}

/** Stream records, user records, activity events, and the lock of each stream. */
export interface StreamRepository {
  get(id: string): Promise<StreamRecord | undefined>
  list(options?: PageOptions & { readonly status?: Status | undefined }): Promise<Page<StreamRecord>>
  user(wallet: string): Promise<User | undefined>
  /** What happened to one stream, things of one type, or everything. */
  activity(
    options?: PageOptions & {
      readonly stream?: string | undefined
      readonly type?: ActivityType | undefined
    },
  ): Promise<Page<Activity>>
  /** Creates a stream in a transaction, with users for the wallets that are new. */
  create(transaction: StreamTransaction, terms: StreamTerms): Promise<StreamRecord>
  /** Changes a stream in a transaction; undefined if there is none of that id. Fails as `decide` and the options say. */
  change(
    transaction: StreamTransaction,
    id: string,
    command: Command,
    options?: ChangeOptions,
  ): Promise<StreamRecord | undefined>
  /** Work in a transaction while nobody else, in any process, has the lock of that stream. */
  withLock<R>(id: string, work: (transaction: StreamTransaction) => Promise<R>): Promise<R>
}

/** Replay tokens, and the responses that are kept for them. */
export interface IdempotencyStore {
  /** Does the work once for a token; `mismatch` if the token was used for another request. */
  once<R>(
    token: IdempotencyToken,
    request: unknown,
    work: (transaction: StreamTransaction) => Promise<R>,
  ): Promise<OnceResult<R>>
  /** What is kept for a token; undefined if nothing, or no longer. */
  get<R>(token: IdempotencyToken): Promise<RecalledResult<R> | undefined>
}

export type ExportKindName = 'streams' | 'activity'
export type ExportFormatName = 'csv' | 'ndjson'

export interface ExportAudit {
  readonly seq: number
  readonly type: string
  readonly at: number
  readonly export: string
}

/** Export jobs of a tenant (a wallet), their audit, and the work on them. */
export interface ExportRepository {
  request(
    tenant: string,
    request: { readonly kind: ExportKindName; readonly format: ExportFormatName; readonly id?: string },
  ): Promise<ExportInfo>
  get(tenant: string, id: string): Promise<ExportInfo | undefined>
  list(tenant: string): Promise<readonly ExportInfo[]>
  /** A signed link to a ready export; undefined if it is not ready. `url` is where downloads are served. */
  link(tenant: string, id: string, url: string): Promise<string | undefined>
  /** Serves a signed link. */
  download(request: Request): Promise<Response>
  /** Append-only: requests, downloads, expiries. */
  audit(tenant: string): Promise<readonly ExportAudit[]>
  /** Makes what was requested, until the signal aborts; any number of processes may. */
  work(signal: AbortSignal): Promise<void>
}
