/** A list that is only added to, kept in a store: for code that is synchronous today and has to survive a restart. */
import { UnderpinError } from '../error.ts'
import type { Write } from '../model/change.ts'
import type { Event } from '../model/event.ts'
import { quote } from '../model/key.ts'
import type { Position } from '../model/position.ts'
import { decodeValue, encodeValue, type JsonText } from '../model/value.ts'
import type { SyncPort } from './port.ts'
import { truncatedSync } from './truncated.ts'

const attempts = 1_000
const pageItems = 1_000

/** The types of the events in the stream: an item each, or the mark behind which the list begins anew. */
const pushed = 'pushed'
const cleared = 'cleared'

/**
 * An append-only list, kept as the stream of that name: `new DurableArray<Entry>(store.domain('app'), 'audit')`. Has the
 * methods of an array that read, `push`, and `clear`; what would change or reorder items is not there.
 *
 * - `push` is atomic, and durable (as far as the backend is) when it returns. At most `limits.commitItems` (10,000) items
 *   at once, else `too-large`.
 * - Every call sees what other writers have pushed, in one order for all of them.
 * - Items are copies: changing one that was given or returned changes nothing. What JSON does not keep is refused with
 *   `invalid` and its path; nothing is written then.
 * - `clear` empties the list by an event of its own: the items before stay in the stream, for `log.read`.
 *
 * Items are held in memory as JSON text. Every method can fail with `closed`, `fenced` (the domain was moved),
 * `unavailable`, `damaged`; a write also with `too-large` and `unknown`.
 */
export class DurableArray<T> implements Iterable<T> {
  readonly #port: SyncPort
  readonly #stream: string
  readonly #texts: JsonText[] = []
  /** The last seq that is in the texts, and the position up to which nothing else was appended. */
  #seq = 0
  #position: Position = 0

