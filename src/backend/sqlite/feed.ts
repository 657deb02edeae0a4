/** The feed of a domain: its events and each collection's documents, merged by position. */
import type { Change } from '../../model/change.ts'
import type { Position } from '../../model/position.ts'
import { noteVerified } from '../../model/verified.ts'
import { collectionTable, eventsTable } from '../sql/name.ts'
import { documentColumns, eventColumns, toDocument, toEvent } from '../sql/record.ts'
import type { Rows } from './view.ts'

type Row = readonly unknown[]

/** A table that holds changes, in order of its first column, which is the position. */
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
  const items: Change[] = []
  for (let from = after; ; from = items.at(-1)?.position ?? from) {
    const merged = new Merge(rows, sources, from, limit)
    while (merged.commit !== undefined && (items.length < limit || merged.commit === items.at(-1)?.commit))
      items.push(merged.take())
    if (merged.commit !== undefined) return { items: noteVerified(items), isEnd: false }
    if (merged.isEnd) return { items: noteVerified(items), isEnd: true }
  }
}

function sourcesOf(domain: string, collections: readonly string[]): Source[] {
  const events: Source = {
    sql: `SELECT ${eventColumns} FROM ${eventsTable(domain)} WHERE position > ? AND position <= ? ORDER BY position LIMIT ?`,
    commitColumn: 5,
    toChange: toEvent,
  }
  const documents = collections.map((name) => ({
    sql: `SELECT ${documentColumns} FROM ${collectionTable(domain, name)} WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?`,
    commitColumn: 3,
    toChange: (row: Row) => toDocument(name, row),
  }))
  return [events, ...documents]
}

interface Run {
  readonly source: Source
  readonly rows: readonly Row[]
  at: number
}

/** The rows of all sources behind a position, in order: the first `limit` and one more, or all there are. */
class Merge {
  /** Whether the last row is the last of the domain. */
  readonly isEnd: boolean
  #left: number
  readonly #runs: Run[] = []

  constructor(rows: Rows, sources: readonly Source[], after: Position, limit: number) {
    const most = limit + 1
    let last = Number.MAX_SAFE_INTEGER
    let count = 0
    for (const source of sources) {
      const found = rows(source.sql, after, last, most)
      // No row beyond these can be among the first of all sources, so the tables behind need not give them.
      if (found.length === most) last = Number(found.at(-1)?.[0])
      if (found.length > 0) this.#runs.push({ source, rows: found, at: 0 })
      count += found.length
    }
    this.isEnd = count < most
    this.#left = Math.min(count, most)
  }

  /** The commit of the next row; undefined when there is none. */
  get commit(): Position | undefined {
    const run = this.#next()
    return run === undefined ? undefined : Number(run.rows[run.at]?.[run.source.commitColumn])
  }

  take(): Change {
    const run = this.#next() as Run
    this.#left--
    return run.source.toChange(run.rows[run.at++] as Row)
  }

  #next(): Run | undefined {
    if (this.#left === 0) return undefined
    if (this.#runs.length === 1) return this.#runs[0]
    let next: Run | undefined
    let lowest = Number.POSITIVE_INFINITY
    for (const run of this.#runs) {
      const position = run.at < run.rows.length ? Number(run.rows[run.at]?.[0]) : Number.POSITIVE_INFINITY
      if (position < lowest) {
        next = run
        lowest = position
      }
    }
    return next
  }
}
