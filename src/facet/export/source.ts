/** Where exports read: a collection, a stream or the feed, page by page, from wherever they stopped. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import { isOwnCollection } from '../../model/collection.ts'
import { type ListOptions, toQuery } from '../documents.ts'
import { isOwnStream } from '../event/codec.ts'
import { type FeedItem, toFeedItems } from '../feed.ts'
import type { Port } from '../port.ts'
import { toStoredDocument } from '../shape.ts'

/** Plain JSON: it is kept with the export, so that any process goes on with it. */
export type ExportSource =
  | ({ readonly of: 'documents'; readonly collection: string } & Omit<ListOptions, 'limit' | 'cursor'>)
  | { readonly of: 'stream'; readonly stream: string; readonly after?: number; readonly before?: number }
  /** Every event, and each document as it is when it is reached; to the head of when the export began, if `until` is left out. */
  | { readonly of: 'feed'; readonly after?: number; readonly until?: number }

export interface SourcePage {
  readonly items: readonly FeedItem[]
  /** Where the next page begins; null at the end. */
  readonly cursor: string | number | null
}

/** The source with its end set, so that however long the export takes, it comes to it. */
export async function bounded(port: Port, source: ExportSource, options: CallOptions): Promise<ExportSource> {
  if (source.of !== 'feed' || source.until !== undefined) return source
  return { ...source, until: await port.head(options) }
}

export async function readPage(
  port: Port,
  source: ExportSource,
  cursor: string | number | null,
  options: CallOptions,
): Promise<SourcePage> {
  const limit = Math.min(pageItems, port.limits.pageItems)
  switch (source.of) {
    case 'documents':
      return readDocuments(port, source, cursor as string | null, limit, options)
    case 'stream':
      return readStream(port, source, cursor as number | null, limit, options)
    case 'feed':
      return readFeed(port, source, cursor as number | null, limit, options)
    default:
      throw new UnderpinError('invalid', `An export cannot read from ${JSON.stringify(source)}`, {
        hint: "A source is of 'documents', 'stream' or 'feed'.",
      })
  }
}

const pageItems = 1_000

async function readDocuments(
  port: Port,
  { of: _of, collection, ...list }: ExportSource & { of: 'documents' },
  cursor: string | null,
  limit: number,
  options: CallOptions,
): Promise<SourcePage> {
  const query = toQuery(collection, { ...list, limit, ...(cursor === null ? {} : { cursor }) })
  const page = await port.scan(query, options)
  const now = port.clock.now()
  const items = page.items.flatMap((record): FeedItem[] => {
    const found = toStoredDocument<unknown>(record, now)
    if (found === undefined) return []
    const { id, value, expiresAt, at, revision } = found
    return [{ kind: 'document', collection, id, value, expiresAt, at, position: revision }]
  })
  return { items, cursor: page.next }
}

async function readStream(
  port: Port,
  { stream, after = 0, before = Number.POSITIVE_INFINITY }: ExportSource & { of: 'stream' },
  cursor: number | null,
  limit: number,
  options: CallOptions,
): Promise<SourcePage> {
  const page = await port.read(stream, { after: cursor ?? after, before, backwards: false, limit }, options)
  const items = page.items.flatMap((event) => toFeedItems(port.events, event))
  return { items, cursor: page.next }
}

async function readFeed(
  port: Port,
  { after = 0, until = Number.POSITIVE_INFINITY }: ExportSource & { of: 'feed' },
  cursor: number | null,
  limit: number,
  options: CallOptions,
): Promise<SourcePage> {
  const page = await port.changes(cursor ?? after, limit, options)
  const items = page.items.flatMap((change): readonly FeedItem[] => {
    // What facets keep for themselves is no tenant's data, least of all what is kept of other tenants' exports.
    const isOwn = change.kind === 'event' ? isOwnStream(change.stream) : isOwnCollection(change.collection)
    return isOwn || change.position > until ? [] : toFeedItems(port.events, change)
  })
  return { items, cursor: page.next >= Math.min(until, page.head) ? null : page.next }
}
