/** A feed to apply: events and documents of a domain in memory, in pages of 10,000 changes. */
import { type Change, openStore } from 'underpin'
import { memory } from 'underpin/memory'
import { event } from './work.ts'

/** As `Backend.changes` gives it. */
export interface FeedPage {
  readonly items: readonly Change[]
  readonly next: number
  readonly epoch: number
  readonly role: 'authority'
  readonly head: number
}

export const declared = { collections: { things: {} } } as const

export async function makeFeed(events: number, documents: number): Promise<readonly FeedPage[]> {
  const backend = memory()
  const store = await openStore(backend, { domains: { bench: declared } })
  const bench = store.domain('bench')
  const things = bench.documents('things')
  for (let from = 0; from < events; from += 100)
    await bench.log.append(
      `stream-${(from / 100) % 1_000}`,
      Array.from({ length: 100 }, (_, i) => event(from + i)),
    )
  await Promise.all(
    Array.from({ length: documents }, (_, n) => things.put(`thing-${n}`, event(n).data as never)),
  )
  const pages: FeedPage[] = []
  for (let after = 0; ; ) {
    const page = (await backend.changes('bench', after, 10_000)) as FeedPage
    if (page.items.length === 0) break
    pages.push(page)
    after = page.next
  }
  await store.close()
  return pages
}
