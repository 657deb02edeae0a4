/** What a domain holds: all of it counted, or, where that is much, estimated from pages at even distances. */
import type { Backend } from '../../backend/backend.ts'
import type { Clock } from '../../clock.ts'
import { isUnderpinError, type UnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { type CollectionDefinition, definitionsCollection } from '../../model/collection.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, FeedPart, Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import { decodeValue } from '../../model/value.ts'

export interface PlanCounts {
  /** All records were counted; else pages at even distances were, and all numbers but `head` are estimates. */
  readonly isExact: boolean
  /** Records that were looked at. */
  readonly read: number
  readonly head: Position
  readonly records: number
  readonly events: number
  readonly documents: number
  readonly tombstones: number
  readonly streams: number
  /** The application's, and Underpin's own (`$…`), by name. */
  readonly collections: Readonly<Record<string, { readonly documents: number; readonly indexes: number }>>
  /** Characters of JSON text. */
  readonly characters: number
}

export interface CountOptions {
  readonly clock: Clock
  /** Records read at most. */
  readonly maxRecords: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((read: number, of: number) => void) | undefined
  /** Shown each record that is read. */
  readonly look: (change: Change) => void
  /** Told of a record that cannot be read. */
  readonly damaged: (error: UnderpinError) => void
}

export interface Counted {
  readonly counts: PlanCounts
  readonly definitions: ReadonlyMap<string, CollectionDefinition>
  /** Milliseconds that a record took to read, on average; undefined of an empty domain. */
  readonly readMs: number | undefined
  /** The first pages of the feed, in order. */
  readonly first: readonly FeedPart[]
}

const pageItems = 5_000
/** Parts of the feed that a page each is read of, where not all is. */
const parts = 40
/** Pages that are kept, to be written to the target on probation. */
const keptPages = 2

/** The definitions of all collections of a domain. */
export async function readDefinitions(
  source: Backend,
  domain: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, CollectionDefinition>> {
  const query = {
    collection: definitionsCollection,
    by: 'id',
    prefix: '',
    backwards: false,
    limit: 1_000,
  } as const
  const definitions = new Map<string, CollectionDefinition>()
  let after: Cursor | null = null
  do {
    const page: Page<Document, Cursor | null> = await source.scan(
      domain,
      { ...query, after },
      signal && { signal },
    )
    for (const { id, data } of page.items) definitions.set(id, decodeValue(data) as CollectionDefinition)
    after = page.next
  } while (after !== null)
  return definitions
}

export async function countDomain(
  source: Backend,
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
  options: CountOptions,
): Promise<Counted> {
  const { head } = await source.fence(domain, options.signal && { signal: options.signal })
  const isExact = head <= options.maxRecords
  const width = isExact ? head : head / parts
  const each = isExact ? pageItems : Math.max(1, Math.min(pageItems, Math.floor(options.maxRecords / parts)))
  const tally = new Tally(definitions)
  const reader = new PageReader(source, domain, options)
  for (let part = 0; part < (isExact ? Math.min(1, head) : parts); part++) {
    const [from, to] = [Math.floor(part * width), Math.floor((part + 1) * width)]
    let at = from
    const seen: Change[] = []
    // One page of each part; where all is counted, there is one part, and all its pages are read.
    do {
      const { items, next } = await reader.page(at, each)
      const inside = items.filter(({ position }) => position <= to)
      for (const change of inside) options.look(change)
      if (isExact) tally.add(inside, 1)
      else seen.push(...inside)
      at = Math.min(next, to)
      options.onProgress?.(reader.records, isExact ? head : parts * each)
    } while (isExact && at < to)
    if (!isExact && at > from) tally.add(seen, (to - from) / (at - from))
  }
  return {
    counts: tally.counts(isExact && !reader.hasDamage, reader.records, head),
    definitions,
    readMs: reader.records === 0 ? undefined : reader.ms / reader.records,
    first: reader.first,
  }
}

/** Reads pages, in time, and steps over what is damaged. */
class PageReader {
  readonly first: FeedPart[] = []
  records = 0
  ms = 0
  hasDamage = false
  readonly #source: Backend
  readonly #domain: string
  readonly #options: CountOptions

  constructor(source: Backend, domain: string, options: CountOptions) {
    this.#source = source
    this.#domain = domain
    this.#options = options
  }

  async page(after: Position, limit: number): Promise<Pick<FeedPart, 'items' | 'next'>> {
    const { clock, signal, damaged } = this.#options
    signal?.throwIfAborted()
    const since = clock.monotonic()
    try {
      const page = await this.#source.changes(this.#domain, after, limit, signal && { signal })
      this.ms += clock.monotonic() - since
      this.records += page.items.length
      const isNext = !this.hasDamage && after === (this.first.at(-1)?.next ?? 0)
      if (isNext && this.first.length < keptPages) this.first.push(page)
      return page
    } catch (error) {
      if (!isUnderpinError(error, 'damaged') || typeof error.details.position !== 'number') throw error
      if (limit > 1) return this.page(after, limit >> 2 || 1)
      this.hasDamage = true
      damaged(error)
      return { items: [], next: error.details.position }
    }
  }
}

class Tally {
  readonly #collections = new Map<string, { documents: number; readonly indexes: number }>()
  #events = 0
  #documents = 0
  #tombstones = 0
  #streams = 0
  #characters = 0

  constructor(definitions: ReadonlyMap<string, CollectionDefinition>) {
    for (const [name, { indexes }] of definitions)
      this.#collections.set(name, { documents: 0, indexes: Object.keys(indexes).length })
  }

  /** Each of the records stands for so many. */
  add(changes: readonly Change[], weight: number): void {
    for (const change of changes) {
      if (change.kind === 'event') this.#event(change, weight)
      else if (change.kind === 'document') this.#document(change, weight)
      else this.#tombstones += weight
    }
  }

  /** A stream counts by its first event; one that was truncated, by the document that says so. */
  #event({ seq, data, meta }: Extract<Change, { kind: 'event' }>, weight: number): void {
    this.#events += weight
    this.#characters += weight * (data.length + (meta?.length ?? 0))
    if (seq === 1) this.#streams += weight
  }

  #document({ collection, data }: Document, weight: number): void {
    this.#documents += weight
    this.#characters += weight * data.length
    if (collection === truncationsCollection) this.#streams += weight
    const found = this.#collections.get(collection) ?? { documents: 0, indexes: 0 }
    found.documents += weight
    this.#collections.set(collection, found)
  }

  counts(isExact: boolean, read: number, head: Position): PlanCounts {
    const collections = [...this.#collections].map(
      ([name, { documents, indexes }]) => [name, { documents: Math.round(documents), indexes }] as const,
    )
    return {
      ...{ isExact, read, head },
      records: Math.round(this.#events + this.#documents + this.#tombstones),
      events: Math.round(this.#events),
      documents: Math.round(this.#documents),
      tombstones: Math.round(this.#tombstones),
      streams: Math.round(this.#streams),
      collections: Object.fromEntries(collections),
      characters: Math.round(this.#characters),
    }
  }
}
