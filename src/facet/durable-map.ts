/** A `Map` that is kept in a store: for code that is synchronous today and has to survive a restart. */
import { UnderpinError } from '../error.ts'
import type { Write } from '../model/change.ts'
import type { Check } from '../model/check.ts'
import { checkDefinition, plainCollection } from '../model/collection.ts'
import type { Document, Tombstone } from '../model/document.ts'
import { quote } from '../model/key.ts'
import type { Limits } from '../model/limit.ts'
import type { Cursor } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { decodeValue, encodeValue, type JsonText } from '../model/value.ts'
import type { SyncPort } from './port.ts'

/** What keys may be. They are equal as a Map's are: `1` is not `'1'`, `-0` is `0`, `NaN` is `NaN`. */
export type DurableKey = string | number | boolean

/** A document of the collection. Without an order, the key was inserted by the commit that wrote this revision. */
interface Stored {
  readonly value: unknown
  readonly order?: Position
}

interface Entry {
  /** The JSON text of the stored document. */
  readonly data: JsonText
  readonly revision: Position
  /** The position at which the key was inserted: unique, and in the order of insertion whoever the writer was. */
  readonly order: Position
}

type Entries<K> = Map<K, Entry>

const attempts = 1_000
const feedPage = 1_000
/** Bytes that a stored document has more than its value, at most. */
const frameBytes = 64

/**
 * A drop-in for `Map`, kept in a collection of its own: `new DurableMap<string, User>(store.domain('app'), 'users')`.
 *
 * - An acknowledged `set`, `delete` or `clear` is as durable as the backend is. `set` and `delete` are one commit each;
 *   `clear` is one commit for every `limits.commitItems` entries (10,000), so a larger map is cleared in several.
 * - Every call sees what other writers (processes, other maps of that name) have committed; their entries stand in the
 *   order of insertion like one's own. No write is lost: one that was overtaken looks again and is repeated.
 *   A `get` and the `set` that follows it are two calls, though: between them another process may write.
 * - Values are copies: changing one that was given or returned changes nothing. What JSON does not keep is refused with
 *   `invalid` and its path, as are keys that are not strings, numbers or booleans; nothing is written then.
 * - Insertion order, and iterators that survive changes, are a Map's; the order outlives restarts.
 *
 * All entries are held in memory as JSON text. Every method can fail with `closed`, `fenced` (the domain was moved),
 * `unavailable`, `damaged`; a write also with `too-large` and `unknown`.
 */
export class DurableMap<K extends DurableKey, V> implements Map<K, V> {
  readonly #port: SyncPort
  readonly #name: string
  readonly #limits: Limits
  readonly #entries: Entries<K> = new Map()
  /** Everything up to here is in the entries. */
  #position: Position = 0

  /** `invalid` if the name is no name for a collection; `foreign` if the collection holds something else. */
  constructor(domain: { readonly port: SyncPort }, name: string) {
    const { port } = domain
    const { valueBytes, valueDepth } = port.limits
    checkDefinition(name, plainCollection, port.limits)
    this.#port = port
    this.#name = name
    this.#limits = { ...port.limits, valueBytes: valueBytes - frameBytes, valueDepth: valueDepth - 1 }
    port.declare(name, { definition: plainCollection, schema: undefined })
    this.#load()
  }

  get [Symbol.toStringTag](): string {
    return 'Map'
  }

  get size(): number {
    return this.#current().size
  }

  has(key: K): boolean {
    return this.#current().has(key)
  }

  get(key: K): V | undefined {
    const entry = this.#current().get(key)
    return entry === undefined ? undefined : valueIn<V>(entry)
  }

