/** What must be equal, counted from the feed. */
import type { Domain, StoredDocument } from 'underpin'
import type { AuthorDocument, ChangeEvent, FileDocument, WriterDocument } from './model.ts'
import { type Plan, readList } from './plan.ts'

export type History = Domain<
  ChangeEvent,
  { files: FileDocument; authors: AuthorDocument; writers: WriterDocument }
>

/** One thing that was compared. */
export interface Check {
  readonly what: string
  readonly found: string
  readonly isEqual: boolean
}

export function check(what: string, found: unknown, expected: unknown): Check {
  const isEqual = found === expected
  return { what, found: isEqual ? `${found}` : `${found}, but expected ${expected}`, isEqual }
}

/** What a feed holds: how often each change, how many changes of each file, and what is out of git's order. */
export interface FeedCount {
  readonly events: number
  readonly doubled: number
  readonly disordered: number
  /** Commit and file of every change. */
  readonly changes: ReadonlySet<string>
  readonly files: ReadonlyMap<string, number>
}

export async function countFeed(history: History, order: Plan['order']): Promise<FeedCount> {
  const changes = new Set<string>()
  const files = new Map<string, number>()
  const lastOf = new Map<string, number>()
  let events = 0
  let disordered = 0
  for (let after = 0, isBehind = true; isBehind; ) {
    const page = await history.changes({ after, limit: 5_000 })
    for (const item of page.items) {
      if (item.kind !== 'event') continue
      events++
      changes.add(changeKey(item.data.commit, item.stream))
      files.set(item.stream, (files.get(item.stream) ?? 0) + 1)
      const place = order.get(item.data.commit) ?? -1
      if (item.seq !== files.get(item.stream) || place < (lastOf.get(item.stream) ?? 0)) disordered++
      lastOf.set(item.stream, place)
    }
    after = page.next
    isBehind = page.next < page.head
  }
  return { events, doubled: events - changes.size, disordered, changes, files }
}

/** What a dead writer left: of its list, everything up to its checkpoint and nothing beyond. */
export interface Remains {
  /** Changes that were acknowledged before the kill, and how many of them are there. */
  readonly acknowledged: number
  readonly found: number
  /** Changes that were written by a transaction whose acknowledgement the parent never got. */
  readonly unheard: number
  /** Changes that are there without their checkpoint, or missing behind it: half transactions. */
  readonly half: number
}

export async function examine(
  history: History,
  order: Plan['order'],
  { name, list }: { readonly name: string; readonly list: string },
  acknowledged: number,
): Promise<Remains> {
  const { changes } = await countFeed(history, order)
  const done = (await history.documents('writers').get(name))?.value.done ?? 0
  const remains = { acknowledged: 0, found: 0, unheard: 0, half: 0 }
  let line = 0
  for await (const { commit, change } of readList(list)) {
    line++
    if (change === null) continue
    const isThere = changes.has(changeKey(commit, change.file))
    if (line <= acknowledged) remains.acknowledged++
    if (line <= acknowledged && isThere) remains.found++
    if (line > acknowledged && isThere) remains.unheard++
    if (isThere !== line <= done) remains.half++
  }
  return remains
}

/** How many authors' documents differ from the recount, or are only on one side. */
export async function countWrongAuthors(
  history: History,
  recounted: ReadonlyMap<string, AuthorDocument>,
): Promise<number> {
  const documents = await collect(history.documents('authors').all())
  const wrong = documents.filter(({ id, value }) => !isSameAuthor(value, recounted.get(id)))
  return wrong.length + Math.max(0, recounted.size - documents.length)
}

/** How many files' documents do not count what their streams hold, or are only on one side. */
export async function countWrongFiles(history: History, files: FeedCount['files']): Promise<number> {
  const documents = await collect(history.documents('files').all())
  const wrong = documents.filter(({ id, value }) => value.changes !== files.get(id))
  return wrong.length + Math.max(0, files.size - documents.length)
}

function isSameAuthor(a: AuthorDocument, b: AuthorDocument | undefined): boolean {
  return a.commits === b?.commits && a.changes === b.changes && a.added === b.added && a.deleted === b.deleted
}

async function collect<T>(all: AsyncIterable<StoredDocument<T>>): Promise<StoredDocument<T>[]> {
  const documents: StoredDocument<T>[] = []
  for await (const document of all) documents.push(document)
  return documents
}

function changeKey(commit: string, file: string): string {
  return `${commit} ${file}`
}
