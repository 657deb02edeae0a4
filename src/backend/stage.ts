/** What a domain holds, and what is decided on top of it but not yet written. */
import { type CollectionDefinition, definitionsCollection, type FieldValue } from '../model/collection.ts'
import type { Checksum } from '../model/digest.ts'
import type { Document } from '../model/document.ts'
import type { Position } from '../model/position.ts'
import type { Below } from '../model/truncation.ts'
import { decodeValue } from '../model/value.ts'

/** What is known of a document or tombstone without its content. */
export interface Held {
  readonly position: Position
  readonly checksum: Checksum
  readonly expiresAt: number | null
  readonly isTombstone: boolean
}

/** What the domain holds, before the group. */
export interface View {
  /** The last seq of a stream; 0 when empty. */
  seq(stream: string): number
  document(collection: string, id: string): Held | undefined
  definition(collection: string): CollectionDefinition | undefined
  /** What a stream holds below a seq: asked for only where a stream is truncated. */
  below(stream: string, seq: number): Below
  /** The document that holds a key of a unique index. */
  holder(collection: string, index: string, key: readonly FieldValue[]): string | undefined
}

/**
 * Changes that are decided but not yet written, over a view. Stages stack: one for the group, and one for each commit
 * that may fail halfway.
 */
export class Stage implements View {
  #seqs: Map<string, number> | undefined
  #documents: Map<string, Map<string, Held | null>> | undefined
  #definitions: Map<string, CollectionDefinition> | undefined
  #keys: HeldKeys | undefined
  readonly #below: View

  constructor(below: View) {
    this.#below = below
  }

  /** The last seq of each stream that was appended to. */
  get seqs(): ReadonlyMap<string, number> {
    return this.#seqs ?? none
  }

  /** The changed documents by collection and id; null for one that was evicted. */
  get documents(): ReadonlyMap<string, ReadonlyMap<string, Held | null>> {
    return this.#documents ?? none
  }

  seq(stream: string): number {
    return this.#seqs?.get(stream) ?? this.#below.seq(stream)
  }

  setSeq(stream: string, seq: number): void {
    this.#seqs ??= new Map()
    this.#seqs.set(stream, seq)
  }

  /** Of what is written already: no commit that truncates does anything else, and it stands alone. */
  below(stream: string, seq: number): Below {
    return this.#below.below(stream, seq)
  }

  document(collection: string, id: string): Held | undefined {
    const staged = this.#documents?.get(collection)?.get(id)
    return staged === undefined ? this.#below.document(collection, id) : (staged ?? undefined)
  }

  definition(collection: string): CollectionDefinition | undefined {
    return this.#definitions?.get(collection) ?? this.#below.definition(collection)
  }

  /** A put into `$collections` declares a collection for all that follows. */
  declare(change: Document): void {
    if (change.collection !== definitionsCollection) return
    this.#definitions ??= new Map()
    this.#definitions.set(change.id, decodeValue(change.data) as CollectionDefinition)
  }

  holder(collection: string, index: string, key: readonly FieldValue[]): string | undefined {
    const staged = this.#keys?.holders.get(holderKey(collection, index, key))
    if (staged !== undefined) return staged
    const below = this.#below.holder(collection, index, key)
    return below !== undefined && this.documents.get(collection)?.has(below) ? undefined : below
  }

  /** Whether a staged document holds a unique key of this collection. */
  takesKey(collection: string): boolean {
    return this.#keys?.isHeldIn(collection) ?? false
  }

  setDocument(collection: string, id: string, held: Held | null, uniqueKeys: readonly string[]): void {
    if (uniqueKeys.length > 0 || this.#keys !== undefined) {
      this.#keys ??= new HeldKeys()
      this.#keys.set(`${collection}\0${id}`, id, uniqueKeys)
    }
    this.#documents ??= new Map()
    const documents = this.#documents.get(collection)
    if (documents === undefined) this.#documents.set(collection, new Map([[id, held]]))
    else documents.set(id, held)
  }

  /** Takes over what a stage on top of this one decided. */
  absorb(above: Stage): void {
    for (const [collection, definition] of above.#definitions ?? none) {
      this.#definitions ??= new Map()
      this.#definitions.set(collection, definition)
    }
    for (const [stream, seq] of above.seqs) this.setSeq(stream, seq)
    for (const [collection, documents] of above.documents) {
      for (const [id, held] of documents)
        this.setDocument(collection, id, held, above.#keys?.of(`${collection}\0${id}`) ?? [])
    }
  }
}

const none: ReadonlyMap<string, never> = new Map<string, never>()

/** The unique keys that staged documents hold. */
class HeldKeys {
  readonly holders = new Map<string, string>()
  readonly #keysOf = new Map<string, readonly string[]>()

  of(name: string): readonly string[] {
    return this.#keysOf.get(name) ?? []
  }

  isHeldIn(collection: string): boolean {
    for (const key of this.holders.keys()) if (key.startsWith(`${collection}\0`)) return true
    return false
  }

  set(name: string, id: string, keys: readonly string[]): void {
    for (const key of this.of(name)) if (this.holders.get(key) === id) this.holders.delete(key)
    this.#keysOf.set(name, keys)
    for (const key of keys) this.holders.set(key, id)
  }
}

/** A key of a unique index as one text. */
export function holderKey(collection: string, index: string, key: readonly FieldValue[]): string {
  return `${collection}\0${index}\0${JSON.stringify(key)}`
}
