/** Changes: what the feed delivers, and what a commit asks for. */
import { UnderpinError } from '../error.ts'
import type { Checksum } from './digest.ts'
import {
  type Document,
  type DocumentKey,
  documentChecksum,
  type Tombstone,
  tombstoneChecksum,
} from './document.ts'
import { type Event, type EventKey, eventChecksum } from './event.ts'
import { quote } from './key.ts'
import type { JsonText } from './value.ts'

/** One event appended, one document put, or one document deleted, as stored. */
export type Change = Event | Document | Tombstone

/** What names a record, whatever it holds: at any time at most one record of a domain has a key. */
export type RecordKey = EventKey | DocumentKey

export function keyOf(change: Change): RecordKey {
  return change.kind === 'event'
    ? { stream: change.stream, seq: change.seq }
    : { collection: change.collection, id: change.id }
}

/** A key as one text. */
export function keyText(key: RecordKey): string {
  return 'stream' in key ? `e\0${key.stream}\0${key.seq}` : `d\0${key.collection}\0${key.id}`
}

/** What a commit asks to be changed. Position, seq, commit and checksum are given by the backend. */
export type Write =
  | {
      readonly kind: 'append'
      readonly stream: string
      readonly type: string
      readonly data: JsonText
      readonly meta: JsonText | null
    }
  | {
      readonly kind: 'put'
      readonly collection: string
      readonly id: string
      readonly data: JsonText
      readonly expiresAt: number | null
    }
  | { readonly kind: 'delete'; readonly collection: string; readonly id: string }

export function changeChecksum(change: Change): Checksum {
  switch (change.kind) {
    case 'event':
      return eventChecksum(change)
    case 'document':
      return documentChecksum(change)
    case 'tombstone':
      return tombstoneChecksum(change)
  }
}

/** Returns the change if its content is what its checksum was made of, else fails with `damaged`. */
export function verifyChange<C extends Change>(change: C): C {
  const found = changeChecksum(change)
  if (found === change.checksum) return change
  throw new UnderpinError('damaged', `${describeChange(change)} does not match its checksum`, {
    hint: 'Something other than Underpin changed it, or the disk did. Restore it from a follower or a backup; `underpin verify` lists all such records.',
    details: {
      ...{ kind: change.kind, position: change.position, ...keyOf(change) },
      ...{ expected: change.checksum, found },
    },
  })
}

/** A change as named in messages. */
export function describeChange(change: Change): string {
  return change.kind === 'event'
    ? `Event ${change.seq} of stream ${quote(change.stream)} (position ${change.position})`
    : `${change.kind === 'document' ? 'Document' : 'Tombstone'} ${quote(change.id)} of collection ${change.collection} (revision ${change.position})`
}
