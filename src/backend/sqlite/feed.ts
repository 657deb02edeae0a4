/** The feed of a domain: its events and each collection's documents, merged by position. */
import type { Change } from '../../model/change.ts'
import type { Position } from '../../model/position.ts'
import { collectionTable, eventsTable } from '../sql/name.ts'
import { documentColumns, eventColumns, toDocument, toEvent } from './record.ts'
import type { Rows } from './view.ts'

type Row = readonly unknown[]

interface Source {
  readonly sql: string
  readonly commitColumn: number
  readonly toChange: (row: Row) => Change
}

/** The changes behind a position, at least `limit` if there are so many, and on to the end of the last one's commit. */
export function readChanges(
  rows: Rows,
  domain: string,
  collections: readonly string[],
  after: Position,
  limit: number,
): { items: Change[]; isEnd: boolean } {
  const sources = sourcesOf(domain, collections)
  const { found, isEnd } = merge(rows, sources, after, limit)
  const items = found.map(({ row, source }) => source.toChange(row))
  if (isEnd) return { items, isEnd }
  for (let from = items.at(-1) as Change; ; from = items.at(-1) as Change) {
    const rest = merge(rows, sources, from.position, limit)
    const same = rest.found.filter(({ row, source }) => row[source.commitColumn] === from.commit)
    items.push(...same.map(({ row, source }) => source.toChange(row)))
    if (same.length < rest.found.length) return { items, isEnd: false }
    if (rest.isEnd) return { items, isEnd: true }
  }
}

function sourcesOf(domain: string, collections: readonly string[]): Source[] {
  const events: Source = {
    sql: `SELECT ${eventColumns} FROM ${eventsTable(domain)} WHERE position > ? ORDER BY position LIMIT ?`,
    commitColumn: 5,
    toChange: toEvent,
  }
  const documents = collections.map((name) => ({
    sql: `SELECT ${documentColumns} FROM ${collectionTable(domain, name)} WHERE revision > ? ORDER BY revision LIMIT ?`,
    commitColumn: 3,
    toChange: (row: Row) => toDocument(name, row),
  }))
  return [events, ...documents]
}

/** The first `limit` rows of all sources by position, which is the first column of each. */
function merge(
  rows: Rows,
  sources: readonly Source[],
  after: Position,
  limit: number,
): { found: { row: Row; source: Source }[]; isEnd: boolean } {
  const found = sources.flatMap((source) =>
    rows(source.sql, after, limit + 1).map((row) => ({ row, source })),
  )
  const sorted = sources.length === 1 ? found : found.sort((a, b) => Number(a.row[0]) - Number(b.row[0]))
  return { found: sorted.slice(0, limit), isEnd: sorted.length <= limit }
}
