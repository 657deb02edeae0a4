/** Plans and writes under the lock of the fence's row, inside a transaction that somebody else begins and ends. */
import { plainCollection } from '../../model/collection.ts'
import type { Fence } from '../../model/fence.ts'
import { checkAuthority, declaredIn, type Plan } from '../plan.ts'
import type { Definitions } from './catalog.ts'
import type { Copy, Query } from './driver.ts'
import type { FenceRow } from './fence-row.ts'
import { alterCollection, type Tables } from './table.ts'
import { removeEvents } from './truncate.ts'
import type { PostgresView } from './view.ts'
import { clearForUnique, copyPlan, writePlan } from './write.ts'

/** Makes a plan under a fence; may be called again, with another. */
export type MakePlan = (fence: Fence, view: PostgresView) => Plan

export interface LockedWrite {
  readonly tables: Tables
  readonly domain: string
  readonly view: PostgresView
  readonly make: MakePlan
  readonly token: string
  /** Given for a bulk of records, where the driver can copy. */
  readonly copy?: Copy | undefined
  /** Runs the statement that writes, if nothing follows it in the transaction. */
  readonly last?: Query
  /** Told of the plan before it is written, so that a caller whose session dies can ask what became of it. */
  readonly planned?: (plan: Plan) => void
}

/**
 * Milliseconds that the change of a table waits for those who read it. Commits of the domain and reads of the table wait
 * in line behind it: rather than hold them up for as long as a session sits idle in a transaction, it is tried again.
 */
const tableLockMs = 200
const waitForTables = `SET LOCAL lock_timeout = ${tableLockMs}`

/** Plans on what the domain holds under the lock, and writes the plan with the tables and indexes that it needs. */
export async function writeUnderLock(query: Query, row: FenceRow, write: LockedWrite): Promise<Plan> {
  const { tables, domain, view, make, token, copy, last, planned } = write
  if (row.fence.role === 'vacant') checkAuthority(domain, row.fence, row.fence.epoch)
  view.moveTo(row)
  const plan = await view.plan(query, () => make(row.fence, view))
  planned?.(plan)
  await makeRoom(query, write, row, plan, view)
  if (isEmpty(plan, row)) return plan
  await removeEvents(query, tables, domain, plan.removed)
  const left = copy === undefined ? plan.changes : await copyPlan(copy, tables, domain, plan, view)
  const mayStandIn = plan.isWhole && !view.isUnique
  const run = mayStandIn ? query : (last ?? query)
  if (!(await writePlan(run, tables, domain, row, plan, token, left)))
    throw new TypeError(`the fence of domain ${domain} moved under its lock`)
  if (mayStandIn) {
    await query(waitForTables)
    await view.makeUnique(query)
  }
  return plan
}

/** A plan that would write nothing. */
export function isEmpty(plan: Plan, { fence }: FenceRow): boolean {
  return plan.changes.length === 0 && plan.head === fence.head
}

/** Tables and indexes for what is declared, and rows out of the way of unique indexes. */
async function makeRoom(
  query: Query,
  { tables, domain }: LockedWrite,
  { fence }: FenceRow,
  plan: Plan,
  view: PostgresView,
): Promise<void> {
  const definitions = await view.definitions(query)
  const isFollower = fence.role !== 'authority'
  const declared = declaredIn(plan.changes)
  const undeclared = undeclaredIn(plan, definitions, declared)
  if (declared.size + undeclared.size > 0) await query(waitForTables)
  for (const name of undeclared)
    await alterCollection(query, tables, domain, name, undefined, plainCollection)
  for (const [name, definition] of declared)
    await alterCollection(query, tables, domain, name, definitions.get(name), definition, isFollower)
  await clearForUnique(query, tables, domain, plan, view)
}

/** Collections of a follower whose declaration stands further on in the feed. */
function undeclaredIn(plan: Plan, known: Definitions, declared: Definitions): ReadonlySet<string> {
  const names = plan.changes.flatMap((change) => (change.kind === 'event' ? [] : [change.collection]))
  return new Set(names.filter((name) => !known.has(name) && !declared.has(name)))
}
