/** Plans and writes under the lock of the fence's row, inside a transaction that somebody else begins and ends. */
import { type CollectionDefinition, plainCollection } from '../../model/collection.ts'
import type { Fence } from '../../model/fence.ts'
import { checkAuthority, declaredIn, type Plan } from '../plan.ts'
import { fenceColumns, toFence } from '../sql/record.ts'
import type { Query } from './driver.ts'
import { alterCollection, type Tables } from './table.ts'
import type { PostgresView } from './view.ts'
import { clearForUnique, writePlan } from './write.ts'

/** What a plan is made from. */
export type MakePlan = (fence: Fence, view: PostgresView) => Plan

/**
 * Takes the lock, plans on what the domain holds then, and writes the plan with the tables and indexes that it needs.
 * `planned` is told of the plan before it is written, so that a caller whose session dies can ask what became of it.
 */
export async function writeUnderLock(
  query: Query,
  tables: Tables,
  domain: string,
  view: PostgresView,
  make: MakePlan,
  planned: (fence: Fence, plan: Plan) => void = () => {},
): Promise<Plan> {
  const fence = await selectFence(query, tables, domain, 'FOR UPDATE')
  if (fence.role === 'vacant') checkAuthority(domain, fence, fence.epoch)
  view.moveTo(fence.head)
  const definitions = await view.definitions(query)
  const plan = await view.plan(query, () => make(fence, view))
  planned(fence, plan)
  const declared = declaredIn(plan.changes)
  for (const name of undeclaredIn(plan, definitions, declared))
    await alterCollection(query, tables, domain, name, undefined, plainCollection)
  for (const [name, definition] of declared)
    await alterCollection(query, tables, domain, name, definitions.get(name), definition)
  const hasUnique = (name: string) => isUnique(declared.get(name) ?? definitions.get(name))
  await clearForUnique(query, tables, domain, plan, hasUnique)
  if (plan.head === fence.head && plan.changes.length === 0) return plan
  if (await writePlan(query, tables, domain, fence, plan)) return plan
  throw new TypeError(`the fence of domain ${domain} moved under its lock`)
}

/** The fence as this statement sees it; with `FOR UPDATE`, locked until the transaction ends. */
export async function selectFence(
  query: Query,
  tables: Tables,
  domain: string,
  lock: '' | 'FOR UPDATE' = '',
): Promise<Fence> {
  const [row] = await query(`SELECT ${fenceColumns} FROM ${tables.fences} WHERE domain = $1 ${lock}`, [
    domain,
  ])
  return toFence(row)
}

/** Collections of a follower whose declaration stands further on in the feed. */
function undeclaredIn(
  plan: Plan,
  known: ReadonlyMap<string, CollectionDefinition>,
  declared: ReadonlyMap<string, CollectionDefinition>,
): ReadonlySet<string> {
  const names = plan.changes.flatMap((change) => (change.kind === 'event' ? [] : [change.collection]))
  return new Set(names.filter((name) => !known.has(name) && !declared.has(name)))
}

export function isUnique(definition: CollectionDefinition | undefined): boolean {
  return Object.values(definition?.indexes ?? {}).some(({ unique }) => unique)
}
