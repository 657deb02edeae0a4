/** Reads: each is one statement, so that what it returns and the fence that it names belong to one moment. */
import type { CollectionDefinition, FieldValue } from '../../model/collection.ts'
import type { Document, DocumentKey, Tombstone } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import type { Role } from '../../model/fence.ts'
import {
  type Cursor,
  encodeCursor,
  type Page,
  type Query,
  type Range,
  type Served,
} from '../../model/page.ts'
import type { JsonText } from '../../model/value.ts'
import type { Found } from '../backend.ts'
import { documentColumns, toDocument, toEvent, toNumber } from '../sql/record.ts'
import { scanSql } from '../sql/scan.ts'
import { texts } from './array.ts'
import type { Row, Query as Run } from './driver.ts'
import { postgres, type Tables } from './table.ts'
import { Words } from './words.ts'

const served = 'f.epoch, f.role, f.head'
export const vacant: Served = { epoch: 0, role: 'vacant', head: 0 }

/** The rows of a query beside the fence; one row of nulls if there are none. */
function beside(
  tables: Tables,
  columns: string,
  inner: string,
  domainParameter: string,
  order: string,
): string {
  return `SELECT ${served}, ${columns} FROM ${tables.fences} f LEFT JOIN LATERAL (${inner}) d ON true WHERE f.domain = ${domainParameter} ORDER BY ${order}`
}

const fenceColumns = 3

function servedOf(rows: readonly Row[]): Served {
  const [row] = rows
  if (row === undefined) return vacant
  return { epoch: Number(row[0]), role: row[1] as Role, head: Number(row[2]) }
}

/** The rows of records, without the fence, and without the row of nulls that stands for none. */
function records(rows: readonly Row[]): Row[] {
  return rows.filter((row) => row[fenceColumns] !== null).map((row) => row.slice(fenceColumns))
}

/**
 * Events of a stream. The driver takes most of its time for each column of each row, so the short ones come as one text,
 * and the fence as a row of its own, without data.
 */
export async function readStream(
  run: Run,
  tables: Tables,
  domain: string,
  stream: string,
  { after, before, backwards, limit }: Range,
): Promise<Page<Event, number | null>> {
  const direction = backwards ? 'DESC' : 'ASC'
  const events = `SELECT concat_ws(' ', position, seq, at, commit_position, checksum, type), meta, data FROM ${tables.events(domain)} WHERE stream = $2 AND seq > $3 AND seq < $4 ORDER BY seq ${direction} LIMIT $5`
  const fence = `SELECT concat_ws(' ', epoch, role, head) AS short, NULL AS meta, NULL AS data FROM ${tables.fences} WHERE domain = $1`
  const rows = await run(`${fence} UNION ALL SELECT * FROM (${events}) e`, [
    domain,
    stream,
    after,
    Math.min(before, Number.MAX_SAFE_INTEGER),
    limit + 1,
  ])
  let page: Served = vacant
  const items: Event[] = []
  for (const [short, meta, data] of rows as [string, JsonText | null, JsonText | null][]) {
    if (data === null) page = toServed(short)
    else if (items.length < limit) items.push(unpackEvent(stream, short, meta, data))
  }
  const isMore = rows.length > limit + 1
  return { items, next: isMore ? (items.at(-1)?.seq ?? null) : null, ...page }
}

export function toServed(short: string): Served {
  const words = new Words(short)
  return { epoch: Number(words.next()), role: words.next() as Role, head: Number(words.next()) }
}

/** A type may hold spaces, so it stands last. */
function unpackEvent(stream: string, short: string, meta: JsonText | null, data: JsonText): Event {
  const words = new Words(short)
  const [position, seq, at, commit] = [words.next(), words.next(), words.next(), words.next()]
  const checksum = words.next()
  return toEvent([position, stream, seq, words.rest, at, commit, meta, data, checksum])
}

/** Rows of one collection by id, in one statement. */
export async function getRows(
  run: Run,
  tables: Tables,
  domain: string,
  collection: string,
  ids: readonly string[],
): Promise<{ served: Served; rows: ReadonlyMap<string, Row> }> {
  const [id] = ids
  const isOne = ids.length === 1 && id !== undefined
  const match = isOne ? 'd.id = $2' : 'd.id = ANY ($2::text[])'
  const found = await run(
    `SELECT ${served}, ${documentColumnsOfD} FROM ${tables.fences} f LEFT JOIN ${tables.collection(domain, collection)} d ON ${match} WHERE f.domain = $1`,
    [domain, isOne ? id : texts(ids)],
  )
  return { served: servedOf(found), rows: new Map(records(found).map((row) => [String(row[1]), row])) }
}

const documentColumnsOfD = documentColumns
  .split(', ')
  .map((column) => `d.${column}`)
  .join(', ')

/** Several documents at one moment. */
export async function getDocuments(
  run: Run,
  tables: Tables,
  domain: string,
  keys: readonly DocumentKey[],
): Promise<Found> {
  const collections = [...new Set(keys.map(({ collection }) => collection))]
  const parameters = [
    domain,
    ...collections.map((name) =>
      texts(keys.filter(({ collection }) => collection === name).map(({ id }) => id)),
    ),
  ]
  const inner = collections.map(
    (name, i) =>
      `SELECT ${i} AS source, ${documentColumns} FROM ${tables.collection(domain, name)} WHERE id = ANY ($${i + 2}::text[])`,
  )
  const rows = await run(
    beside(
      tables,
      'd.*',
      keys.length === 0 ? 'SELECT NULL WHERE false' : inner.join(' UNION ALL '),
      '$1',
      '1',
    ),
    parameters,
  )
  const found = new Map<string, Document | Tombstone>()
  for (const [source, ...row] of records(rows)) {
    const collection = collections[Number(source)] as string
    const record = toDocument(collection, row)
    found.set(`${collection}\0${record.id}`, record)
  }
  const documents = keys.map(({ collection, id }) => found.get(`${collection}\0${id}`))
  return { documents, ...servedOf(rows) }
}

export async function scanCollection(
  run: Run,
  tables: Tables,
  domain: string,
  definition: CollectionDefinition,
  query: Query,
): Promise<Page<Document, Cursor | null>> {
  const { where, orderBy, parameters, keyColumns } = scanSql(postgres, definition, query)
  const next = parameters.length + 1
  // Each under a name of its own: a driver that gives rows as objects keeps one column of each name.
  const columns = [documentColumns, ...keyColumns.map((column, i) => `${column} AS key_${i}`)].join(', ')
  const inner = `SELECT ${columns}, row_number() OVER (ORDER BY ${orderBy}) AS place FROM ${tables.collection(domain, query.collection)} WHERE ${where} ORDER BY ${orderBy} LIMIT $${next}`
  const rows = await run(beside(tables, 'd.*', inner, `$${next + 1}`, 'd.place'), [
    ...parameters,
    query.limit + 1,
    domain,
  ])
  const found = records(rows)
  const page = found.slice(0, query.limit)
  const items = page.map((row) => toDocument(query.collection, row) as Document)
  const last = page.at(-1)
  const cursor =
    found.length > query.limit && last !== undefined
      ? encodeCursor({ key: keyOf(query, last), id: String(last[1]) })
      : null
  return { items, next: cursor, ...servedOf(rows) }
}

/** The values that a page goes on behind. */
function keyOf(query: Query, row: Row): FieldValue[] {
  return query.by === 'expiry' ? [toNumber(row[4])] : (row.slice(7, -1) as FieldValue[])
}
