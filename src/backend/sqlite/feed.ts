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
  /** Its first column. */
  readonly key: 'position' | 'revision'
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
  let part = new Merge(rows, sources, after, limit + 1)
  while (part.commit !== undefined && (items.length < limit || part.commit === items.at(-1)?.commit))
    items.push(part.take())
  // More at each look, so that a small page within a large commit takes few of them.
  for (let most = limit + 1; part.commit === undefined && !part.isWhole; most *= 4) {
    const { position, commit } = items.at(-1) as Change
    part = new Merge(rows, sources.map(toRest), position, most, commit)
    while (part.commit === commit) items.push(part.take())
  }
  return { items: noteVerified(items), isEnd: part.commit === undefined }
}

/**
 * The rows of one commit, and the first one behind it. The database picks them out: what comes further on would be handed
 * over for nothing, and rows cost most there.
 */
function toRest({ sql, key, ...source }: Source): Source {
  const isSame = `min(commit_position = ?) OVER (ORDER BY ${key} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)`
  return {
    ...source,
    key,
    sql: `SELECT * FROM (SELECT *, ${isSame} AS is_same FROM (${sql})) WHERE is_same IS NOT 0 ORDER BY ${key}`,
  }
}

function sourcesOf(domain: string, collections: readonly string[]): Source[] {
  const events: Source = {
    sql: `SELECT ${eventColumns} FROM ${eventsTable(domain)} WHERE position > ? AND position <= ? ORDER BY position LIMIT ?`,
    key: 'position',
    commitColumn: 5,
    toChange: toEvent,
  }
  const documents = collections.map(
    (name): Source => ({
      sql: `SELECT ${documentColumns} FROM ${collectionTable(domain, name)} WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT ?`,
      key: 'revision',
      commitColumn: 3,
      toChange: (row: Row) => toDocument(name, row),
    }),
  )
  return [events, ...documents]
}

interface Run {
  readonly source: Source
  readonly rows: readonly Row[]
  at: number
}

/** The first rows of all sources behind a position, in order; the sources may ask for the commit that is left. */
class Merge {
  /** There are no more than these. */
  readonly isWhole: boolean
  #left: number
  readonly #runs: Run[] = []

  constructor(
    rows: Rows,
    sources: readonly Source[],
    after: Position,
    most: number,
    ...commit: readonly Position[]
  ) {
    let last = Number.MAX_SAFE_INTEGER
    let count = 0
    for (const source of sources) {
      const found = rows(source.sql, ...commit, after, last, most)
      // No row beyond these can be among the first of all sources, so the tables behind need not give them.
      if (found.length === most) last = Number(found.at(-1)?.[0])
      if (found.length > 0) this.#runs.push({ source, rows: found, at: 0 })
      count += found.length
    }
    this.isWhole = count < most
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
