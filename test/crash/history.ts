/** Reads what is in a store as the checker wants it: everything from the feed. */
import { type FeedItem, verifyDomain } from '../../src/index.ts'
import type { Store } from '../../src/store.ts'
import type { History } from './checker.ts'
import type { domains, LedgerDocument, MarkEvent } from './perform.ts'
import { documentMark, eventMark, ledgerMark, removalMark } from './script.ts'

export async function readHistory(store: Store<typeof domains>): Promise<History> {
  const [backend] = store.backends.values()
  if (backend === undefined) throw new Error('The store has no backend')
  const { isSound } = await verifyDomain(backend, 'app', { pageItems: 100 })
  const { items, head } = await readAll(store)
  const marks = new Map<string, number>()
  const streams = new Map<string, number[]>()
  let declarations = 0
  for (const item of items) {
    for (const mark of marksIn(item)) marks.set(mark, (marks.get(mark) ?? 0) + 1)
    if (item.kind === 'event') streams.set(item.stream, [...(streams.get(item.stream) ?? []), item.seq])
    else if (item.collection === '$collections') declarations++
  }
  return { marks, positions: items.map(({ position }) => position), head, streams, declarations, isSound }
}

async function readAll(
  store: Store<typeof domains>,
): Promise<{ items: readonly FeedItem<MarkEvent>[]; head: number }> {
  const items: FeedItem<MarkEvent>[] = []
  for (let after = 0; ; ) {
    const page = await store.domain('app').changes({ after, limit: 100 })
    items.push(...page.items)
    after = page.next
    if (page.next === page.head) return { items, head: page.head }
  }
}

function marksIn(item: FeedItem<MarkEvent>): readonly string[] {
  if (item.kind === 'event') return [eventMark(item.data.n, item.data.part)]
  if (item.collection === 'ledgers' && item.kind === 'document')
    return (item.value as LedgerDocument).lines.map(ledgerMark)
  if (item.collection !== 'operations') return []
  const n = Number(item.id.slice('op-'.length))
  // A document is removed only if it is present: its tombstone says of both operations that they were there.
  return item.kind === 'document' ? [documentMark(n)] : [documentMark(n), removalMark(n)]
}
