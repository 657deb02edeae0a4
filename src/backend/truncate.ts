/**
 * Truncation: judged where it is committed, and followed where the feed is applied. The feed of a truncated domain lacks
 * events, and the truncation that took them stands behind the gap: a follower accepts a gap only if it is shown that one.
 */
import { isUnderpinError, UnderpinError } from '../error.ts'
import { verifyChange, type Write } from '../model/change.ts'
import { type Checksum, emptyDigest } from '../model/digest.ts'
import type { Document } from '../model/document.ts'
import type { Event } from '../model/event.ts'
import { quote } from '../model/key.ts'
import type { FeedPart } from '../model/page.ts'
import { isTruncation, type Truncation, toTruncation } from '../model/truncation.ts'
import type { JsonText } from '../model/value.ts'
import type { View } from './stage.ts'

/** Events of a stream below a seq, to be removed. */
export interface Removed {
  readonly stream: string
  readonly before: number
}

/** What a put into `$truncated` removes, and the sum of its checksums; or why it cannot be done. */
export function judgeTruncation(
  view: View,
  removed: readonly Removed[],
  { id, data, expiresAt }: Write & { kind: 'put' },
): (Removed & { readonly sum: Checksum }) | UnderpinError {
  const truncation = tryTruncation(id, data)
  if (truncation instanceof UnderpinError) return truncation
  const { before } = truncation
  const last = view.seq(id)
  const { first, sum } = view.below(id, before)
  if (expiresAt !== null) return untruncatable(id, before, 'a truncation cannot expire')
  if (removed.some(({ stream }) => stream === id))
    return untruncatable(id, before, 'the same commit does so already')
  if (before > last) return untruncatable(id, before, `its last event always stays, which is seq ${last}`)
  if (before < first) return untruncatable(id, before, `it begins at seq ${first} already`)
  return { stream: id, before, sum }
}

function tryTruncation(stream: string, data: JsonText): Truncation | UnderpinError {
  try {
    return toTruncation(stream, data)
  } catch (error) {
    if (isUnderpinError(error)) return error
    throw error
  }
}

function untruncatable(stream: string, before: number, why: string): UnderpinError {
  return new UnderpinError(
    'invalid',
    `Stream ${quote(stream)} cannot be truncated before seq ${before}: ${why}`,
    { details: { stream, before } },
  )
}

/** The gaps that a page leaves in streams, each to be covered by a truncation that stands behind it. */
export class Gaps {
  /** What the page's own truncations remove. */
  readonly removed: Removed[] = []
  readonly #view: View
  readonly #truncations = new Map<string, Document>()
  /** The first seq of each stream in the page. */
  readonly #firsts = new Map<string, number>()

  constructor(view: View, page: FeedPart) {
    this.#view = view
    for (const change of page.items) if (isTruncation(change)) this.#truncations.set(change.id, change)
    for (const truncation of page.truncations ?? [])
      if (isTruncation(truncation)) this.#truncations.set(truncation.id, verifyChange(truncation))
  }

  /** Refuses an event that does not follow the last one, unless all between them are truncated further on. */
  check({ stream, seq, position }: Event, last: number): void {
    if (!this.#firsts.has(stream)) this.#firsts.set(stream, seq)
    if (seq === last + 1) return
    const truncation = this.#truncations.get(stream)
    const isCovered =
      seq > last &&
      truncation !== undefined &&
      truncation.position > position &&
      toTruncation(stream, truncation.data).before >= seq
    if (!isCovered) throw leftOut(stream, seq)
  }

  /** Takes a truncation of the page; the sum of what it removes of what the follower holds. */
  close({ id: stream, data }: Document, last: number): Checksum {
    const { before } = toTruncation(stream, data)
    if (last < before) throw leftOut(stream, before + 1)
    // A page is of one moment: what is truncated in it is in none of its records.
    if ((this.#firsts.get(stream) ?? before) < before) throw leftOut(stream, before)
    const { first, sum } = this.#view.below(stream, before)
    if (first > before) throw leftOut(stream, first)
    this.removed.push({ stream, before })
    return first === 0 ? emptyDigest : sum
  }
}

function leftOut(stream: string, seq: number): UnderpinError {
  return new UnderpinError('invalid', `The page leaves out events of stream ${quote(stream)} before ${seq}`, {
    details: { stream, seq },
  })
}