  /**
   * `invalid` if the name is no name for a stream; `foreign` if the stream holds something else; `unsupported` in a
   * domain with event definitions, which cannot hold a list's events.
   */
  constructor(domain: { readonly port: SyncPort }, name: string) {
    this.#port = domain.port
    refuseDefinitions(this.#port)
    this.#stream = name
    this.#load()
  }

  get length(): number {
    this.#catchUp()
    return this.#texts.length
  }

  /** Appends items, all or none; returns the new length. */
  push(...items: T[]): number {
    const texts = items.map((item) => encodeValue(item, this.#port.limits))
    if (texts.length > 0) this.#append(pushed, texts)
    else this.#catchUp()
    return this.#texts.length
  }

  /** Empties the list; an empty one is left as it is. */
  clear(): void {
    if (this.length > 0) this.#append(cleared, ['null' as JsonText])
  }

  /** The item at an index; a negative one counts from the end. Undefined if there is none. */
  at(index: number): T | undefined {
    this.#catchUp()
    const text = this.#texts.at(index)
    return text === undefined ? undefined : (decodeValue(text) as T)
  }

  /** A copy of the list as it is now. */
  toArray(): T[] {
    this.#catchUp()
    return this.#texts.map((text) => decodeValue(text) as T)
  }

  /** What `JSON.stringify` shows: the items. */
  toJSON(): T[] {
    return this.toArray()
  }

  slice(start?: number, end?: number): T[] {
    this.#catchUp()
    return this.#texts.slice(start, end).map((text) => decodeValue(text) as T)
  }

  forEach(callback: (item: T, index: number) => void): void {
    for (const [index, item] of this.#visit()) callback(item, index)
  }

  some(predicate: (item: T, index: number) => unknown): boolean {
    return this.findIndex(predicate) !== -1
  }

  every(predicate: (item: T, index: number) => unknown): boolean {
    return !this.some((item, index) => !predicate(item, index))
  }

  find(predicate: (item: T, index: number) => unknown): T | undefined {
    for (const [index, item] of this.#visit()) if (predicate(item, index)) return item
    return undefined
  }

  findIndex(predicate: (item: T, index: number) => unknown): number {
    for (const [index, item] of this.#visit()) if (predicate(item, index)) return index
    return -1
  }

  filter(predicate: (item: T, index: number) => unknown): T[] {
    return this.toArray().filter((item, index) => predicate(item, index))
  }

  map<U>(change: (item: T, index: number) => U): U[] {
    return this.toArray().map((item, index) => change(item, index))
  }

  reduce<R>(step: (result: R, item: T, index: number) => R, seed: R): R {
    return this.toArray().reduce((result, item, index) => step(result, item, index), seed)
  }

  /** Index and item of each, also of those that are pushed meanwhile. */
  *entries(): Generator<[number, T], undefined> {
    for (let index = 0; index < this.length; index++) yield [index, this.#item(index)]
  }

  /** Each item, also those that are pushed meanwhile. */
  *values(): Generator<T, undefined> {
    for (const [, item] of this.entries()) yield item
  }

  [Symbol.iterator](): Generator<T, undefined> {
    return this.values()
  }

  /** As an array's callbacks see it: nothing that is pushed meanwhile, nothing that is cleared meanwhile. */
  *#visit(): Generator<[number, T]> {
    const end = this.length
    for (let index = 0; index < Math.min(end, this.length); index++) yield [index, this.#item(index)]
  }

  #item(index: number): T {
    return decodeValue(this.#texts[index] as JsonText) as T
  }

  /** Appends where this list knows the end of the stream to be, again if another writer came first. */
  #append(type: string, texts: readonly JsonText[]): void {
    for (let left = attempts; left > 0; left--) {
      if (this.#tryAppend(type, texts)) return
      this.#catchUp()
    }
    throw new UnderpinError(
      'conflict',
      `Other writers of the list ${this.#stream} overtook a write ${attempts} times`,
    )
  }

  #tryAppend(type: string, texts: readonly JsonText[]): boolean {
    const stream = this.#stream
    const writes = texts.map((data): Write => ({ kind: 'append', stream, type, data, meta: null }))
    const checks = [{ kind: 'stream', stream, expect: this.#seq } as const]
    const outcome = this.#port.commit({ at: this.#port.clock.now(), writes, checks })
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'failed') return false
    for (const text of texts) this.#take(type, text)
    this.#seq += texts.length
    if (outcome.positions[0] === this.#position + 1) this.#position += texts.length
    return true
  }

  #catchUp(): void {
    const head = this.#port.head()
    if (head < this.#position) this.#load()
    for (let isEnd = head <= this.#position; !isEnd; ) {
      const range = { after: this.#seq, before: Number.POSITIVE_INFINITY, backwards: false, limit: pageItems }
      const page = this.#port.read(this.#stream, range)
      // Truncated while nobody looked: read back from the end.
      if ((page.items[0]?.seq ?? this.#seq + 1) !== this.#seq + 1) {
        this.#load()
        return
      }
      for (const event of page.items) {
        this.#take(event.type, event.data)
        this.#seq = event.seq
      }
      isEnd = page.next === null
      if (isEnd) this.#position = page.head
    }
  }

  /** Reads back from the end to where the list was last cleared. */
  #load(): void {
    const events: Event[] = []
    let before: number | null = Number.POSITIVE_INFINITY
    let position: Position | undefined
    while (before !== null) {
      const page = this.#port.read(this.#stream, { after: 0, before, backwards: true, limit: pageItems })
      position ??= page.head
      events.push(...page.items)
      before = page.items.some(({ type }) => type === cleared) ? null : page.next
    }
    const first = events.at(-1)
    if (first !== undefined && first.seq > 1 && !events.some(({ type }) => type === cleared))
      throw truncatedSync(this.#port, this.#stream, first.seq)
    this.#texts.length = 0
    for (const { type, data } of events.toReversed()) this.#take(type, data)
    this.#seq = events[0]?.seq ?? 0
    this.#position = position ?? 0
  }

  #take(type: string, text: JsonText): void {
    if (type === pushed) this.#texts.push(text)
    else if (type === cleared) this.#texts.length = 0
    else throw foreign(this.#stream, type)
  }
}

/** Definitions refuse what they do not name, in the feed too: one list would stop everybody who follows it. */
function refuseDefinitions({ domain, events }: SyncPort): void {
  if (events.types === undefined) return
  throw new UnderpinError(
    'unsupported',
    `Domain ${domain} defines its events, and a DurableArray's are not among them`,
    { hint: 'Keep the list in a domain of its own.' },
  )
}

function foreign(stream: string, type: string): UnderpinError {
  return new UnderpinError(
    'foreign',
    `The stream ${quote(stream)} holds an event of type ${quote(type)}, which no DurableArray wrote`,
    {
      hint: 'Give the list a stream of its own.',
      details: { stream, type },
    },
  )
}
