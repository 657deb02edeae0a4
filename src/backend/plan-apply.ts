/** What a page of the feed does to a follower: the same, byte for byte, as it did to the authority. */
import { UnderpinError } from '../error.ts'
import { type Change, verifyChange } from '../model/change.ts'
import { plainCollection } from '../model/collection.ts'
import type { FeedPart } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { isTruncation } from '../model/truncation.ts'
import { isVerified, noteVerified } from '../model/verified.ts'
import { type Base, declaredIn, type Plan, uniqueKeysOf } from './plan.ts'
import { holderKey, Stage, type View } from './stage.ts'
import { Gaps } from './truncate.ts'

/**
 * Parts a page where it declares a unique index, to be applied one after the other: as in a group of commits, what comes
 * before such a declaration is not held to its indexes yet, and what comes behind it must be judged by indexes that are
 * there. A declaration is a commit of its own, so each part is a page of the feed.
 */
export function inFeedParts(page: FeedPart): readonly FeedPart[] {
  const { items } = page
  const cuts = items.flatMap((change, i) => (declaresUnique(change) ? [i, i + 1] : []))
  if (cuts.length === 0 || items.length === 1) return [page]
  // Truncations further on in the page say why an earlier part lacks events.
  const truncations = [...items.filter(isTruncation), ...(page.truncations ?? [])]
  const parts: FeedPart[] = []
  let begin = 0
  for (const end of new Set([...cuts, items.length])) {
    if (end === begin) continue
    const some = items.slice(begin, end)
    const next = end === items.length ? page.next : (some.at(-1)?.position ?? page.next)
    const after = parts.at(-1)?.next ?? page.after
    parts.push({
      ...{ ...page, items: isVerified(items) ? noteVerified(some) : some, next, truncations },
      ...(after !== undefined && { after }),
    })
    begin = end
  }
  return parts
}

function declaresUnique(change: Change): boolean {
  for (const { indexes } of declaredIn([change]).values())
    if (Object.values(indexes).some(({ unique }) => unique)) return true
  return false
}

/**
 * Asks for all that the page's records are compared with, before one of them can be refused: a view that has to fetch
 * what it is asked for would else be asked for one stream after the other.
 */
function askForAll(view: View, { items }: FeedPart): void {
  for (const change of items)
    if (change.kind === 'event') view.seq(change.stream)
    else view.document(change.collection, change.id)
}

/**
 * Plans a page of the feed, or a part of one (see {@link inFeedParts}), for a follower: verbatim, each record's checksum
 * verified, here or where it was read.
 */
export function planApply(view: View, base: Base, page: FeedPart): Plan {
  if ((page.after ?? base.head) > base.head)
    throw new UnderpinError(
      'fenced',
      `The page is for a copy that ends at position ${page.after}; this one ends at ${base.head}`,
    )
  askForAll(view, page)
  const stage = new Stage(view)
  const gaps = new Gaps(view, page)
  const digest = base.digest.copy()
  const evicted = new Evicted()
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
        evicted.add(collection, holder, position)
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
  }
  if (page.next < last)
    throw new UnderpinError(
      'invalid',
      `The page ends at position ${page.next}, before its last record at ${last}`,
    )
  return {
    outcomes: [],
    changes: evicted.leave(page.items),
    evicted: evicted.documents,
    removed: gaps.removed,
    head: page.next,
    digest,
    isWhole: page.next === page.head,
    stage,
  }
}

/** Documents that gave way to who took their key: older state, whose successor is further on in the feed. */
class Evicted {
  readonly documents: { readonly collection: string; readonly id: string }[] = []
  /** Up to where what the page has of each is older than who took its key. */
  readonly #until = new Map<string, Position>()

  add(collection: string, id: string, position: Position): void {
    this.documents.push({ collection, id })
    this.#until.set(`${collection}\0${id}`, position)
  }

  /** What is to be written: of parts that were read one after the other, the first may hold who gave way in the second. */
  leave(items: readonly Change[]): readonly Change[] {
    if (this.#until.size === 0) return items
    return items.filter(
      (change) =>
        change.kind === 'event' ||
        change.position > (this.#until.get(`${change.collection}\0${change.id}`) ?? 0),
    )
  }
}
