/**
 * The digest of a copy from its contents: the sum of the checksums, recomputed where they are read, of all records that
 * it holds at one moment. It is read over many moments while pages are applied, so of a document that changes meanwhile
 * the state counted before is taken out again.
 */
import type { Change } from '../../model/change.ts'
import { type CollectionDefinition, definitionsCollection } from '../../model/collection.ts'
import { type Digest, DigestSum, emptyDigest } from '../../model/digest.ts'
import type { Position } from '../../model/position.ts'
import { isTruncation } from '../../model/truncation.ts'
import { decodeValue } from '../../model/value.ts'
import { isDamage, type Seen } from './difference.ts'

/** Documents whose checksums are kept; beyond, a copy that takes pages meanwhile is not summed up. */
const mostDocuments = 1_000_000

export class Tally {
  readonly #sum = new DigestSum(emptyDigest)
  /** The head when the reading began. */
  readonly #began: Position
  readonly #checksums = new Map<string, Map<string, string>>()
  readonly #unique = new Set<string>()
  #documents = 0
  #isSound = true

  constructor(began: Position) {
    this.#began = began
  }

  /** The sum; undefined if it cannot be told, because of damage, or of what went meanwhile without a trace in the feed. */
  get digest(): Digest | undefined {
    return this.#isSound ? this.#sum.toString() : undefined
  }

  /** Records in the order of the feed, and their sum if it is known. */
  add(items: readonly Seen[], sum: Digest | undefined): void {
    if (sum === undefined) this.#isSound = false
    if (!this.#isSound) return
    this.#sum.add(sum as Digest)
    for (const seen of items) if (seen.kind !== 'event' && !isDamage(seen)) this.#addDocument(seen)
  }

  #addDocument(change: Exclude<Change, { kind: 'event' }>): void {
    const { collection, id, position, checksum } = change
    const isLate = position > this.#began
    // Events that were counted may be gone, and so may documents that gave way to a unique key.
    if (isLate && (isTruncation(change) || this.#unique.has(collection))) this.#isSound = false
    if (change.kind === 'document' && collection === definitionsCollection) {
      const { indexes } = decodeValue(change.data) as CollectionDefinition
      if (Object.values(indexes).some(({ unique }) => unique)) this.#unique.add(id)
    }
    const before = this.#replace(collection, id, checksum)
    if (before !== undefined) this.#sum.subtract(before)
    else if (isLate && this.#documents > mostDocuments) this.#isSound = false
  }

  /** The checksum that was counted under the same key before. */
  #replace(collection: string, id: string, checksum: string): string | undefined {
    let known = this.#checksums.get(collection)
    if (known === undefined) {
      known = new Map()
      this.#checksums.set(collection, known)
    }
    const before = known.get(id)
    if (before === undefined) this.#documents++
    if (before !== undefined || this.#documents <= mostDocuments) known.set(id, checksum)
    return before
  }
}
