/** Pages: how reads are asked for and answered. */
import { UnderpinError } from '../error.ts'
import type { Change, RecordKey } from './change.ts'
import type { FieldValue } from './collection.ts'
import type { Document } from './document.ts'
import type { Role } from './fence.ts'
import type { Position } from './position.ts'

/** Under which fence a read was served. */
export interface Served {
  readonly epoch: number
  readonly role: Role
  readonly head: Position
}

/** A part of an ordered answer, and where the next part begins. */
export interface Page<T, Next> extends Served {
  readonly items: readonly T[]
  readonly next: Next
}

/** A part of the feed. */
export interface FeedPart extends Page<Change, Position> {
  /** Where it was read from, if whoever hands it on says so: a follower refuses (`fenced`) what begins behind its head. */
  readonly after?: Position
  /**
   * Truncations that stand behind this part in the feed, of streams that it has events of: they say why it lacks some.
   * A follower accepts no other gap.
   */
  readonly truncations?: readonly Document[]
  /** Makes the page a repair of a copy: see {@link Repair}. */
  readonly repair?: Repair
}

/**
 * What a copy holds is put right where it stands: the items of the page, none behind the copy's head, take the place of
 * whatever it holds under their keys, and the records of these keys go. `next` is the head that the repair was made
 * for. A copy that took pages since keeps what is newer than that, and what has no place beside it any more is left out;
 * `conflict` if events have to go by then, whose age a copy cannot tell, and if it is not there yet. The head stays; the digest becomes the sum of the checksums of
 * all records that the copy then holds.
 */
export interface Repair {
  readonly gone: readonly RecordKey[]
  /**
   * More of the same repair follows: the copy, which may be large, is not summed up yet. Its digest is that of a domain
   * which holds nothing until the last part is there, so that a repair which is broken off shows, and cannot be opened.
   */
  readonly isPart?: boolean
}

/** A part of a stream. */
export interface Range {
  /** Only events with a higher seq. */
  readonly after: number
  /** Only events with a lower seq; `Infinity` for all. */
  readonly before: number
  /** Highest seq first. */
  readonly backwards: boolean
  readonly limit: number
}

/** A part of a collection, in the order of an index or of the ids. */
export type Query = {
  readonly collection: string
  readonly backwards: boolean
  readonly limit: number
  /** Where the page before ended. */
  readonly after: Cursor | null
} & (
  | { readonly by: 'id'; readonly prefix: string }
  | {
      readonly by: 'index'
      readonly index: string
      /** Values of the index's first fields. */
      readonly equals: readonly FieldValue[]
      /** Bounds of the field behind those: from `from` on, below `below`. */
      readonly from?: FieldValue
      readonly below?: FieldValue
    }
  /** Documents that expire, the earliest first, up to a time. */
  | { readonly by: 'expiry'; readonly until: number }
)

/** Opaque: the place in an order after which a page goes on. Valid on any backend that holds the domain. */
export type Cursor = string

/** A place in the order of a query: the index key (empty when ordered by id) and the id. */
export interface Place {
  readonly key: readonly FieldValue[]
  readonly id: string
}

export function encodeCursor({ key, id }: Place): Cursor {
  return Buffer.from(JSON.stringify([...key, id])).toString('base64url')
}

/** The place that a cursor stands for; `invalid` if it is not one for an order of `fields` fields. */
export function decodeCursor(cursor: Cursor, fields: number): Place {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (
      Array.isArray(parts) &&
      parts.length === fields + 1 &&
      typeof parts[fields] === 'string' &&
      parts.every(isFieldValue)
    ) {
      return { key: parts.slice(0, fields), id: parts[fields] }
    }
  } catch (cause) {
    throw new UnderpinError('invalid', 'The cursor cannot be read', { cause })
  }
  throw new UnderpinError('invalid', 'The cursor belongs to another query', {
    hint: 'Begin again without a cursor.',
  })
}

function isFieldValue(part: unknown): part is FieldValue {
  return part === null || typeof part === 'string' || typeof part === 'number' || typeof part === 'boolean'
}
