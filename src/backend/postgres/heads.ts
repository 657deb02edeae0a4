/** What plans ask a domain for: the last seqs of streams, and documents without their content. */
import type { Commit } from '../../model/commit.ts'
import type { HeadCache } from '../cache.ts'
import { toNumber } from '../sql/record.ts'
import { texts } from './array.ts'
import type { Query, Row } from './driver.ts'
import type { Tables } from './table.ts'

/** Streams, and documents by collection. */
export interface Needs {
  readonly streams: Set<string>
  readonly documents: Map<string, Set<string>>
}

export const noNeeds = (): Needs => ({ streams: new Set(), documents: new Map() })

/** What commits certainly ask for. */
export function needsOf(commits: readonly Commit[]): Needs {
  const needs = noNeeds()
  for (const { writes, checks } of commits) {
    for (const write of writes)
      if (write.kind === 'append') needs.streams.add(write.stream)
      else addDocument(needs, write.collection, write.id)
    for (const check of checks)
      if (check.kind === 'stream') needs.streams.add(check.stream)
      else addDocument(needs, check.collection, check.id)
  }
  return needs
}

export function addDocument({ documents }: Needs, collection: string, id: string): void {
  const ids = documents.get(collection)
  if (ids === undefined) documents.set(collection, new Set([id]))
  else ids.add(id)
}

/** One statement, with one array parameter, and what becomes of its rows. */
interface Lookup {
  readonly sql: (array: string) => string
  readonly names: readonly string[]
  take(cache: HeadCache, rows: readonly Row[]): void
}

function lookups(tables: Tables, domain: string, { streams, documents }: Needs): Lookup[] {
  const found = [...documents].map(([collection, ids]) =>
    documentLookup(tables, domain, collection, [...ids]),
  )
  return streams.size === 0 ? found : [seqLookup(tables, domain, [...streams]), ...found]
}

/** Written so that each stream is one step into the index, whatever the planner thinks of the number of streams. */
function seqLookup(tables: Tables, domain: string, names: readonly string[]): Lookup {
  return {
    names,
    sql: (array) => `SELECT s.stream, coalesce(e.seq, 0) FROM unnest(${array}) AS s (stream)
      LEFT JOIN LATERAL (SELECT seq FROM ${tables.events(domain)} WHERE stream = s.stream COLLATE "C" ORDER BY seq DESC LIMIT 1) e ON true`,
    take(cache, rows) {
      for (const [stream, seq] of rows) cache.seqs.set(String(stream), Number(seq))
    },
  }
}

function documentLookup(
  tables: Tables,
  domain: string,
  collection: string,
  names: readonly string[],
): Lookup {
  return {
    names,
    sql: (array) =>
      `SELECT id, revision, checksum, expires_at, data IS NULL FROM ${tables.collection(domain, collection)} WHERE id = ANY (${array})`,
    take(cache, rows) {
      for (const id of names) cache.documents.set(`${collection}\0${id}`, null)
      for (const [id, position, checksum, expiresAt, isTombstone] of rows) {
        cache.documents.set(`${collection}\0${id}`, {
          position: Number(position),
          checksum: String(checksum),
          expiresAt: toNumber(expiresAt),
          isTombstone: isTombstone === true,
        })
      }
    },
  }
}

/** Asks for all of it. */
export async function fetchHeads(
  query: Query,
  tables: Tables,
  domain: string,
  needs: Needs,
  cache: HeadCache,
): Promise<void> {
  for (const lookup of lookups(tables, domain, needs))
    lookup.take(cache, await query(lookup.sql('$1::text[]'), [texts(lookup.names)], { isPlannedAnew: true }))
}

/** The same as statements without parameters, to go with another one in one round trip. */
export function headStatements(tables: Tables, domain: string, needs: Needs) {
  const all = lookups(tables, domain, needs)
  return {
    statements: all.map(({ sql, names }) => sql(`'${texts(names).toText().replaceAll("'", "''")}'::text[]`)),
    take(cache: HeadCache, results: readonly (readonly Row[])[]): void {
      for (const [i, lookup] of all.entries()) lookup.take(cache, results[i] ?? [])
    },
  }
}
