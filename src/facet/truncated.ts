/** Streams whose first events were truncated: told to whoever reads from before, never passed over. */
import type { CallOptions, Found } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Event } from '../model/event.ts'
import { quote } from '../model/key.ts'
import type { Page, Range } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { truncationsCollection } from '../model/truncation.ts'
import { decodeValue } from '../model/value.ts'
import type { OwnCollections, Port, SyncPort } from './port.ts'

/** Indexed by the position of the last event that was removed: for those who have not come so far. */
export const truncationCollections: OwnCollections = {
  [truncationsCollection]: {
    fields: { last: 'number' },
    indexes: { last: { fields: ['last'], unique: false, where: {} } },
  },
}

/** What is known of a truncated stream. */
export interface StoredTruncation {
  /** The seq of the first event that is left. */
  readonly before: number
  /** Where the events before it were archived; null if they were not. */
  readonly archive: string | null
  /** The position of the last event that was removed; 0 if none was. */
  readonly last: Position
}

type EventPage = Page<Event, number | null>

/** A page of a stream; `truncated` if events that it asks for were truncated. */
export async function readStream(
  port: Port,
  stream: string,
  range: Range,
  options?: CallOptions,
): Promise<EventPage> {
  const page = await port.read(stream, range, options)
  const probe = probeOf(page, range)
  const first = probe && (probe === 'page' ? page : await port.read(stream, probe, options)).items[0]
  if (isBehindGap(first, range)) throw await truncated(port, stream, first.seq, options)
  return page
}

/** The same, synchronously. */
export function readStreamSync(port: SyncPort, stream: string, range: Range): EventPage {
  const page = port.read(stream, range)
  const probe = probeOf(page, range)
  const first = probe && (probe === 'page' ? page : port.read(stream, probe)).items[0]
  if (isBehindGap(first, range)) throw truncatedSync(port, stream, first.seq)
  return page
}

/**
 * What shows whether events are missing at the lower end of a range: the page itself, or one more read. Seqs have no
 * gaps, so a page that begins later than it was asked to begins where the stream does.
 */
function probeOf(
  { items, next }: EventPage,
  { after, before, backwards, limit }: Range,
): Range | 'page' | undefined {
  const isEmptyRange = before <= after + 1
  if (isEmptyRange) return undefined
  if (!backwards && items.length > 0) return 'page'
  const isFull = next !== null || items.length === limit
  if (backwards && isFull) return undefined
  if (items.length === 0 && before === Number.POSITIVE_INFINITY) return undefined
  return { after, before: Number.POSITIVE_INFINITY, backwards: false, limit: 1 }
}

function isBehindGap(first: Event | undefined, { after }: Range): first is Event {
  return first !== undefined && first.seq > Math.max(after, 0) + 1
}

/** The error for a stream whose first event is not the one that was asked for. */
export async function truncated(
  port: Port,
  stream: string,
  first: number,
  options?: CallOptions,
): Promise<UnderpinError> {
  const found = await port
    .get([{ collection: truncationsCollection, id: stream }], options)
    .catch((error: unknown) => {
      // Nothing was ever truncated in this domain.
      if (isUnderpinError(error, 'invalid')) return undefined
      throw error
    })
  return toError(stream, first, found)
}

/** The same, synchronously. */
export function truncatedSync(port: SyncPort, stream: string, first: number): UnderpinError {
  let found: Found | undefined
  try {
    found = port.get([{ collection: truncationsCollection, id: stream }])
  } catch (error) {
    if (!isUnderpinError(error, 'invalid')) throw error
  }
  return toError(stream, first, found)
}

function toError(stream: string, first: number, found: Found | undefined): UnderpinError {
  const known = storedTruncation(found?.documents[0])
  if (known === undefined)
    return new UnderpinError('damaged', `Stream ${quote(stream)} lacks events before seq ${first}`, {
      hint: 'Nothing says that it was truncated. Restore them from a follower or a backup.',
      details: { stream, first },
    })
  const { archive } = known
  const where = archive === null ? 'and not archived' : `and archived as ${quote(archive)}`
  return new UnderpinError(
    'truncated',
    `The events of stream ${quote(stream)} before seq ${first} were truncated, ${where}`,
    {
      hint: `Read after seq ${first - 1}, or ask for its state, which begins from the snapshot.`,
      details: { stream, first, archive },
    },
  )
}

/** What a record of `$truncated` says; undefined if there is none. */
export function storedTruncation(record: Found['documents'][number]): StoredTruncation | undefined {
  if (record?.kind !== 'document') return undefined
  const {
    before,
    archive = null,
    last = 0,
  } = decodeValue(record.data) as Pick<StoredTruncation, 'before'> & Partial<StoredTruncation>
  return { before, archive, last }
}
