/** What a repair does to a follower: which records go, and which are put in their place. Pure, as all plans are. */
import { UnderpinError } from '../error.ts'
import { type Change, describeChange, keyOf, keyText, type RecordKey, verifyChange } from '../model/change.ts'
import { definitionsCollection } from '../model/collection.ts'
import type { DocumentKey } from '../model/document.ts'
import type { EventKey } from '../model/event.ts'
import { quote } from '../model/key.ts'
import type { FeedPart } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { truncationsCollection } from '../model/truncation.ts'
import { uniqueKeysOf } from './plan.ts'
import type { View } from './stage.ts'

export interface RepairPlan {
  readonly items: readonly Change[]
  /** To be removed before the items are put: what stands under their keys among them. */
  readonly events: readonly EventKey[]
  /** The same; documents that hold a unique key of an item among them. */
  readonly documents: readonly DocumentKey[]
  /** Whether the digest is to be summed up: at the end of the repair. */
  readonly isLast: boolean
}

/** Plans the repair of a follower that is at `head`. */
export function planRepair(view: View, head: Position, page: FeedPart): RepairPlan {
  checkHead(head, page)
  const { items: given, next, repair } = page
  // At the head that it was made for nothing is newer, whatever position a foreign record says that it has.
  const isNewer = next === head ? () => false : newerThan(view, next)
  const keys = new Map<string, RecordKey>()
  for (const key of repair?.gone ?? []) if (!isNewer(key)) keys.set(keyText(key), key)
  const put = new Set<string>()
  const items: Change[] = []
  for (const item of given) {
    const key = keyOf(verifyChange(item))
    const text = keyText(key)
    if (item.position > next || put.has(text)) throw unfit(item)
    put.add(text)
    const holders = holdersOf(view, item)
    if (isNewer(key) || holders.some(isNewer)) continue
    items.push(item)
    for (const gone of [key, ...holders]) keys.set(keyText(gone), gone)
  }
  const all = [...keys.values()]
  const documents = all.filter((key) => 'collection' in key)
  for (const { collection } of documents) checkRepairable(view, collection)
  const isLast = repair?.isPart !== true
  return { items, events: all.filter((key) => 'stream' in key), documents, isLast }
}

function checkHead(head: Position, { next, repair }: FeedPart): void {
  const isOvertaken = next < head && (repair?.gone ?? []).some((key) => 'stream' in key)
  if (next <= head && !isOvertaken) return
  throw new UnderpinError('conflict', `The repair was made for position ${next}; the copy is at ${head}`, {
    hint: 'Look again: the copy took a page meanwhile.',
    details: { expected: next, found: head },
  })
}

/** Whether a copy that took pages since a repair was made knows better: of a document, or of a stream that was truncated. */
function newerThan(view: View, next: Position): (key: RecordKey) => boolean {
  return (key) => {
    const { collection, id } =
      'collection' in key ? key : { collection: truncationsCollection, id: key.stream }
    return (view.document(collection, id)?.position ?? 0) > next
  }
}

/** Documents that hold a unique key of an item: they are put right by an item of their own, or come again with the feed. */
function holdersOf(view: View, item: Change): DocumentKey[] {
  if (item.kind !== 'document') return []
  const { collection, id, data } = item
  const definition = view.definition(collection)
  const keys = definition === undefined ? [] : uniqueKeysOf(definition, data)
  return keys.flatMap(([index, key]) => {
    const holder = view.holder(collection, index, key)
    return holder === undefined || holder === id ? [] : [{ collection, id: holder }]
  })
}

/** Declarations are tables and indexes too: what differs there, a fresh copy puts right. */
function checkRepairable(view: View, collection: string): void {
  if (collection !== definitionsCollection && view.definition(collection) !== undefined) return
  throw new UnderpinError(
    'invalid',
    `The declaration of collection ${quote(collection)} cannot be repaired`,
    {
      hint: 'Make a fresh copy: cancel the move, and start it again.',
      details: { collection },
    },
  )
}

function unfit(item: Change): UnderpinError {
  return new UnderpinError('invalid', `${describeChange(item)} is behind the copy's head, or named twice`, {
    details: { position: item.position },
  })
}
