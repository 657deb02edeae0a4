/** What applications see of events and documents: values instead of texts, and only what concerns them. */
import type { Document, Tombstone } from '../model/document.ts'
import { isExpired } from '../model/document.ts'
import type { Event } from '../model/event.ts'
import type { Position } from '../model/position.ts'
import { decodeValue } from '../model/value.ts'

/** An event to append. */
export interface NewEvent {
  readonly type: string
  readonly data: unknown
  /** Who, why, from what; kept beside the data. */
  readonly meta?: Readonly<Record<string, unknown>>
}

/** A stored event: its data is a copy of its own. */
export type StoredEvent<E extends NewEvent = NewEvent> = E extends NewEvent
  ? {
      readonly stream: string
      /** Counts from 1 in the stream, gapless. */
      readonly seq: number
      readonly type: E['type']
      readonly data: E['data']
      readonly meta: Readonly<Record<string, unknown>> | undefined
      /** Milliseconds since 1970. */
      readonly at: number
      readonly position: Position
    }
  : never

/** A stored document: its value is a copy of its own. */
export interface StoredDocument<T> {
  readonly id: string
  readonly value: T
  /** The position of its last change: what `expect` takes. */
  readonly revision: number
  /** Milliseconds since 1970. */
  readonly at: number
  /** Milliseconds since 1970; undefined if it never expires. */
  readonly expiresAt: number | undefined
}

export function toStoredEvent<E extends NewEvent>({
  stream,
  seq,
  type,
  data,
  meta,
  at,
  position,
}: Event): StoredEvent<E> {
  const decodedMeta = meta === null ? undefined : decodeValue(meta)
  return { stream, seq, type, data: decodeValue(data), meta: decodedMeta, at, position } as StoredEvent<E>
}

/** The document as an application sees it at a time; undefined if deleted or expired. */
export function toStoredDocument<T>(
  record: Document | Tombstone | undefined,
  now: number,
): StoredDocument<T> | undefined {
  if (record?.kind !== 'document' || isExpired(record.expiresAt, now)) return undefined
  return {
    id: record.id,
    value: decodeValue(record.data) as T,
    revision: record.position,
    at: record.at,
    expiresAt: record.expiresAt ?? undefined,
  }
}
