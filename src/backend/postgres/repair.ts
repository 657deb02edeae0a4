/** Repairs of a copy in PostgreSQL, inside a transaction that holds the lock of the fence's row. */
import type { Change } from '../../model/change.ts'
import { emptyDigest } from '../../model/digest.ts'
import type { DocumentKey } from '../../model/document.ts'
import type { FeedPart } from '../../model/page.ts'
import { checkFollower } from '../plan.ts'
import { planRepair, type RepairPlan } from '../plan-repair.ts'
import { ArrayParameter, texts } from './array.ts'
import type { Query } from './driver.ts'
import type { FenceRow } from './fence-row.ts'
import { type Tables, tablesOf } from './table.ts'
import { sumSql } from './truncate.ts'
import type { PostgresView } from './view.ts'
import { insertRecords } from './write.ts'

export interface RepairWrite {
  readonly tables: Tables
  readonly domain: string
  readonly epoch: number
  readonly view: PostgresView
  readonly page: FeedPart
}

/** The turn moves with it, so that nothing that was planned on what stood there before can be written. */
export async function repairUnderLock(query: Query, row: FenceRow, write: RepairWrite): Promise<void> {
  const { tables, domain, epoch, view, page } = write
  checkFollower(domain, row.fence, epoch)
  view.moveTo(row)
  const plan = await view.plan(query, () => planRepair(view, row.fence.head, page))
  await removeRecords(query, tables, domain, plan)
  await insertRecords(query, tables, domain, plan.items)
  const sum = plan.isLast ? await sumOfAll(query, tables, domain) : `SELECT '${emptyDigest}'`
  await query(`UPDATE ${tables.fences} SET digest = (${sum}), turn = turn + 1 WHERE domain = $1`, [domain])
}

/** The statement that sums up the copy. */
async function sumOfAll(query: Query, tables: Tables, domain: string): Promise<string> {
  // Of all tables, not only of the collections that are declared: a copy may hold documents whose declaration comes yet.
  const found = await tablesOf(query, tables, domain)
  const all = found.map((table) => `SELECT checksum FROM ${table}`).join(' UNION ALL ')
  // What is no checksum is of a foreign record that this repair does not remove: the sum is wrong with or without it.
  return `SELECT coalesce(${sumSql}, '${emptyDigest}') FROM (${all}) r WHERE checksum ~ '^[0-9a-f]{32}$'`
}

/** What goes; and what stands at an item's position under another key, which has no right to be there. */
async function removeRecords(
  query: Query,
  tables: Tables,
  domain: string,
  { events, documents, items }: RepairPlan,
): Promise<void> {
  const table = tables.events(domain)
  if (events.length > 0)
    await query(
      `DELETE FROM ${table} e USING unnest($1::text[], $2::bigint[]) AS k (stream, seq) WHERE e.stream = k.stream COLLATE "C" AND e.seq = k.seq`,
      [texts(events.map(({ stream }) => stream)), bigints(events.map(({ seq }) => seq))],
    )
  const at = positionsOf(items.filter(({ kind }) => kind === 'event'))
  if (at.length > 0) await query(`DELETE FROM ${table} WHERE position = ANY ($1::bigint[])`, [bigints(at)])
  for (const [collection, keys] of byCollection(documents)) {
    const here = items.filter((item) => item.kind !== 'event' && item.collection === collection)
    await query(
      `DELETE FROM ${tables.collection(domain, collection)} WHERE id = ANY ($1::text[]) OR revision = ANY ($2::bigint[])`,
      [texts(keys.map(({ id }) => id)), bigints(positionsOf(here))],
    )
  }
}

function positionsOf(items: readonly Change[]): number[] {
  return items.map(({ position }) => position)
}

function bigints(values: readonly number[]): ArrayParameter {
  return new ArrayParameter('bigint', values)
}

function byCollection(keys: readonly DocumentKey[]): ReadonlyMap<string, readonly DocumentKey[]> {
  const found = new Map<string, DocumentKey[]>()
  for (const key of keys) {
    const known = found.get(key.collection)
    if (known === undefined) found.set(key.collection, [key])
    else known.push(key)
  }
  return found
}
