/**
 * Checksums of records, and the digest: their running sum over a domain's live records. Equal digests at equal heads
 * mean equal state. The sum does not depend on the order of its terms, so a follower that never saw the superseded
 * states reaches the same digest.
 *
 * A checksum is the first 128 bits of SHA-256 over the record's fields joined with NUL, which no field can contain.
 * The digest adds checksums as four numbers of 32 bits, each modulo 2^32 (a multiset hash of the LtHash kind).
 */
import { createHash, hash } from 'node:crypto'

/** 32 hex digits. */
export type Checksum = string
/** 32 hex digits. */
export type Digest = string

export const emptyDigest: Digest = '0'.repeat(32)

/** The checksum of a record's content, given as text without ambiguity. */
export const checksumOf: (content: string) => Checksum =
  typeof hash === 'function'
    ? (content) => hash('sha256', content, 'hex').slice(0, 32)
    : (content) => createHash('sha256').update(content).digest('hex').slice(0, 32)

/** A digest under way: add the checksums of records that come, subtract those of records that go. */
export class DigestSum {
  #a = 0
  #b = 0
  #c = 0
  #d = 0

  /** The sum that a digest stands for; that of nothing if it is left out. */
  constructor(digest?: Digest) {
    if (digest === undefined) return
    this.#a = lane(digest, 0)
    this.#b = lane(digest, 8)
    this.#c = lane(digest, 16)
    this.#d = lane(digest, 24)
  }

  copy(): DigestSum {
    const copy = new DigestSum()
    copy.#a = this.#a
    copy.#b = this.#b
    copy.#c = this.#c
    copy.#d = this.#d
    return copy
  }

  add(checksum: Checksum): void {
    this.#a = (this.#a + lane(checksum, 0)) | 0
    this.#b = (this.#b + lane(checksum, 8)) | 0
    this.#c = (this.#c + lane(checksum, 16)) | 0
    this.#d = (this.#d + lane(checksum, 24)) | 0
  }

  subtract(checksum: Checksum): void {
    this.#a = (this.#a - lane(checksum, 0)) | 0
    this.#b = (this.#b - lane(checksum, 8)) | 0
    this.#c = (this.#c - lane(checksum, 16)) | 0
    this.#d = (this.#d - lane(checksum, 24)) | 0
  }

  toString(): Digest {
    return hex(this.#a) + hex(this.#b) + hex(this.#c) + hex(this.#d)
  }
}

/** Eight hex digits as a number. By hand, because every record passes here twice and parseInt wants a text of its own. */
function lane(hexText: string, from: number): number {
  let value = 0
  for (let i = from; i < from + 8; i++) {
    const code = hexText.charCodeAt(i)
    value = (value << 4) | (code < 58 ? code - 48 : code - 87)
  }
  return value
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}
