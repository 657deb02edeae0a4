/** Changes as they come, for a user interface or anything else that keeps no checkpoint. */
import { UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import { checkAfter, type FeedItem, refuseBeyond } from '../feed.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { UnseenFinder, unseenError } from '../unseen.ts'
import { type ChangeFilter, checkFilter, entriesOf, mayWantStream } from './entry.ts'

export interface LiveOptions {
  /** Only changes with a higher position; the head if left out: only what comes. */
  readonly after?: Position
  readonly filter?: ChangeFilter
  /**
   * What happens when the reader is slower than the changes come: `'wait'` (the default) gives it every change, however
   * late, or fails with `truncated` if events were compacted away before it came to them; `'skip'` tells it what it missed
   * in that case, and when it is more than `behind` positions behind, and goes on at the head.
   */
  readonly slow?: 'wait' | 'skip'
  /** 1,000 if left out. */
  readonly behind?: number
  readonly signal?: AbortSignal
}

/** What a slow reader was not given: the changes behind `after` up to and including `upTo`. Read again what you show. */
export interface Missed {
  readonly kind: 'missed'
  readonly after: Position
  readonly upTo: Position
}

const pageItems = 100
const unseenHint = "Read again what you show, and begin at the head. slow: 'skip' tells you so, and goes on."

/**
 * The changes that are wanted, one at a time. The store keeps them, so nothing is buffered for a slow reader beyond one
 * page, and it holds up nobody.
 */
export async function* live<E extends NewEvent>(
  port: Port,
  options: LiveOptions,
): AsyncGenerator<FeedItem<E> | Missed> {
  const { filter = {}, slow = 'wait', behind = 1_000, signal = new AbortController().signal } = options
  checkFilter(filter)
  if (slow !== 'wait' && slow !== 'skip')
    throw new TypeError(`slow must be wait or skip, not ${String(slow)}`)
  if (!Number.isSafeInteger(behind) || behind < 1)
    throw new UnderpinError('invalid', `behind must be a whole number from 1 on, not ${behind}`)
  if (signal.aborted) return
  const head = await port.head()
  let position = options.after ?? head
  checkAfter(position)
  refuseBeyond(position, head)
  const unseen = new UnseenFinder(port, (stream) => mayWantStream(stream, filter))
  for await (const _hint of port.watch(signal)) {
    for (let isBehind = true; isBehind && !signal.aborted; ) {
      let page = await port.changes(position, pageItems)
      const gone = await unseen.find(position, page)
      if (gone !== undefined && slow === 'wait') throw unseenError('The reader', gone, unseenHint)
      if (gone !== undefined || (slow === 'skip' && page.head - position > behind)) {
        yield { kind: 'missed', after: position, upTo: page.head }
        position = page.head
        page = await port.changes(position, pageItems)
      }
      for (const { items, error } of entriesOf<E>(port, page.items, filter, undefined)) {
        if (error !== undefined) throw error
        for (const item of items) {
          if (signal.aborted) return
          yield item
        }
      }
      position = page.next
      isBehind = page.next < page.head
    }
  }
}
