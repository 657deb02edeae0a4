/** One domain held in memory: what the memory backend is, and what journals keep of their documents. */
import { UnderpinError } from '../error.ts'
import { type Change, keyOf, type RecordKey, verifyChange } from '../model/change.ts'
import {
  type CollectionDefinition,
  compareFields,
  type FieldValue,
  indexKey,
  plainCollection,
  systemCollections,
  uniqueKey,
} from '../model/collection.ts'
import { DigestSum, emptyDigest } from '../model/digest.ts'
import type { Document, DocumentKey, Tombstone } from '../model/document.ts'
import type { Event, EventKey } from '../model/event.ts'
import { type Fence, vacantFence } from '../model/fence.ts'
import { compareText, prefixEnd } from '../model/key.ts'
import {
  type Cursor,
  decodeCursor,
  encodeCursor,
  type FeedPart,
  type Page,
  type Place,
  type Query,
  type Range,
  type Served,
} from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { type Below, streamsWithoutStart, truncationsCollection } from '../model/truncation.ts'
import { decodeValue } from '../model/value.ts'
import { noteVerified } from '../model/verified.ts'
import type { Found } from './backend.ts'
import { Ordered } from './ordered.ts'
import { declaredIn, type Plan } from './plan.ts'
import type { RepairPlan } from './plan-repair.ts'
import type { Held, View } from './stage.ts'
import { Stream } from './stream.ts'

type Rights = Omit<Fence, 'head' | 'digest'>

export class DomainState implements View {
  head: Position = 0
  digest = new DigestSum(emptyDigest)
  /** The fence but for what moves with every commit. */
  rights: Rights = vacantFence
  /** By position - 1: undefined where a later change superseded the one there. */
  #feed: (Change | undefined)[] = []
  readonly #streams = new Map<string, Stream>()
  readonly #collections = new Map<string, CollectionState>()

  constructor() {
    for (const name of systemCollections) this.#collections.set(name, new CollectionState(plainCollection))
  }

  seq(stream: string): number {
    return this.#streams.get(stream)?.last ?? 0
  }

  below(stream: string, seq: number): Below {
    return this.#streams.get(stream)?.below(seq) ?? { first: 0, sum: emptyDigest }
  }

  document(collection: string, id: string): Held | undefined {
    const record = this.#collections.get(collection)?.records.get(id)
    if (record === undefined) return undefined
    const isTombstone = record.kind === 'tombstone'
    return {
      position: record.position,
      checksum: record.checksum,
      expiresAt: isTombstone ? null : record.expiresAt,
      isTombstone,
    }
  }

  definition(collection: string): CollectionDefinition | undefined {
    return this.#collections.get(collection)?.definition
  }

  holder(collection: string, index: string, key: readonly FieldValue[]): string | undefined {
    return this.#collections.get(collection)?.holder(index, key)
  }

