/**
 * Truncations: which of a stream's events were taken away. Each is a document of the collection `$truncated` under the
 * stream's name; putting it removes the events, in the same commit, on whatever backend it is put or applied.
 */
import { UnderpinError } from '../error.ts'
import type { Change } from './change.ts'
import type { Checksum } from './digest.ts'
import type { Document } from './document.ts'
import { quote } from './key.ts'
import { decodeValue, type JsonText } from './value.ts'

/** Holds what was truncated of each stream. Declared when a stream is first truncated. */
export const truncationsCollection = '$truncated'

/** A stream's events with a lower seq than `before` are gone. What else the document says is not the backend's. */
export interface Truncation {
  readonly before: number
}

/** What a stream holds below a seq. */
export interface Below {
  /** The seq of its first event; 0 if it has none. */
  readonly first: number
  /** The sum of the checksums of its events below that seq. */
  readonly sum: Checksum
}

/** The truncation that a document's value says; `invalid` if it says none. */
export function toTruncation(stream: string, data: JsonText): Truncation {
  const value = decodeValue(data) as Partial<Truncation> | null
  const before = value?.before
  if (Number.isSafeInteger(before) && (before as number) >= 1) return { before: before as number }
  throw new UnderpinError(
    'invalid',
    `The truncation of stream ${quote(stream)} does not say before which seq`,
    { details: { stream } },
  )
}

/** The streams of which a page of the feed might lack events: those whose first event in it is not the stream's first. */
export function streamsWithoutStart(changes: readonly Change[]): readonly string[] {
  const firsts = new Map<string, number>()
  for (const change of changes)
    if (change.kind === 'event' && !firsts.has(change.stream)) firsts.set(change.stream, change.seq)
  return [...firsts].filter(([, seq]) => seq > 1).map(([stream]) => stream)
}

/** Whether a document truncates a stream. */
export function isTruncation(change: Change): change is Document {
  return change.kind === 'document' && change.collection === truncationsCollection
}
