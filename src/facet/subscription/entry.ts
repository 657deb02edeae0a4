/** What a subscription delivers: the changes that it wants, decoded, with their keys. */
import { UnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { isOwnCollection } from '../../model/collection.ts'
import { checksumOf } from '../../model/digest.ts'
import { quote } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { isOwnStream } from '../event/codec.ts'
import { type FeedItem, toFeedItems } from '../feed.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import type { Reference } from './parked.ts'

/** Which changes are wanted; all but Underpin's own (`$…`) if left out. Naming events leaves documents out, and the other way round. */
export interface ChangeFilter {
  /** Events of these types. */
  readonly types?: readonly string[]
  /** Events of streams that begin with this. */
  readonly streams?: string
  /** Documents of these collections, and their tombstones. */
  readonly collections?: readonly string[]
}

/** One stored change and what the application sees of it: several items, if an upcaster makes several of one event. */
export interface Entry<E extends NewEvent = NewEvent> {
  readonly position: Position
  readonly at: number
  readonly reference: Reference
  readonly key: string
  readonly items: readonly FeedItem<E>[]
  /** Why it cannot be decoded, or its key not be had. */
  readonly error?: unknown
}

export type KeyOf<E extends NewEvent> = (item: FeedItem<E>) => string

/** Refuses a filter that would deliver nothing, or what no handler should see. */
export function checkFilter({ types, streams, collections }: ChangeFilter): void {
  for (const name of collections ?? []) {
    if (!isOwnCollection(name)) continue
    throw new UnderpinError(
      'invalid',
      `A filter cannot name the collection ${quote(name)}: it is Underpin's own`,
      {
        hint: 'Read it with domain.follow, which gives every change.',
      },
    )
  }
  for (const list of [types, collections]) {
    if (list !== undefined && !Array.isArray(list))
      throw new TypeError(`The types and collections of a filter are lists, not ${quote(list)}`)
    if (list === undefined || list.length > 0) continue
    throw new UnderpinError('invalid', 'A filter with an empty list would deliver nothing', {
      hint: 'Leave the list out to name none.',
    })
  }
  if (streams === '')
    throw new UnderpinError('invalid', 'A filter by an empty prefix of streams', { hint: 'Leave it out.' })
}

/** The changes of a page that are wanted, in order. */
export function entriesOf<E extends NewEvent>(
  port: Port,
  changes: readonly Change[],
  filter: ChangeFilter,
  keyOf: KeyOf<E> | undefined,
): Entry<E>[] {
  return changes.flatMap((change) => toEntry(port, change, filter, keyOf) ?? [])
}

/** Undefined if it is not wanted. */
export function toEntry<E extends NewEvent>(
  port: Port,
  change: Change,
  filter: ChangeFilter,
  keyOf: KeyOf<E> | undefined,
): Entry<E> | undefined {
  if (!mayBeWanted(change, filter)) return undefined
  const { position, at } = change
  const reference = referenceOf(change)
  const plain = { position, at, reference, key: plainKey(reference) }
  try {
    const items = toFeedItems<E>(port.events, change).filter(
      (item) => item.kind !== 'event' || (filter.types?.includes(item.type) ?? true),
    )
    const [first] = items
    if (first === undefined) return undefined
    return { ...plain, key: keyOf === undefined ? plain.key : checkKey(keyOf(first)), items }
  } catch (error) {
    return { ...plain, items: [], error }
  }
}

/** Before it is decoded: its type may become another one by an upcaster. */
function mayBeWanted(change: Change, filter: ChangeFilter): boolean {
  if (change.kind === 'event') return mayWantStream(change.stream, filter)
  if (isOwnCollection(change.collection)) return false
  return filter.collections === undefined
    ? !namesEvents(filter)
    : filter.collections.includes(change.collection)
}

/** Whether events of a stream may be wanted: of those that are gone, nobody knows the types. */
export function mayWantStream(stream: string, filter: ChangeFilter): boolean {
  if (isOwnStream(stream)) return false
  return namesEvents(filter) ? stream.startsWith(filter.streams ?? '') : filter.collections === undefined
}

function namesEvents({ types, streams }: ChangeFilter): boolean {
  return types !== undefined || streams !== undefined
}

function referenceOf(change: Change): Reference {
  if (change.kind === 'event') {
    const { stream, seq, type } = change
    return { kind: 'event', stream, seq, type }
  }
  return { kind: 'document', collection: change.collection, documentId: change.id }
}

function plainKey(reference: Reference): string {
  return reference.kind === 'event' ? reference.stream : `${reference.collection}/${reference.documentId}`
}

function checkKey(key: unknown): string {
  if (typeof key === 'string') return key
  throw new TypeError(`The key function must return a string, not ${typeof key}`)
}

/** Which events must not be missing, as a subscription says it. */
export interface Need {
  readonly filter: ChangeFilter
  readonly key: KeyOf<never> | undefined
  readonly partitions: number
  readonly skipsCompacted: boolean
}

/** Whether a partition is to be given the events of a stream; of those that are gone, keys cannot be had from `key`. */
export function needsStream(
  stream: string,
  { filter, key, partitions, skipsCompacted }: Need,
  partition: number,
): boolean {
  if (skipsCompacted || !mayWantStream(stream, filter)) return false
  return key !== undefined || partitionOf(stream, partitions) === partition
}

/** The partition of a key, the same in every process. */
export function partitionOf(key: string, partitions: number): number {
  return partitions === 1 ? 0 : Number.parseInt(checksumOf(key).slice(0, 8), 16) % partitions
}
