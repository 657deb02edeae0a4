/** The feed of a domain: its events and each collection's documents, put in order of position by the server. */
import type { Change } from '../../model/change.ts'
import type { FeedPart, Served } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import { noteVerified } from '../../model/verified.ts'
import { toDocument, toEvent } from '../sql/record.ts'
import type { Row, Query as Run } from './driver.ts'
import { toServed, vacant } from './read.ts'
import type { Tables } from './table.ts'
import { truncationsOf } from './truncate.ts'
import { Words } from './words.ts'

/**
 * A page of the feed: all tables in one statement, and further ones only while the last commit goes on. Undefined if
 * the collections are not those of the catalog's version.
 */
export async function readChanges(
  run: Run,
  tables: Tables,
  domain: string,
  collections: readonly string[],
  version: number,
  after: Position,
  limit: number,
): Promise<FeedPart | undefined> {
  const first = await readAfter(run, tables, domain, collections, after, limit + 1)
  if (first.role === 'vacant') return { items: [], next: 0, ...vacant }
  if (first.catalog !== version) return undefined
  const { epoch, role, head } = first
  // Rows that the page does not hold are not looked into: damage there is no concern of it.
  const items = first.rows.slice(0, limit).map((row) => toChange(collections, row))
  let [part, following] = [first, first.rows[limit]]
  // More at each look, so that a small page within a large commit takes few of them.
  for (let most = limit + 1; following !== undefined; most *= 4) {
    const { position, commit } = items.at(-1) as Change
    if (commitOf(following) !== commit) break
    part = await readAfter(run, tables, domain, collections, position, most, commit)
    const { rows } = part
    for (const row of rows) if (commitOf(row) === commit) items.push(toChange(collections, row))
    following = rows.length === most || isOther(rows.at(-1), commit) ? rows.at(-1) : undefined
  }
  const isEnd = following === undefined
  const next = isEnd ? Math.max(head, items.at(-1)?.position ?? 0) : (items.at(-1)?.position ?? after)
  const truncations = part.isTruncated ? await truncationsOf(run, tables, domain, items, next) : []
  return { items: noteVerified(items), next, truncations, epoch, role, head }
}

function isOther(row: Row | undefined, commit: Position): boolean {
  return row !== undefined && commitOf(row) !== commit
}

function commitOf([short]: Row): Position {
  return Number(new Words(short as string).skip(3).next())
}

/** A row of the feed as the record that it is. A type may hold spaces, so it stands last. */
function toChange(collections: readonly string[], [short, name, meta, data]: Row): Change {
  const words = new Words(short as string)
  const source = words.next()
  const [position, at, commit] = [words.next(), words.next(), words.next()]
  const [checksum, number] = [words.next(), words.next()]
  if (source === '-1') return toEvent([position, name, number, words.rest, at, commit, meta, data, checksum])
  const expiresAt = number === '-' ? null : number
  const row = [position, name, at, commit, expiresAt, data, checksum]
  return toDocument(collections[Number(source)] as string, row)
}

/**
 * Rows of all tables, in order; those of a commit and the first one behind it, if one is given. The driver takes most of its
 * time for each column of each row, so the short ones come as one text, and the fence as a row of its own, without a name.
 */
async function readAfter(
  run: Run,
  tables: Tables,
  domain: string,
  collections: readonly string[],
  after: Position,
  count: number,
  commit?: Position,
): Promise<Served & { rows: readonly Row[]; catalog: number; isTruncated: boolean }> {
  const events = `(SELECT -1 AS source, position, stream AS name, at, commit_position, data, checksum, seq AS number, type AS type, meta FROM ${tables.events(domain)} WHERE position > $2 ORDER BY position LIMIT $3)`
  const documents = collections.map(
    (name, i) =>
      `(SELECT ${i}, revision, id, at, commit_position, data, checksum, expires_at, NULL, NULL FROM ${tables.collection(domain, name)} WHERE revision > $2 ORDER BY revision LIMIT $3)`,
  )
  const short = `concat_ws(' ', source, position, at, commit_position, checksum, coalesce(number::text, '-'), type)`
  const all = `SELECT * FROM (${[events, ...documents].join(' UNION ALL ')}) u ORDER BY position LIMIT $3`
  const wanted = commit === undefined ? all : restOf(all)
  const inner = `SELECT ${short}, name, meta, data FROM (${wanted}) u`
  // Of the same moment as the changes: where it finds nothing ahead, nothing that they lack was truncated.
  const isTruncated = collections.includes(truncationsCollection)
    ? `EXISTS (SELECT 1 FROM ${tables.collection(domain, truncationsCollection)} WHERE revision > $2)`
    : 'false'
  const fence = `SELECT concat_ws(' ', epoch, role, head, catalog, ${isTruncated}) AS short, NULL AS name, NULL AS meta, NULL AS data FROM ${tables.fences} WHERE domain = $1`
  const parameters = commit === undefined ? [domain, after, count] : [domain, after, count, commit]
  const found = await run(`${fence} UNION ALL SELECT * FROM (${inner}) e`, parameters)
  const rows = found.filter(([, name]) => name !== null)
  const served = found.find(([, name]) => name === null)?.[0] as string | undefined
  if (served === undefined) return { rows: [], catalog: 0, isTruncated: false, ...vacant }
  const words = new Words(served).skip(3)
  const catalog = words.next()
  return {
    rows,
    catalog: Number(catalog),
    isTruncated: words.next().startsWith('t'),
    ...toServed(served),
  }
}

/**
 * Of rows in order, those of the commit $4, and the first one behind them. The server picks them out: what comes further on
 * would be sent for nothing.
 */
function restOf(all: string): string {
  const isSame =
    'bool_and(commit_position = $4) OVER (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)'
  return `SELECT * FROM (SELECT *, ${isSame} AS is_same FROM (${all}) u) w WHERE is_same IS NOT FALSE ORDER BY position`
}
