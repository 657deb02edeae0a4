/** Truncated streams in PostgreSQL: what is removed, and what the feed says of it. */
import type { Change } from '../../model/change.ts'
import { emptyDigest } from '../../model/digest.ts'
import type { Document } from '../../model/document.ts'
import type { Position } from '../../model/position.ts'
import { type Below, streamsWithoutStart, truncationsCollection } from '../../model/truncation.ts'
import { documentColumns, toDocument } from '../sql/record.ts'
import type { Removed } from '../truncate.ts'
import { texts } from './array.ts'
import type { Query } from './driver.ts'
import type { Tables } from './table.ts'

/** One of the four numbers of the checksums' sum, modulo 2^32, as the digest adds them. */
const lane = (from: number) =>
  `lpad(to_hex((sum(('x' || substr(checksum, ${from}, 8))::bit(32)::bigint) % 4294967296)::bigint), 8, '0')`
/** The sum of the checksums of rows, as a digest; null of none. */
export const sumSql = [1, 9, 17, 25].map(lane).join(' || ')

/** What a stream holds below a seq; summed by the server, because it may be millions of events. */
export async function sumBelow(
  query: Query,
  tables: Tables,
  domain: string,
  stream: string,
  seq: number,
): Promise<Below> {
  const events = tables.events(domain)
  const [row] = await query(
    `SELECT (SELECT min(seq) FROM ${events} WHERE stream = $1), (SELECT ${sumSql} FROM ${events} WHERE stream = $1 AND seq < $2)`,
    [stream, seq],
  )
  return { first: Number(row?.[0] ?? 0), sum: row?.[1] == null ? emptyDigest : String(row[1]) }
}

/** Within the transaction of the plan that says so, under the fence's lock. */
export async function removeEvents(
  query: Query,
  tables: Tables,
  domain: string,
  removed: readonly Removed[],
): Promise<void> {
  for (const { stream, before } of removed)
    await query(`DELETE FROM ${tables.events(domain)} WHERE stream = $1 AND seq < $2`, [stream, before])
}

/** The truncations behind a part of the feed, of the streams in it: read after it, so that none is missed. */
export async function truncationsOf(
  query: Query,
  tables: Tables,
  domain: string,
  items: readonly Change[],
  next: Position,
): Promise<readonly Document[]> {
  const streams = streamsWithoutStart(items)
  if (streams.length === 0) return []
  const rows = await query(
    `SELECT ${documentColumns} FROM ${tables.collection(domain, truncationsCollection)} WHERE id = ANY ($1::text[]) AND revision > $2 AND data IS NOT NULL`,
    [texts(streams), next],
  )
  return rows.map((row) => toDocument(truncationsCollection, row) as Document)
}
