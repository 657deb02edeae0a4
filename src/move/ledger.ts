/**
 * What a move leaves in the domain itself: documents of the collection `$moves`, so that every process sees them and
 * they move along. They decide nothing: who holds authority is in the fences alone.
 *
 * - `current`: the record of the move under way (`record.ts`); `ended-<incarnation of the copy>`: of one that ended;
 * - `mover`: that somebody copies, and how fast;
 * - `report-<epoch>`: a cutover, by the epoch that it opened; `callers-<epoch>-<process>`: how long callers waited for it.
 */
import type { Backend, CallOptions } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import { definitionsCollection, movesCollection, plainCollection } from '../model/collection.ts'
import type { Commit } from '../model/commit.ts'
import type { Document } from '../model/document.ts'
import { type Cursor, encodeCursor, type Page, type Query } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { decodeValue, encodeValue } from '../model/value.ts'
import type { Sides } from './sides.ts'

/** The side that is written to, which holds authority. */
type Lead = Pick<Sides, 'domain' | 'source' | 'clock'>

export interface Entry<T> {
  /** Undefined of one that is damaged: it says nothing, and can be written over. */
  readonly value: T | undefined
  readonly revision: Position
}

/** One entry; undefined if there is none, or none was ever made here. */
export async function readEntry<T>(
  { domain, source }: Pick<Lead, 'domain' | 'source'>,
  id: string,
  options?: CallOptions,
): Promise<Entry<T> | undefined> {
  if (!(await isDeclared(source, domain, options))) return undefined
  const key = { collection: movesCollection, id }
  const read = () => source.get(domain, [key], options).then(({ documents }) => documents[0])
  const found = await read().catch(damagedEntry)
  if (found?.kind === 'damaged') return { value: undefined, revision: found.position }
  if (found?.kind !== 'document') return undefined
  return { value: decodeValue(found.data) as T, revision: found.position }
}

function damagedEntry(error: unknown): { readonly kind: 'damaged'; readonly position: Position } {
  if (!isUnderpinError(error, 'damaged') || typeof error.details.position !== 'number') throw error
  return { kind: 'damaged', position: error.details.position }
}

/** All entries whose ids begin with a prefix, in the order of their ids, without those that are damaged. */
export async function readEntries<T>(
  { domain, source }: Pick<Lead, 'domain' | 'source'>,
  prefix: string,
  options?: CallOptions,
): Promise<readonly { readonly id: string; readonly value: T }[]> {
  if (!(await isDeclared(source, domain, options))) return []
  const query = { collection: movesCollection, by: 'id', prefix, backwards: false, limit: 1_000 } as const
  const entries: { id: string; value: T }[] = []
  let after: Cursor | null = null
  do {
    const page = await scanSound(source, domain, { ...query, after }, options)
    for (const { id, data } of page.items) entries.push({ id, value: decodeValue(data) as T })
    after = page.next
  } while (after !== null)
  return entries
}

/** Fewer at once where one of them is damaged, so that only that one is left out. */
async function scanSound(
  source: Backend,
  domain: string,
  query: Query,
  options?: CallOptions,
): Promise<Pick<Page<Document, Cursor | null>, 'items' | 'next'>> {
  try {
    return await source.scan(domain, query, options)
  } catch (error) {
    if (!isUnderpinError(error, 'damaged') || typeof error.details.id !== 'string') throw error
    const { limit } = query
    if (limit > 1) return scanSound(source, domain, { ...query, limit: limit >> 2 || 1 }, options)
    return { items: [], next: encodeCursor({ key: [], id: error.details.id }) }
  }
}

/** A change of one entry, made only if it is as it was read: at this revision, or absent. */
export interface EntryChange {
  readonly id: string
  /** Null deletes it. */
  readonly value: unknown
  /** Left out: whatever is there. */
  readonly expect?: Position | 'absent'
}

/**
 * Changes entries in one commit. False if one of them is not as expected. `fenced` if the side does not hold authority,
 * `unknown` if it cannot be told whether it was done: read again.
 */
export async function writeEntries(
  lead: Lead,
  changes: readonly EntryChange[],
  options?: CallOptions,
): Promise<boolean> {
  await declareLedger(lead, options)
  return commitOne(
    lead,
    {
      at: lead.clock.now(),
      writes: changes.map(({ id, value }) =>
        value === null
          ? { kind: 'delete', collection: movesCollection, id }
          : { kind: 'put', collection: movesCollection, id, data: encodeValue(value), expiresAt: null },
      ),
      checks: changes.flatMap(({ id, expect }) =>
        expect === undefined ? [] : [{ kind: 'document', collection: movesCollection, id, expect }],
      ),
    },
    options,
  )
}

async function isDeclared(on: Backend, domain: string, options?: CallOptions): Promise<boolean> {
  const key = { collection: definitionsCollection, id: movesCollection }
  const [found] = (await on.get(domain, [key], options)).documents
  return found?.kind === 'document'
}

async function declareLedger(lead: Lead, options?: CallOptions): Promise<void> {
  if (await isDeclared(lead.source, lead.domain, options)) return
  const id = { collection: definitionsCollection, id: movesCollection }
  const declaration: Commit = {
    at: lead.clock.now(),
    writes: [{ kind: 'put', ...id, data: encodeValue(plainCollection), expiresAt: null }],
    checks: [{ kind: 'document', ...id, expect: 'absent' }],
  }
  // A check that fails says that somebody else declared it meanwhile.
  await commitOne(lead, declaration, options)
}

/** False if a check failed. */
async function commitOne(
  { domain, source }: Lead,
  commit: Commit,
  options: CallOptions | undefined,
): Promise<boolean> {
  const { role, epoch } = await source.fence(domain, options)
  if (role !== 'authority')
    throw new UnderpinError('fenced', `Domain ${domain} is ${role} on ${source.name}`, {
      details: { domain },
    })
  const [outcome] = await source.commit(domain, epoch, [commit], options)
  if (outcome?.kind === 'refused') throw outcome.error
  return outcome?.kind === 'committed'
}
