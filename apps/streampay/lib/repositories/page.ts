/** Pages in the order of (time, id) behind a record's id: the same on every store, and through a move from one to another. */
import type { Documents } from 'underpin'
import { decodeCursor, encodeCursor, type Page, type PageOptions, UnknownCursor } from '../db.ts'

const defaultLimit = 50
const limitMax = 200

interface Listing<T> {
  readonly index: string
  readonly equals: readonly string[]
  /** The field behind `equals` in the index: a time that never changes. */
  readonly time: (value: T) => number
}

export async function pageOf<T extends { readonly id: string }>(
  documents: Documents<T>,
  { index, equals, time }: Listing<T>,
  { cursor, limit = defaultLimit }: PageOptions,
): Promise<Page<T>> {
  const size = Math.min(limit, limitMax)
  const last = cursor === undefined ? undefined : await recordOf(documents, cursor)
  const from = last === undefined ? {} : { from: time(last) }
  const items: T[] = []
  for await (const { value } of documents.all({ index, equals, ...from, limit: size + 1 })) {
    // Records of the same millisecond: those up to the last one were on the page before.
    if (last !== undefined && time(value) === time(last) && !isBehind(value.id, last.id)) continue
    items.push(value)
    if (items.length > size) break
  }
  const page = items.slice(0, size)
  const end = page.at(-1)
  return { items: page, cursor: items.length > size && end !== undefined ? encodeCursor(end.id) : undefined }
}

async function recordOf<T>(documents: Documents<T>, cursor: string): Promise<T> {
  const id = decodeCursor(cursor)
  const found = id === undefined ? undefined : await documents.get(id)
  if (found === undefined) throw new UnknownCursor(cursor)
  return found.value
}

/** As stores order ids: by code point. All ids here are ASCII. */
function isBehind(id: string, last: string): boolean {
  return id > last
}
