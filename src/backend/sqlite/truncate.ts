/** Truncated streams in SQLite: what is removed, and what the feed says of it. */
import type { Change } from '../../model/change.ts'
import { DigestSum, emptyDigest } from '../../model/digest.ts'
import type { Document } from '../../model/document.ts'
import type { Position } from '../../model/position.ts'
import { type Below, streamsWithoutStart, truncationsCollection } from '../../model/truncation.ts'
import { collectionTable, eventsTable } from '../sql/name.ts'
import { documentColumns, toDocument } from '../sql/record.ts'
import type { Rows } from './view.ts'

/** Checksums read at a time. */
const pageRows = 10_000

/** What a stream holds below a seq. */
export function sumBelow(rows: Rows, domain: string, stream: string, seq: number): Below {
  const events = eventsTable(domain)
  const [found] = rows(`SELECT min(seq) FROM ${events} WHERE stream = ?`, stream)
  const first = Number(found?.[0] ?? 0)
  const sql = `SELECT checksum, seq FROM ${events} WHERE stream = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?`
  const sum = new DigestSum(emptyDigest)
  for (let after = 0; ; ) {
    const page = rows(sql, stream, after, seq, pageRows)
    for (const [checksum] of page) sum.add(String(checksum))
    if (page.length < pageRows) return { first, sum: sum.toString() }
    after = Number(page.at(-1)?.[1])
  }
}

/** The truncations behind a part of the feed, of the streams in it. */
export function truncationsOf(
  rows: Rows,
  domain: string,
  items: readonly Change[],
  next: Position,
): readonly Document[] {
  const table = collectionTable(domain, truncationsCollection)
  if (rows(`SELECT 1 FROM ${table} WHERE revision > ? LIMIT 1`, next).length === 0) return []
  const sql = `SELECT ${documentColumns} FROM ${table} WHERE id = ? AND revision > ? AND data IS NOT NULL`
  return streamsWithoutStart(items).flatMap((stream) =>
    rows(sql, stream, next).map((row) => toDocument(truncationsCollection, row) as Document),
  )
}
