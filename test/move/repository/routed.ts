/** A ledger, routed between two places: as each process of an application would do it. */
import type { AnyDomain } from '../../../src/facet/domain.ts'
import { type Routed, route } from '../../../src/repository.ts'
import type { Ledger, LedgerPlace } from './ledger.ts'

/** Sits at the far ends of a key's pages, so that what the keys give is what a cursor gives. */
async function* keysOf(ledger: Ledger, after: string | undefined): AsyncGenerator<string> {
  for (let last = after; ; ) {
    const page = await ledger.keys(last)
    yield* page
    last = page.at(-1)
    if (last === undefined) return
  }
}

export interface RoutedOptions {
  readonly ttlMs?: number
  readonly shadow?: number
}

export function routeLedger(
  control: AnyDomain,
  legacy: LedgerPlace,
  next: LedgerPlace,
  options: RoutedOptions = {},
): Promise<Routed<Ledger>> {
  return route({
    name: 'ledger',
    control,
    legacy: legacy.ledger,
    next: next.ledger,
    reads: ['entries', 'keys'],
    writes: { add: { key: (key) => key }, set: { key: (key) => key } },
    keys: keysOf,
    load: async (ledger, key) => {
      const entries = await ledger.entries(key)
      return entries.length === 0 ? undefined : entries
    },
    reconcile: async (key, from, to) => to.set(key, await from.entries(key)),
    fences: {
      ...(legacy.fence === undefined ? {} : { legacy: legacy.fence }),
      ...(next.fence === undefined ? {} : { next: next.fence }),
    },
    ...options,
  })
}

/** What was acknowledged and what is there, compared. */
export interface Verdict {
  readonly lost: readonly string[]
  readonly doubled: readonly string[]
  /** There, though nobody was told; and nobody was told that it failed. */
  readonly unknown: readonly string[]
}

/** `unknown`: entries of which the caller was told that nobody knows. */
export function judge(
  acknowledged: readonly string[],
  unknown: readonly string[],
  found: readonly string[],
): Verdict {
  const counts = new Map<string, number>()
  for (const entry of found) counts.set(entry, (counts.get(entry) ?? 0) + 1)
  const told = new Set([...acknowledged, ...unknown])
  return {
    lost: acknowledged.filter((entry) => !counts.has(entry)),
    doubled: [...counts].filter(([, count]) => count > 1).map(([entry]) => entry),
    unknown: [...counts.keys()].filter((entry) => !told.has(entry)),
  }
}

export async function allOf(ledger: Ledger): Promise<string[]> {
  const found: string[] = []
  for await (const key of keysOf(ledger, undefined)) found.push(...(await ledger.entries(key)))
  return found
}
