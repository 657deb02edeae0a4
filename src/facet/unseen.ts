/**
 * Events that were truncated before a reader of the feed came to them. A page cannot show it alone: the stream goes on
 * at some later page, with a seq that does not say what the reader has seen. So each truncation says the position of the
 * last event that it removed; who stands before that has missed something, who stands behind it has not.
 */
import type { CallOptions } from '../backend/backend.ts'
import { UnderpinError } from '../error.ts'
import { definitionsCollection } from '../model/collection.ts'
import type { Document } from '../model/document.ts'
import { quote } from '../model/key.ts'
import type { Cursor, FeedPart, Page } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { isTruncation, truncationsCollection } from '../model/truncation.ts'
import type { Port } from './port.ts'
import { type StoredTruncation, storedTruncation, truncationCollections } from './truncated.ts'

/** A truncation of events behind a reader's position. */
export interface Unseen extends StoredTruncation {
  readonly stream: string
  readonly position: Position
}

/** Finds what a reader of the feed misses, page by page. */
export class UnseenFinder {
  readonly #port: Port
  readonly #isWanted: (stream: string) => boolean
  /** Where the last page ended, and the head up to which truncations are known to concern nothing behind that. */
  #next: Position | undefined
  #known: Position = 0

  constructor(port: Port, isWanted: (stream: string) => boolean) {
    this.#port = port
    this.#isWanted = isWanted
  }

  /**
   * What a page behind `after` lacks, and those that come next do. To be asked for every page, right after it was read:
   * what is truncated while it is taken is in it, and is no loss.
   */
  async find(
    after: Position,
    page: Pick<FeedPart, 'items' | 'next' | 'head'>,
    options?: CallOptions,
  ): Promise<Unseen | undefined> {
    if (!this.#tells(after, page)) {
      const unseen = await findUnseen(this.#port, after, this.#isWanted, options)
      if (unseen !== undefined) return unseen
    }
    this.#next = page.next
    this.#known = page.head
    return undefined
  }

  /** Whether the page itself shows that nothing was truncated since the last one: all that came since is in it. */
  #tells(after: Position, { items, next, head }: Pick<FeedPart, 'items' | 'next' | 'head'>): boolean {
    if (after !== this.#next) return false
    return head === this.#known || (next >= head && !items.some(isTruncation))
  }
}

/** A truncation, of a stream that is wanted, of events behind a position. */
export async function findUnseen(
  port: Port,
  position: Position,
  isWanted: (stream: string) => boolean,
  options?: CallOptions,
): Promise<Unseen | undefined> {
  if (!(await isEverTruncated(port, options))) return undefined
  await port.ensure(truncationCollections)
  const query = {
    collection: truncationsCollection,
    by: 'index',
    index: 'last',
    equals: [],
    from: position + 1,
    backwards: false,
    limit: Math.min(1_000, port.limits.pageItems),
  } as const
  for (let after: Cursor | null = null; ; ) {
    const page: Page<Document, Cursor | null> = await port.scan({ ...query, after }, options)
    for (const record of page.items) {
      const truncation = isWanted(record.id) ? storedTruncation(record) : undefined
      if (truncation !== undefined) return { stream: record.id, position, ...truncation }
    }
    if (page.next === null) return undefined
    after = page.next
  }
}

/** Whether anything was ever truncated in the domain. */
async function isEverTruncated(port: Port, options?: CallOptions): Promise<boolean> {
  const { documents } = await port.get(
    [{ collection: definitionsCollection, id: truncationsCollection }],
    options,
  )
  return documents[0]?.kind === 'document'
}

/** In one sentence. */
export function describeUnseen({ stream, position, before, last, archive }: Unseen): string {
  const where = archive === null ? 'and not archived' : `and archived as ${quote(archive)}`
  return `Events of stream ${quote(stream)} before seq ${before}, up to position ${last}, were truncated ${where} before they were seen: it is at position ${position}`
}

/** The error for a reader that would miss events; `hint` says how it may go on. */
export function unseenError(reader: string, unseen: Unseen, hint: string): UnderpinError {
  const { stream, before, last, archive, position } = unseen
  return new UnderpinError('truncated', `${reader} would miss something. ${describeUnseen(unseen)}`, {
    hint,
    details: { stream, first: before, archive, position, last },
  })
}
