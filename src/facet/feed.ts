/** The feed facet: all changes of a domain in order, and those to come. */
import type { CallOptions } from '../backend/backend.ts'
import { UnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import type { Document, Tombstone } from '../model/document.ts'
import { quote } from '../model/key.ts'
import type { Page } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { decodeValue } from '../model/value.ts'
import type { EventCodec } from './event/codec.ts'
import type { Port } from './port.ts'
import type { NewEvent, StoredEvent } from './shape.ts'

/** A change as applications see it. */
export type FeedItem<E extends NewEvent = NewEvent> =
  | ({ readonly kind: 'event' } & StoredEvent<E>)
  | {
      readonly kind: 'document'
      readonly collection: string
      readonly id: string
      readonly value: unknown
      readonly expiresAt: number | undefined
      readonly at: number
      readonly position: Position
    }
  | {
      readonly kind: 'tombstone'
      readonly collection: string
      readonly id: string
      readonly at: number
      readonly position: Position
    }

export interface FeedOptions {
  /** Only changes with a higher position. */
  readonly after?: Position
  /** Records in a page; 1,000 if left out. */
  readonly limit?: number
}

/** A part of the feed: whole commits. */
export interface FeedPage<E extends NewEvent> {
  readonly items: readonly FeedItem<E>[]
  /** What to give as `after` next: everything up to here was delivered. */
  readonly next: Position
  /** The last position of the domain when the page was read; at the end, `next` is the same. */
  readonly head: Position
}

export async function readFeed<E extends NewEvent>(
  port: Port,
  { after = 0, limit = 1_000, ...options }: FeedOptions & CallOptions,
): Promise<FeedPage<E>> {
  checkAfter(after)
  const page = await port.changes(after, limit, options)
  refuseBeyond(after, page.head)
  return toFeedPage(port.events, page)
}

/** A position that was read back from somewhere and is none would otherwise skip everything, silently. */
export function checkAfter(after: unknown): void {
  if (Number.isSafeInteger(after) && (after as number) >= 0) return
  throw new UnderpinError('invalid', `A position must be a whole number from 0 on, not ${quote(after)}`, {
    hint: 'Was it stored as text, or not at all? Give 0 to begin at the start.',
  })
}

/** A position that the domain has not reached was taken elsewhere: from another store, or before a restore. */
export function refuseBeyond(after: Position, head: Position): void {
  if (after <= head) return
  throw new UnderpinError('invalid', `Position ${after} is beyond the head of the domain, which is ${head}`, {
    hint: 'Is this the store that the position was read from, and was it restored from a backup since?',
    details: { after, head },
  })
}

/**
 * All changes after a position, then those to come, until the signal aborts. No gap between the two: a hint that
 * something moved only makes it read on from where it is.
 */
export async function* follow<E extends NewEvent>(
  port: Port,
  options: FeedOptions & { readonly signal?: AbortSignal } = {},
): AsyncGenerator<FeedItem<E>> {
  const { signal = new AbortController().signal, limit = 1_000, after = 0 } = options
  checkAfter(after)
  if (signal.aborted) return
  refuseBeyond(after, await port.head())
  let position = after
  for await (const _hint of port.watch(signal)) {
    for (let isBehind = true; isBehind && !signal.aborted; ) {
      const page = await port.changes(position, limit)
      for (const change of page.items) {
        if (signal.aborted) return
        yield* toFeedItems<E>(port.events, change)
      }
      position = page.next
      isBehind = page.next < page.head
    }
  }
}

export function toFeedPage<E extends NewEvent>(
  codec: EventCodec,
  { items, next, head }: Page<Change, Position>,
): FeedPage<E> {
  const seen: FeedItem<E>[] = []
  for (const change of items) for (const item of toFeedItems<E>(codec, change)) seen.push(item)
  return { items: seen, next, head }
}

/** What the application sees of a change: of an event, what its definition makes of it. */
export function toFeedItems<E extends NewEvent>(codec: EventCodec, change: Change): readonly FeedItem<E>[] {
  if (change.kind !== 'event') return [toDocumentItem(change)]
  return codec.decode(change).map(toEventItem) as FeedItem<E>[]
}

/** Field by field, because it is done for every event. */
function toEventItem({ stream, seq, type, data, meta, at, position }: StoredEvent): FeedItem {
  return { kind: 'event', stream, seq, type, data, meta, at, position }
}

function toDocumentItem(change: Document | Tombstone): FeedItem<never> {
  switch (change.kind) {
    case 'document': {
      const { collection, id, data, expiresAt, at, position } = change
      return {
        kind: 'document',
        collection,
        id,
        value: decodeValue(data),
        expiresAt: expiresAt ?? undefined,
        at,
        position,
      }
    }
    case 'tombstone': {
      const { collection, id, at, position } = change
      return { kind: 'tombstone', collection, id, at, position }
    }
  }
}
