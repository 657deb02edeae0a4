/** Events: what a stream is made of. */
import type { Checksum } from './digest.ts'
import { checksumOf } from './digest.ts'
import type { Position } from './position.ts'
import type { JsonText } from './value.ts'

/** A stored event, as it crosses the seam. */
export interface Event {
  readonly kind: 'event'
  readonly stream: string
  /** Counts from 1 in the stream, gapless. */
  readonly seq: number
  readonly type: string
  readonly data: JsonText
  /** Who, why, from what: kept beside the data; null when none was given. */
  readonly meta: JsonText | null
  /** Milliseconds since 1970 by the committer's clock. Orders nothing. */
  readonly at: number
  readonly position: Position
  /** The position of the first change of its commit: a page of the feed never splits a commit. */
  readonly commit: Position
  readonly checksum: Checksum
}

/** What names an event, whatever it holds. */
export interface EventKey {
  readonly stream: string
  readonly seq: number
}

export function eventChecksum(event: Omit<Event, 'checksum'>): Checksum {
  const { stream, seq, position, commit, type, at, meta, data } = event
  return checksumOf(
    `event\0${stream}\0${seq}\0${position}\0${commit}\0${type}\0${at}\0${meta ?? ''}\0${data}`,
  )
}
