/** Documents: current-state values by id, and what a deleted one leaves. */
import type { Checksum } from './digest.ts'
import { checksumOf } from './digest.ts'
import type { Position } from './position.ts'
import type { JsonText } from './value.ts'

/** A stored document, as it crosses the seam. Its revision is its position. */
export interface Document {
  readonly kind: 'document'
  readonly collection: string
  readonly id: string
  readonly data: JsonText
  /** Milliseconds since 1970 from which on it counts as absent; null for never. */
  readonly expiresAt: number | null
  readonly at: number
  readonly position: Position
  readonly commit: Position
  readonly checksum: Checksum
}

/** What a deleted document leaves: its id and revision. */
export interface Tombstone {
  readonly kind: 'tombstone'
  readonly collection: string
  readonly id: string
  readonly at: number
  readonly position: Position
  readonly commit: Position
  readonly checksum: Checksum
}

export interface DocumentKey {
  readonly collection: string
  readonly id: string
}

export function documentChecksum(document: Omit<Document, 'checksum'>): Checksum {
  const { collection, id, position, commit, at, expiresAt, data } = document
  return checksumOf(
    `document\0${collection}\0${id}\0${position}\0${commit}\0${at}\0${expiresAt ?? ''}\0${data}`,
  )
}

export function tombstoneChecksum(tombstone: Omit<Tombstone, 'checksum'>): Checksum {
  const { collection, id, position, commit, at } = tombstone
  return checksumOf(`tombstone\0${collection}\0${id}\0${position}\0${commit}\0${at}`)
}

/** Whether a document counts as absent at a time. */
export function isExpired(expiresAt: number | null, at: number): boolean {
  return expiresAt !== null && expiresAt <= at
}