  /** Makes a plan true. Cannot fail halfway: indexes that the data forbids are found first. */
  install(plan: Plan): void {
    for (const [name, definition] of declaredIn(plan.changes)) {
      const collection = this.#collections.get(name)
      if (collection === undefined) this.#collections.set(name, new CollectionState(definition))
      else collection.redefine(name, definition, this.rights.role !== 'authority')
    }
    for (const change of plan.changes)
      if (change.kind !== 'event' && !this.#collections.has(change.collection))
        this.#collections.set(change.collection, new CollectionState(plainCollection))
    for (const { collection, id } of plan.evicted) this.#drop(this.#collection(collection), id)
    for (const change of plan.changes) this.#install(change)
    for (const { stream, before } of plan.removed)
      for (const { position } of this.#streams.get(stream)?.truncate(before) ?? [])
        this.#feed[position - 1] = undefined
    while (this.#feed.length < plan.head) this.#feed.push(undefined)
    this.head = plan.head
    this.digest = plan.digest
  }

  get fence(): Fence {
    const { role, epoch, incarnation, successor } = this.rights
    return Object.freeze({
      role,
      epoch,
      head: this.head,
      digest: this.digest.toString(),
      incarnation,
      successor,
    })
  }

  read(stream: string, range: Range): Page<Event, number | null> {
    const { items, next } = this.#streams.get(stream)?.read(range) ?? { items: [], next: null }
    return { items: items.map(verifyChange), next, ...this.#served() }
  }

  get(keys: readonly DocumentKey[]): Found {
    const documents = keys.map(({ collection, id }) => {
      const record = this.#collection(collection).records.get(id)
      return record === undefined ? undefined : verifyChange(record)
    })
    return { documents, ...this.#served() }
  }

  scan(query: Query): Page<Document, Cursor | null> {
    const { items, next } = this.#collection(query.collection).scan(query)
    return { items: items.map(verifyChange), next, ...this.#served() }
  }

  changes(after: Position, limit: number): FeedPart {
    const items: Change[] = []
    let position = after
    while (position < this.#feed.length) {
      const change = this.#feed[position]
      if (change !== undefined) {
        if (items.length >= limit && change.commit !== items.at(-1)?.commit) break
        items.push(verifyChange(change))
      }
      position++
    }
    const isEnd = position >= this.#feed.length
    const next = isEnd ? this.head : (items.at(-1)?.position ?? position)
    return {
      items: noteVerified(items),
      next,
      truncations: this.#truncationsOf(items, next),
      ...this.#served(),
    }
  }

  /** Those behind a part of the feed, of the streams in it. */
  #truncationsOf(items: readonly Change[], next: Position): readonly Document[] {
    const records = this.#collections.get(truncationsCollection)?.records
    if (records === undefined) return []
    const found = streamsWithoutStart(items).map((stream) => records.get(stream))
    return found.filter((record) => record?.kind === 'document' && record.position > next) as Document[]
  }

  /** Makes a repair true, and at its end the digest the sum of what is there. */
  repair({ items, events, documents, isLast }: RepairPlan): void {
    for (const key of [...events, ...documents]) this.uproot(key)
    for (const { position } of items) {
      const inTheWay = this.#feed[position - 1]
      if (inTheWay !== undefined) this.uproot(keyOf(inTheWay))
    }
    for (const change of items) this.plant(Object.freeze(change))
    this.digest = new DigestSum(emptyDigest)
    if (!isLast) return
    for (const stream of this.#streams.values())
      for (const { checksum } of stream.events) this.digest.add(checksum)
    for (const { records } of this.#collections.values())
      for (const { checksum } of records.values()) this.digest.add(checksum)
  }

  /** Puts a record where it belongs by its key and position, as it is, checksum and all: so a test plants damage. */
  plant(change: Change): void {
    if (change.position > 0) {
      while (this.#feed.length < change.position - 1) this.#feed.push(undefined)
      this.#feed[change.position - 1] = change
    }
    if (change.kind !== 'event') this.#collection(change.collection).set(change)
    else {
      const stream = this.#streams.get(change.stream)
      if (stream === undefined) this.#streams.set(change.stream, new Stream([change]))
      else stream.put(change)
    }
  }

  /** Removes what is there under a key, without a trace. */
  uproot(key: RecordKey): void {
    if ('collection' in key) this.#drop(this.#collection(key.collection), key.id)
    else this.#uprootEvent(key)
  }

  #uprootEvent({ stream: name, seq }: EventKey): void {
    const stream = this.#streams.get(name)
    const event = stream?.take(seq)
    if (event === undefined) return
    if (this.#feed[event.position - 1] === event) this.#feed[event.position - 1] = undefined
    if (stream?.events.length === 0) this.#streams.delete(name)
  }

  #served(): Served {
    return { epoch: this.rights.epoch, role: this.rights.role, head: this.head }
  }

  #collection(name: string): CollectionState {
    const collection = this.#collections.get(name)
    if (collection !== undefined) return collection
    throw new UnderpinError('invalid', `The collection ${name} is not declared in this domain`, {
      details: { collection: name },
    })
  }

  /** Frozen, because every reader is given the record itself. */
  #install(change: Change): void {
    Object.freeze(change)
    if (change.kind === 'event') {
      const events = this.#streams.get(change.stream)
      if (events === undefined) this.#streams.set(change.stream, new Stream([change]))
      else events.push(change)
    } else {
      const collection = this.#collection(change.collection)
      this.#drop(collection, change.id)
      collection.set(change)
    }
    while (this.#feed.length < change.position - 1) this.#feed.push(undefined)
    this.#feed[change.position - 1] = change
  }

  #drop(collection: CollectionState, id: string): void {
    const record = collection.records.get(id)
    if (record === undefined) return
    if (this.#feed[record.position - 1] === record) this.#feed[record.position - 1] = undefined
    collection.delete(id)
  }
}

interface Entry {
  readonly key: readonly FieldValue[]
  readonly id: string
}

class CollectionState {
  readonly records = new Map<string, Document | Tombstone>()
  definition: CollectionDefinition
  readonly #ids = new Ordered<Entry>(compareEntries)
  readonly #expiring = new Ordered<Entry>(compareEntries)
  readonly #indexes = new Map<string, Ordered<Entry>>()
  readonly #holders = new Map<string, Map<string, string>>()
  /** Unique indexes in which a follower may hold several documents of one key. */
  readonly #clashing = new Set<string>()

  constructor(definition: CollectionDefinition) {
    this.definition = definition
    for (const name of Object.keys(definition.indexes)) this.#createIndex(name)
  }

  /**
   * Adds the indexes that are new; `conflict` if a new unique one finds two documents with one key. A follower may hold
   * them: all but one are older state, and what took their place is further on in the feed.
   */
  redefine(collection: string, definition: CollectionDefinition, isFollower: boolean): void {
    const added = Object.entries(definition.indexes).filter(([name]) => !this.#indexes.has(name))
    const documents = [...this.records.values()].filter((record) => record.kind === 'document')
    for (const [name, index] of added) {
      const holders = new Map<string, string>()
      for (const { id, data } of documents) {
        const key = JSON.stringify(uniqueKey(definition, index, decodeValue(data)))
        const holder = key === undefined ? undefined : holders.get(key)
        if (holder !== undefined && !isFollower) throw duplicateKey(collection, name, [holder, id])
        if (holder !== undefined) this.#clashing.add(name)
        if (key !== undefined) holders.set(key, id)
      }
    }
    this.definition = definition
    for (const [name] of added) {
      this.#createIndex(name)
      for (const document of documents) this.#index(name, document, true)
    }
  }

  holder(index: string, key: readonly FieldValue[]): string | undefined {
    return this.#holders.get(index)?.get(JSON.stringify(key))
  }

  set(record: Document | Tombstone): void {
    this.records.set(record.id, record)
    if (record.kind === 'tombstone') return
    this.#ids.add({ key: [], id: record.id })
    if (record.expiresAt !== null) this.#expiring.add({ key: [record.expiresAt], id: record.id })
    for (const name of this.#indexes.keys()) this.#index(name, record, true)
  }

  delete(id: string): void {
    const record = this.records.get(id)
    this.records.delete(id)
    if (record?.kind !== 'document') return
    this.#ids.delete({ key: [], id })
    if (record.expiresAt !== null) this.#expiring.delete({ key: [record.expiresAt], id })
    for (const name of this.#indexes.keys()) this.#index(name, record, false)
  }

  scan(query: Query): { items: Document[]; next: Cursor | null } {
    const { entries, low, high } = this.#order(query)
    const after =
      query.after === null
        ? undefined
        : decodeCursor(
            query.after,
            query.by === 'id' ? 0 : query.by === 'expiry' ? 1 : this.#fields(query.index),
          )
    const items: Document[] = []
    let last: Place | undefined
    const start =
      after === undefined
        ? query.backwards
          ? high
          : low
        : (entry: Entry) => compareEntries(entry, after) || (query.backwards ? 0 : -1)
    for (const entry of query.backwards ? entries.backFrom(start) : entries.from(start)) {
      if (query.backwards ? low(entry) < 0 : high(entry) >= 0) break
      if (items.length === query.limit) return { items, next: encodeCursor(last as Place) }
      items.push(this.records.get(entry.id) as Document)
      last = entry
    }
    return { items, next: null }
  }

  /** The ordered entries of a query, and functions that put an entry below (-1) or not below (0) its two bounds. */
  #order(query: Query): {
    entries: Ordered<Entry>
    low: (entry: Entry) => number
    high: (entry: Entry) => number
  } {
    if (query.by === 'id') {
      const end = prefixEnd(query.prefix)
      return {
        entries: this.#ids,
        low: ({ id }) => (compareText(id, query.prefix) < 0 ? -1 : 0),
        high: ({ id }) => (end === undefined || compareText(id, end) < 0 ? -1 : 0),
      }
    }
    if (query.by === 'expiry') {
      return {
        entries: this.#expiring,
        low: () => 0,
        high: ({ key }) => (Number(key[0]) <= query.until ? -1 : 0),
      }
    }
    const entries = this.#indexes.get(query.index)
    if (entries === undefined) throw unknownIndex(query.collection, query.index)
    const { equals, from, below } = query
    const compareEquals = ({ key }: Entry) => compareKeys(key.slice(0, equals.length), equals)
    const field = ({ key }: Entry) => key[equals.length] as FieldValue
    return {
      entries,
      low: (entry) =>
        (compareEquals(entry) || (from === undefined ? 0 : compareFields(field(entry), from))) < 0 ? -1 : 0,
      high: (entry) =>
        (compareEquals(entry) || (below === undefined ? -1 : compareFields(field(entry), below))) < 0
          ? -1
          : 0,
    }
  }

  #fields(index: string): number {
    return this.definition.indexes[index]?.fields.length ?? 0
  }

  #createIndex(name: string): void {
    this.#indexes.set(name, new Ordered(compareEntries))
    if (this.definition.indexes[name]?.unique) this.#holders.set(name, new Map())
  }

  #index(name: string, document: Document, isAdded: boolean): void {
    const index = this.definition.indexes[name]
    if (index === undefined) return
    const value = decodeValue(document.data)
    const key = indexKey(this.definition, index, value)
    if (key === undefined) return
    const entry = { key, id: document.id }
    if (isAdded) this.#indexes.get(name)?.add(entry)
    else this.#indexes.get(name)?.delete(entry)
    const unique = JSON.stringify(uniqueKey(this.definition, index, value))
    if (unique === undefined) return
    const holders = this.#holders.get(name)
    if (isAdded) holders?.set(unique, document.id)
    else if (!this.#clashing.has(name)) holders?.delete(unique)
    else if (holders?.get(unique) === document.id) this.#passOn(name, key, unique)
  }

  /** The key of a document that goes is held by another one, if there is one. */
  #passOn(name: string, key: readonly FieldValue[], unique: string): void {
    const [next] = this.#indexes.get(name)?.from((entry) => (compareKeys(entry.key, key) < 0 ? -1 : 0)) ?? []
    if (next !== undefined && compareKeys(next.key, key) === 0) this.#holders.get(name)?.set(unique, next.id)
    else this.#holders.get(name)?.delete(unique)
  }
}

function compareKeys(a: readonly FieldValue[], b: readonly FieldValue[]): number {
  for (let i = 0; i < a.length; i++) {
    const order = compareFields(a[i] as FieldValue, b[i] as FieldValue)
    if (order !== 0) return order
  }
  return 0
}

function compareEntries(a: Place, b: Place): number {
  return compareKeys(a.key, b.key) || compareText(a.id, b.id)
}

export function unknownIndex(collection: string, index: string): UnderpinError {
  return new UnderpinError('invalid', `The collection ${collection} has no index ${JSON.stringify(index)}`, {
    details: { collection, index },
  })
}

export function duplicateKey(collection: string, index: string, holders: readonly string[]): UnderpinError {
  return new UnderpinError(
    'conflict',
    `The unique index ${index} cannot be created: several documents of collection ${collection} have one key`,
    {
      hint: 'Change or delete all but one of them, then declare the index again.',
      details: { collection, index, holders },
    },
  )
}