  set(key: K, value: V): this {
    const id = idOf(key, this.#name)
    const text = encodeValue(value, this.#limits)
    this.#untilDone(() => this.#put(key, id, text))
    return this
  }

  /** The value of a key, which is set to `value` if it is not there. */
  getOrInsert(key: K, value: V): V {
    return this.getOrInsertComputed(key, () => value)
  }

  /** The value of a key, which is set to what `compute` makes if it is not there. */
  getOrInsertComputed(key: K, compute: (key: K) => V): V {
    const found = this.#current().get(key)
    if (found !== undefined) return valueIn<V>(found)
    const id = idOf(key, this.#name)
    const text = encodeValue(compute(key), this.#limits)
    const entry = this.#untilDone(() => this.#entries.get(key) ?? this.#put(key, id, text))
    return valueIn<V>(entry)
  }

  delete(key: K): boolean {
    this.#catchUp()
    return this.#untilDone(() => this.#entries.has(key) && this.#remove([key]))
  }

  clear(): void {
    for (let isEmpty = this.size === 0; !isEmpty; isEmpty = this.#entries.size === 0)
      this.#untilDone(() => this.#remove([...this.#entries.keys()].slice(0, this.#limits.commitItems)))
  }

  forEach(callback: (value: V, key: K, map: Map<K, V>) => void, thisArg?: unknown): void {
    for (const [key, value] of this) callback.call(thisArg, value, key, this)
  }

  entries(): MapIterator<[K, V]> {
    return this.#walk((key, entry) => [key, valueIn<V>(entry)])
  }

  keys(): MapIterator<K> {
    return this.#walk((key) => key)
  }

  values(): MapIterator<V> {
    return this.#walk((_key, entry) => valueIn<V>(entry))
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries()
  }

  /** A Map's own iterator over the entries, which survives changes, catching up before each step. */
  #walk<T>(pick: (key: K, entry: Entry) => T): MapIterator<T> {
    const entries = this.#entries.entries()
    const next = (): IteratorResult<T, undefined> => {
      this.#catchUp()
      const step = entries.next()
      return step.done ? { done: true, value: undefined } : { done: false, value: pick(...step.value) }
    }
    return Object.create(iteratorPrototype, {
      next: { value: next },
      [Symbol.toStringTag]: { value: 'Map Iterator' },
    })
  }

  /** Repeats a write until no other writer came between it and what is known of the entries. */
  #untilDone<R>(attempt: () => R | undefined): R {
    for (let left = attempts; left > 0; left--) {
      const result = attempt()
      if (result !== undefined) return result
      this.#catchUp()
    }
    throw new UnderpinError(
      'conflict',
      `Other writers of the map ${this.#name} overtook a write ${attempts} times`,
    )
  }

  #put(key: K, id: string, text: JsonText): Entry | undefined {
    const found = this.#entries.get(key)
    const order = found === undefined ? '' : `,"order":${found.order}`
    const data = `{"value":${text}${order}}` as JsonText
    const position = this.#commit(
      [{ kind: 'put', collection: this.#name, id, data, expiresAt: null }],
      [{ kind: 'document', collection: this.#name, id, expect: found?.revision ?? 'absent' }],
    )
    if (position === undefined) return undefined
    const entry = { data, revision: position, order: found?.order ?? position }
    if (this.#isNext(position, 1)) this.#entries.set(key, entry)
    return entry
  }

  /** True when the keys are gone, undefined if another writer came first. */
  #remove(keys: readonly K[]): true | undefined {
    if (keys.length === 0) return true
    const documents = keys.map((key) => ({ collection: this.#name, id: idOf(key, this.#name) }))
    const position = this.#commit(
      documents.map((document) => ({ kind: 'delete', ...document })),
      documents.map((document, i) => {
        const expect = this.#entries.get(keys[i] as K)?.revision ?? 'absent'
        return { kind: 'document', ...document, expect }
      }),
    )
    if (position === undefined) return undefined
    if (this.#isNext(position, keys.length)) for (const key of keys) this.#entries.delete(key)
    return true
  }

  /**
   * Whether writes from a position on continue the entries. If others have written between, the entries are left behind
   * and the next call catches up: an acknowledged write must not fail for a read after it.
   */
  #isNext(position: Position, writes: number): boolean {
    if (position !== this.#position + 1) return false
    this.#position += writes
    return true
  }

  /** The position of the first write, or undefined if another writer came first. */
  #commit(writes: readonly Write[], checks: readonly Check[]): Position | undefined {
    const outcome = this.#port.commit({ at: this.#port.clock.now(), writes, checks })
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed' ? outcome.positions[0] : undefined
  }

  /** The entries as the last acknowledged commit left them, whoever made it. */
  #current(): Entries<K> {
    this.#catchUp()
    return this.#entries
  }

  #catchUp(): void {
    const head = this.#port.head()
    if (head < this.#position) this.#load()
    if (head <= this.#position) return
    const records = new Map<string, Document | Tombstone>()
    const position = this.#follow(this.#position, records)
    this.#take(records.values())
    this.#position = position
  }

  /** Scans the collection; what was changed meanwhile comes from the feed. */
  #load(): void {
    const records = new Map<string, Document | Tombstone>()
    let from: Position | undefined
    let after: Cursor | null = null
    do {
      const limit = this.#limits.pageItems
      const page = this.#port.scan({
        collection: this.#name,
        by: 'id',
        prefix: '',
        backwards: false,
        limit,
        after,
      })
      from ??= page.head
      for (const document of page.items) records.set(document.id, document)
      after = page.next
    } while (after !== null)
    const position = this.#follow(from, records)
    this.#entries.clear()
    this.#take(records.values())
    this.#position = position
  }

  /** Reads the feed to its end, keeps the latest state of each document, and returns the position reached. */
  #follow(after: Position, records: Map<string, Document | Tombstone>): Position {
    for (let position = after; ; ) {
      const page = this.#port.changes(position, feedPage)
      for (const change of page.items)
        if (change.kind !== 'event' && change.collection === this.#name) records.set(change.id, change)
      position = page.next
      if (position >= page.head) return position
    }
  }

  /** A key that is still the one inserted then keeps its place; new ones come behind, in their order. */
  #take(records: Iterable<Document | Tombstone>): void {
    const inserted: [K, Entry][] = []
    for (const record of records) {
      const key = keyOf(record) as K
      const entry = record.kind === 'tombstone' ? undefined : toEntry(record)
      if (entry !== undefined && this.#entries.get(key)?.order === entry.order) this.#entries.set(key, entry)
      else this.#entries.delete(key)
      if (entry !== undefined && !this.#entries.has(key)) inserted.push([key, entry])
    }
    inserted.sort(([, a], [, b]) => a.order - b.order)
    for (const [key, entry] of inserted) this.#entries.set(key, entry)
  }
}

/** What all iterators inherit: `[Symbol.iterator]`, and the iterator helpers where the runtime has them. */
const iteratorPrototype: object = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()))

function valueIn<V>({ data }: Entry): V {
  return (decodeValue(data) as Stored).value as V
}

function toEntry(document: Document): Entry {
  const { data, position } = document
  const stored = decodeValue(data)
  if (typeof stored !== 'object' || stored === null || !Object.hasOwn(stored, 'value'))
    throw foreign(document)
  return { data, revision: position, order: (stored as Stored).order ?? position }
}

/**
 * The document id of a key. A string stands for itself; `#` comes before what else there is: numbers (`#1`), booleans
 * (`#true`), the empty string (`#`), and strings that begin with `#` (`##tag`).
 */
function idOf(key: unknown, name: string): string {
  if (typeof key === 'string') return key === '' || key.startsWith('#') ? `#${key}` : key
  if (typeof key === 'number' || typeof key === 'boolean') return `#${key}`
  throw new UnderpinError(
    'invalid',
    `A key of the map ${name} must not be ${key === null ? 'null' : `of type ${typeof key}`}`,
    {
      hint: 'Use a string, a number or a boolean.',
    },
  )
}

/** The key that an id stands for. */
function keyOf(record: Document | Tombstone): DurableKey {
  const { id } = record
  if (!id.startsWith('#')) return id
  const rest = id.slice(1)
  if (rest === '' || rest.startsWith('#')) return rest
  if (rest === 'true' || rest === 'false') return rest === 'true'
  const number = Number(rest)
  if (String(number) !== rest) throw foreign(record)
  return number
}

function foreign({ collection, id }: Document | Tombstone): UnderpinError {
  return new UnderpinError(
    'foreign',
    `Document ${quote(id)} of collection ${collection} was written by no DurableMap`,
    {
      hint: 'Give the map a collection of its own.',
      details: { collection, id },
    },
  )
}
