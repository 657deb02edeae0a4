/** What facets call: one domain, wherever it is kept. The store gives it; a facet never sees a backend. */
import type { CallOptions, Found } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import type { Change } from '../model/change.ts'
import type { CollectionDefinition } from '../model/collection.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import type { Document, DocumentKey } from '../model/document.ts'
import type { Event } from '../model/event.ts'
import type { Limits } from '../model/limit.ts'
import type { Cursor, Page, Query, Range } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import type { EventCodec } from './event/codec.ts'
import type { Schema } from './schema.ts'

/** A collection as the application declared it. */
export interface DeclaredCollection {
  readonly definition: CollectionDefinition
  readonly schema: Schema<unknown> | undefined
}

/** Collections that a facet keeps its state in, by name (`$…`). */
export type OwnCollections = Readonly<Record<string, CollectionDefinition>>

interface Setting {
  readonly domain: string
  readonly events: EventCodec
  readonly clock: Clock
  readonly limits: Limits
  /** `invalid` if the application did not declare it. */
  collection(name: string): DeclaredCollection
}

export interface Port extends Setting {
  /** Milliseconds within which every call ends. */
  readonly deadlineMs: number
  commit(commit: Commit, options?: CallOptions): Promise<Outcome>
  read(stream: string, range: Range, options?: CallOptions): Promise<Page<Event, number | null>>
  get(keys: readonly DocumentKey[], options?: CallOptions): Promise<Found>
  scan(query: Query, options?: CallOptions): Promise<Page<Document, Cursor | null>>
  changes(after: Position, limit: number, options?: CallOptions): Promise<Page<Change, Position>>
  head(options?: CallOptions): Promise<Position>
  watch(signal: AbortSignal): AsyncIterable<Position>
  /** Declares one of Underpin's own collections, if the domain has it not yet. */
  ensure(collections: OwnCollections): Promise<void>
  /** The same domain inside a transaction that the caller holds. */
  within(client: unknown): Port
}

export interface SyncPort extends Setting {
  /** Declares one more collection. */
  declare(name: string, collection: DeclaredCollection): void
  commit(commit: Commit): Outcome
  read(stream: string, range: Range): Page<Event, number | null>
  get(keys: readonly DocumentKey[]): Found
  scan(query: Query): Page<Document, Cursor | null>
  changes(after: Position, limit: number): Page<Change, Position>
  head(): Position
}
