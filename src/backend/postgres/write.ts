/**
 * Writes a plan in one statement, guarded by the fence: the update of the fence names the head that the plan was made
 * for, and everything else is inserted from what it returns. No row means that nothing was written. (The journal's
 * *insert at head if nothing is there*, in SQL.)
 */

import { randomBytes } from 'node:crypto'
import { UnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import { declaredIn, type Plan } from '../plan.ts'
import { documentColumns, eventColumns, pushDocument, pushEvent } from '../sql/record.ts'
import type { SqlValue } from '../sql/scan.ts'
import { ArrayParameter, type ElementType, texts } from './array.ts'
import type { RowWriter } from './copy.ts'
import type { Copy, Database, Parameter, Query } from './driver.ts'
import type { FenceRow } from './fence-row.ts'
import type { Tables } from './table.ts'
import type { PostgresView } from './view.ts'

const eventTypes: readonly ElementType[] = [
  'bigint',
  'text',
  'bigint',
  'text',
  'bigint',
  'bigint',
  'text',
  'text',
  'text',
]
const documentTypes: readonly ElementType[] = ['bigint', 'text', 'bigint', 'bigint', 'bigint', 'text', 'text']

/** Of a group: random bytes, and the characters of base64url that are made of them. */
const tokenBytes = 6
const tokenLength = (tokenBytes / 3) * 4
/** Tokens that the fence's row keeps. */
const recentTokens = 32

export function newToken(): string {
  return randomBytes(tokenBytes).toString('base64url')
}

/** True if it was written; false if the fence is not what the plan was made for. `changes`: those not copied before. */
export async function writePlan(
  query: Query,
  tables: Tables,
  domain: string,
  { fence, turn, catalog }: FenceRow,
  plan: Plan,
  token: string,
  changes: readonly Change[] = plan.changes,
): Promise<boolean> {
  const parameters: Parameter[] = [
    domain,
    fence.epoch,
    fence.head,
    turn,
    plan.head,
    plan.digest.toString(),
    token,
    declaredIn(plan.changes).size > 0 ? catalog + 1 : catalog,
    fence.incarnation,
  ]
  const parts = [
    `g AS (UPDATE ${tables.fences} SET head = $5, digest = $6, recent = left($7 || recent, ${recentTokens * tokenLength}), catalog = $8
      WHERE domain = $1 AND epoch = $2 AND head = $3 AND turn = $4 AND incarnation = $9 AND role = '${fence.role}' RETURNING 1)`,
  ]
  const { events, documents } = sort(changes)
  if (events.length > 0) {
    const source = unnest(parameters, eventTypes, events, pushEvent)
    parts.push(`e AS (INSERT INTO ${tables.events(domain)} (${eventColumns}) SELECT u.* FROM g, ${source})`)
  }
  let number = 0
  for (const [collection, changed] of documents) {
    const source = unnest(parameters, documentTypes, [...changed.values()], pushDocument)
    parts.push(
      `d${number++} AS (INSERT INTO ${tables.collection(domain, collection)} AS t (${documentColumns}) SELECT u.* FROM g, ${source} ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, at = excluded.at, commit_position = excluded.commit_position, expires_at = excluded.expires_at, data = excluded.data, checksum = excluded.checksum)`,
    )
  }
  const rows = await query(`WITH ${parts.join(', ')} SELECT 1 FROM g`, parameters)
  return rows.length === 1
}

/**
 * Whether a plan was written whose session died. Waits for that session's transaction to end, by taking the lock that
 * it holds. A write found absent can never happen later: its guard no longer fits.
 */
export function wasWritten(
  database: Database,
  tables: Tables,
  domain: string,
  incarnation: string,
  plan: Plan,
  token: string,
): Promise<boolean> {
  return database.transaction(async (query) => {
    const [row] = await query(
      `UPDATE ${tables.fences} SET turn = turn + 1 WHERE domain = $1 RETURNING head, recent, incarnation`,
      [domain],
    )
    const [head, recent, found] = row as [number, string, string]
    for (let at = 0; at < recent.length; at += tokenLength) if (recent.startsWith(token, at)) return true
    if (found !== incarnation) throw new UnderpinError('unknown', 'The domain was made anew since')
    // Every group moves the head and leaves a token, so this many cannot have pushed out that of the plan.
    if (head - plan.head < recentTokens) return false
    return isOverwritten(query, tables, domain, plan)
  })
}

/** Too many groups have come since: another record at a position of the plan proves that the plan was not written. */
async function isOverwritten(query: Query, tables: Tables, domain: string, plan: Plan): Promise<false> {
  for (const change of plan.changes) {
    const isEvent = change.kind === 'event'
    const table = isEvent ? tables.events(domain) : tables.collection(domain, change.collection)
    const column = isEvent ? 'position' : 'revision'
    const [found] = await query(`SELECT checksum FROM ${table} WHERE ${column} = $1`, [change.position])
    if (found !== undefined && found[0] !== change.checksum) return false
  }
  throw new UnderpinError('unknown', 'Too many commits have come since to tell')
}

/**
 * Copies the events and the new documents of a plan into their tables, within its transaction. What is left, documents
 * that are there in an older state, is to be written with the fence.
 */
export async function copyPlan(
  copy: Copy,
  tables: Tables,
  domain: string,
  plan: Plan,
  view: PostgresView,
): Promise<readonly Change[]> {
  const { events, documents } = sort(plan.changes)
  const left: Change[] = []
  if (events.length > 0)
    await copy({ into: `${tables.events(domain)} (${eventColumns})`, ...eventRows, records: events })
  for (const [collection, changed] of documents) {
    const fresh: (Document | Tombstone)[] = []
    for (const [id, document] of changed) {
      if (view.isNew(collection, id)) fresh.push(document)
      else left.push(document)
    }
    const into = `${tables.collection(domain, collection)} (${documentColumns})`
    if (fresh.length > 0) await copy({ into, ...documentRows, records: fresh })
  }
  return left
}

const eventRows = {
  columns: eventTypes.length,
  write(row: RowWriter, { position, stream, seq, type, at, commit, meta, data, checksum }: Event): void {
    row.bigint(position)
    row.text(stream)
    row.bigint(seq)
    row.text(type)
    row.bigint(at)
    row.bigint(commit)
    row.text(meta)
    row.text(data)
    row.text(checksum)
  },
}

const documentRows = {
  columns: documentTypes.length,
  write(row: RowWriter, change: Document | Tombstone): void {
    const isTombstone = change.kind === 'tombstone'
    row.bigint(change.position)
    row.text(change.id)
    row.bigint(change.at)
    row.bigint(change.commit)
    row.bigint(isTombstone ? null : change.expiresAt)
    row.text(isTombstone ? null : change.data)
    row.text(change.checksum)
  },
}

/** Puts records whose keys and positions are free. Of each key at most one. */
export async function insertRecords(
  query: Query,
  tables: Tables,
  domain: string,
  changes: readonly Change[],
): Promise<void> {
  const { events, documents } = sort(changes)
  const insert = async (into: string, parameters: Parameter[], source: string) => {
    await query(`INSERT INTO ${into} SELECT u.* FROM ${source}`, parameters)
  }
  if (events.length > 0) {
    const parameters: Parameter[] = []
    const source = unnest(parameters, eventTypes, events, pushEvent)
    await insert(`${tables.events(domain)} (${eventColumns})`, parameters, source)
  }
  for (const [collection, changed] of documents) {
    const parameters: Parameter[] = []
    const source = unnest(parameters, documentTypes, [...changed.values()], pushDocument)
    await insert(`${tables.collection(domain, collection)} (${documentColumns})`, parameters, source)
  }
}

/** Takes rows that a plan will write again, or evicts, out of the way of unique indexes. Within the plan's transaction. */
export async function clearForUnique(
  query: Query,
  tables: Tables,
  domain: string,
  plan: Plan,
  view: PostgresView,
): Promise<void> {
  const ids = new Map<string, Set<string>>()
  const add = (collection: string, id: string) => {
    const known = ids.get(collection)
    if (known === undefined) ids.set(collection, new Set([id]))
    else known.add(id)
  }
  for (const { collection, id } of plan.evicted) add(collection, id)
  const documents = [...plan.stage.documents].filter(([collection]) => plan.stage.takesKey(collection))
  for (const [collection, changed] of documents)
    for (const id of changed.keys()) if (!view.isNew(collection, id)) add(collection, id)
  for (const [collection, found] of ids)
    await query(`DELETE FROM ${tables.collection(domain, collection)} WHERE id = ANY ($1::text[])`, [
      texts([...found]),
    ])
}

/** Events, and of each document the last state: one statement cannot write a row twice. */
function sort(changes: readonly Change[]) {
  const events: Event[] = []
  const documents = new Map<string, Map<string, Document | Tombstone>>()
  for (const change of changes) {
    if (change.kind === 'event') {
      events.push(change)
      continue
    }
    const changed = documents.get(change.collection) ?? new Map<string, Document | Tombstone>()
    documents.set(change.collection, changed.set(change.id, change))
  }
  return { events, documents }
}

/** Records as one array for each column. */
function unnest<R>(
  parameters: Parameter[],
  columnTypes: readonly ElementType[],
  records: readonly R[],
  push: (values: SqlValue[], record: R) => void,
): string {
  const first = parameters.length + 1
  const width = columnTypes.length
  const values: SqlValue[] = []
  for (const record of records) push(values, record)
  for (const [column, type] of columnTypes.entries())
    parameters.push(
      new ArrayParameter(
        type,
        records.map((_, row) => values[row * width + column] as SqlValue),
      ),
    )
  const arrays = columnTypes.map((type, column) => `$${first + column}::${type}[]`)
  return `unnest(${arrays.join(', ')}) AS u`
}
