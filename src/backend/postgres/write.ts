/**
 * Writes a plan in one statement, guarded by the fence: the update of the fence names the head that the plan was made
 * for, and everything else is inserted from what it returns. No row means that nothing was written. (The journal's
 * *insert at head if nothing is there*, in SQL.)
 */
import type { Change } from '../../model/change.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import type { Fence } from '../../model/fence.ts'
import type { Plan } from '../plan.ts'
import { documentColumns, eventColumns, pushDocument, pushEvent } from '../sql/record.ts'
import type { SqlValue } from '../sql/scan.ts'
import type { Parameter, Query } from './driver.ts'
import type { Tables } from './table.ts'

const eventTypes = ['bigint', 'text', 'bigint', 'text', 'bigint', 'bigint', 'text', 'text', 'text']
const documentTypes = ['bigint', 'text', 'bigint', 'bigint', 'bigint', 'text', 'text']

/** True if it was written; false if the fence is not what the plan was made for. */
export async function writePlan(
  query: Query,
  tables: Tables,
  domain: string,
  fence: Fence,
  plan: Plan,
): Promise<boolean> {
  const parts = [
    `g AS (UPDATE ${tables.fences} SET head = $4, digest = $5 WHERE domain = $1 AND epoch = $2 AND head = $3 AND role = '${fence.role}' RETURNING 1)`,
  ]
  const parameters: Parameter[] = [domain, fence.epoch, fence.head, plan.head, plan.digest.toString()]
  const { events, documents } = sort(plan.changes)
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

/** Takes rows that a plan will write again, or evicts, out of the way of unique indexes. Within the plan's transaction. */
export async function clearForUnique(
  query: Query,
  tables: Tables,
  domain: string,
  plan: Plan,
  hasUnique: (collection: string) => boolean,
): Promise<void> {
  const ids = new Map<string, Set<string>>()
  const add = (collection: string, id: string) => {
    const known = ids.get(collection)
    if (known === undefined) ids.set(collection, new Set([id]))
    else known.add(id)
  }
  for (const { collection, id } of plan.evicted) add(collection, id)
  for (const change of plan.changes)
    if (change.kind !== 'event' && hasUnique(change.collection)) add(change.collection, change.id)
  for (const [collection, found] of ids)
    await query(`DELETE FROM ${tables.collection(domain, collection)} WHERE id = ANY ($1::text[])`, [
      [...found],
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
  columnTypes: readonly string[],
  records: readonly R[],
  push: (values: SqlValue[], record: R) => void,
): string {
  const first = parameters.length + 1
  const width = columnTypes.length
  const values: SqlValue[] = []
  for (const record of records) push(values, record)
  for (let column = 0; column < width; column++)
    parameters.push(records.map((_, row) => values[row * width + column] as SqlValue))
  const arrays = columnTypes.map((type, column) => `$${first + column}::${type}[]`)
  return `unnest(${arrays.join(', ')}) AS u`
}
