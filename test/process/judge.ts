/** Holds what readers were given against what is in the store when all is quiet. */
import { openStore, verifyDomain } from '../../src/index.ts'
import type { Seen } from './tasks.ts'

export interface Truth {
  /** The positions of all events. */
  readonly events: readonly number[]
  /** The position of each document, by collection and id. */
  readonly documents: Readonly<Record<string, number>>
  /** The seqs of each stream, in the order of the feed. */
  readonly streams: ReadonlyMap<string, readonly number[]>
  readonly types: ReadonlySet<string>
  readonly head: number
  readonly verified: Awaited<ReturnType<typeof verifyDomain>>
}

/** The whole feed as one reader finds it when all is quiet. */
export async function truth(path: string): Promise<Truth> {
  const store = await openStore(path.includes('://') ? path : `sqlite:${path}`, { domains: { app: {} } })
  const app = store.domain('app')
  const events: number[] = []
  const documents: Record<string, number> = {}
  const streams = new Map<string, number[]>()
  const types = new Set<string>()
  for (let after = 0, head = 1; after < head; ) {
    const page = await app.changes({ after })
    for (const item of page.items) {
      if (item.kind === 'event') {
        events.push(item.position)
        types.add(item.type)
        const seqs = streams.get(item.stream)
        if (seqs === undefined) streams.set(item.stream, [item.seq])
        else seqs.push(item.seq)
      } else documents[`${item.collection}/${item.id}`] = item.position
    }
    ;[after, head] = [page.next, page.head]
  }
  const head = await app.head()
  const verified = await verifyDomain([...store.backends.values()][0] as never, 'app')
  await store.close()
  return { events, documents, streams, types, head, verified }
}

/** What a reader was given, held against what there is behind the position at which it began. */
export function judge(
  { events, documents, outOfOrder }: Seen,
  after: number,
  all: Pick<Truth, 'events' | 'documents'>,
) {
  const wanted = new Set(all.events.filter((position) => position > after))
  const given = new Set(events)
  const stale = Object.entries(all.documents).filter(
    ([id, position]) => position > after && documents[id] !== position,
  )
  return {
    delivered: events.length,
    missing: [...wanted].filter((position) => !given.has(position)).length + stale.length,
    doubled: events.length - given.size,
    outOfOrder,
    foreign: [...given].filter((position) => !wanted.has(position)).length,
  }
}

export type Totals = ReturnType<typeof judge>

/** The sums over several readers. */
export function sumOf(results: readonly Totals[]): Totals {
  const totals = { delivered: 0, missing: 0, doubled: 0, outOfOrder: 0, foreign: 0 }
  for (const result of results)
    for (const key of Object.keys(totals) as (keyof Totals)[]) totals[key] += result[key]
  return totals
}
