/** What a page of the feed does to a follower: the same, byte for byte, as it did to the authority. */
import { UnderpinError } from '../error.ts'
import { verifyChange } from '../model/change.ts'
import { plainCollection } from '../model/collection.ts'
import type { FeedPart } from '../model/page.ts'
import { isTruncation } from '../model/truncation.ts'
import { isVerified } from '../model/verified.ts'
import { type Base, type Plan, uniqueKeysOf } from './plan.ts'
import { holderKey, Stage, type View } from './stage.ts'
import { Gaps } from './truncate.ts'

/**
 * Asks for all that the page's records are compared with, before one of them can be refused: a view that has to fetch
 * what it is asked for would else be asked for one stream after the other.
 */
function askForAll(view: View, { items }: FeedPart): void {
  for (const change of items)
    if (change.kind === 'event') view.seq(change.stream)
    else view.document(change.collection, change.id)
}

/** Plans a page of the feed for a follower: verbatim, each record's checksum verified, here or where it was read. */
export function planApply(view: View, base: Base, page: FeedPart): Plan {
  if ((page.after ?? base.head) > base.head)
    throw new UnderpinError(
      'fenced',
      `The page is for a copy that ends at position ${page.after}; this one ends at ${base.head}`,
    )
  askForAll(view, page)
  const stage = new Stage(view)
  // A definition that was changed stands in the feed behind documents that were put under the one before.
  for (const change of page.items) if (change.kind === 'document') stage.declare(change)
  const gaps = new Gaps(view, page)
  const digest = base.digest.copy()
  const evicted: { collection: string; id: string }[] = []
  const isKnown = isVerified(page.items)
  let last = base.head
  for (const change of page.items) {
    if (change.position <= last)
      throw new UnderpinError(
        'invalid',
        `The page does not continue this copy: position ${change.position} after ${last}`,
      )
    if (!isKnown) verifyChange(change)
    last = change.position
    digest.add(change.checksum)
    if (change.kind === 'event') {
      gaps.check(change, stage.seq(change.stream))
      stage.setSeq(change.stream, change.seq)
      continue
    }
    const { collection, id, position, checksum } = change
    if (isTruncation(change)) digest.subtract(gaps.close(change, stage.seq(id)))
    // Declared again behind this page: a plain collection until then.
    const definition = stage.definition(collection) ?? plainCollection
    const before = stage.document(collection, id)
    if (before !== undefined) digest.subtract(before.checksum)
    const keys: string[] = []
    for (const [index, key] of change.kind === 'document' ? uniqueKeysOf(definition, change.data) : []) {
      const holder = stage.holder(collection, index, key)
      const held = holder === undefined || holder === id ? undefined : stage.document(collection, holder)
      if (holder !== undefined && held !== undefined) {
        digest.subtract(held.checksum)
        stage.setDocument(collection, holder, null, [])
        evicted.push({ collection, id: holder })
      }
      keys.push(holderKey(collection, index, key))
    }
    const isTombstone = change.kind === 'tombstone'
    stage.setDocument(
      collection,
      id,
      { position, checksum, expiresAt: isTombstone ? null : change.expiresAt, isTombstone },
      keys,
    )
    if (!isTombstone) stage.declare(change)
  }
  if (page.next < last)
    throw new UnderpinError(
      'invalid',
      `The page ends at position ${page.next}, before its last record at ${last}`,
    )
  return {
    outcomes: [],
    changes: page.items,
    evicted,
    removed: gaps.removed,
    head: page.next,
    digest,
    stage,
  }
}
