/** What an application declares: domains, their events and their collections. */
import { type CollectionDefinition, checkDefinition, type FieldType } from '../model/collection.ts'
import type { EventCodec } from './event/codec.ts'
import type { DeclaredCollection } from './port.ts'
import type { Projection } from './projection/definition.ts'
import type { Schema } from './schema.ts'
import type { NewEvent } from './shape.ts'
import type { Collections } from './transaction.ts'

export declare const type: unique symbol

/** A declared collection. Made with {@link collection}, which gives its documents their type. */
export interface CollectionOptions<T> {
  /** Documents are validated with it when they are put, and stored as it returns them. */
  readonly schema?: Schema<T>
  /** Field paths (`address.city`) that indexes use, and their types. */
  readonly fields?: Readonly<Record<string, FieldType>>
  readonly indexes?: Readonly<Record<string, IndexOptions>>
  readonly [type]?: T
}

export interface IndexOptions {
  /** Declared fields, in order of comparison; the id comes last by itself. */
  readonly fields: readonly string[]
  /** At most one document for each key in which no field is null or missing. */
  readonly unique?: boolean
  /** Only documents with these values are in the index. */
  readonly where?: Readonly<Record<string, string | number | boolean>>
}

/** The events of a domain: for the types alone ({@link events}), or with their definitions ({@link defineEvents}). */
export interface EventTypes<E extends NewEvent> {
  /** How they are written and read; as they are, if left out. */
  readonly codec?: EventCodec
  readonly [type]?: E
}

export interface DomainOptions {
  readonly events?: EventTypes<NewEvent>
  // biome-ignore lint/suspicious/noExplicitAny: a collection of any type of document.
  readonly collections?: Readonly<Record<string, CollectionOptions<any>>>
  /**
   * Projections that every commit with events keeps current, in the same commit. One that is new here is built first.
   * Every process that appends to the domain declares them; appends of one that does not are refused with `mismatch`.
   */
  // biome-ignore lint/suspicious/noExplicitAny: a projection of any state and events.
  readonly projections?: { readonly inline: readonly Projection<any, any>[] }
  /** The name of the backend on which the domain is created if no backend has it; the first one if left out. */
  readonly backend?: string
}

/** The events of a declared domain, to name its type: `Domain<EventsOf<typeof orders>, CollectionsOf<typeof orders>>`. */
export type EventsOf<D extends DomainOptions> = D['events'] extends EventTypes<infer E> ? E : NewEvent
/** The collections of a declared domain, each with the type of its documents; see {@link EventsOf}. */
export type CollectionsOf<D extends DomainOptions> = D['collections'] extends infer C extends Collections
  ? { [K in keyof C]: C[K] extends CollectionOptions<infer T> ? T : never }
  : Collections

/** Declares a collection of documents of type `T`, or of what the schema returns. */
export function collection<T>(options: CollectionOptions<T> = {}): CollectionOptions<T> {
  return options
}

/** Declares the events of a domain: `events<Placed | Shipped>()`. */
export function events<E extends NewEvent>(): EventTypes<E> {
  return {}
}

/** The collection as facets use it; `invalid` if the declaration contradicts itself. */
export function declare(name: string, options: CollectionOptions<unknown>): DeclaredCollection {
  const indexes = Object.entries(options.indexes ?? {}).map(
    ([index, { fields, unique = false, where = {} }]) => [index, { fields, unique, where }] as const,
  )
  const definition: CollectionDefinition = {
    fields: options.fields ?? {},
    indexes: Object.fromEntries(indexes),
  }
  checkDefinition(name, definition)
  return { definition, schema: options.schema }
}
