/**
 * One writer process: takes its list from where its checkpoint stands to the end. Says on its standard output what was
 * acknowledged, with a synchronous write right after the acknowledgement, so that it is out before the process can die.
 */
import { writeSync } from 'node:fs'
import { type Domain, openStore, type Transaction } from 'underpin'
import {
  type AuthorDocument,
  type ChangeEvent,
  deadlineMs,
  domainName,
  domains,
  type FileDocument,
  type WriterDocument,
} from './model.ts'
import { type Item, readList } from './plan.ts'

/** What the parent tells a writer. */
export interface WriterJob {
  readonly url: string
  readonly name: string
  readonly list: string
  readonly items: number
  /** Commits of git in one transaction. */
  readonly commitsAtOnce: number
  /** Stops within its last transaction and waits for its death, should it live so long. */
  readonly isDoomed: boolean
}

/** What a writer says, a line each. */
export type WriterLine =
  | { readonly kind: 'ready' }
  /** Stands within its last transaction and waits for its death. */
  | { readonly kind: 'doomed' }
  /** Items acknowledged so far, and how often transactions had to run again. */
  | { readonly kind: 'acknowledged'; readonly done: number; readonly reruns: number }

type Documents = { files: FileDocument; authors: AuthorDocument; writers: WriterDocument }
type History = Domain<ChangeEvent, Documents>

/** A transaction has at most so many items: 10,000 writes are allowed, and an item may make three. */
const mostItems = 1_000

await main(JSON.parse(process.argv[2] ?? '') as WriterJob)

async function main(job: WriterJob): Promise<void> {
  const store = await openStore(job.url, { domains, deadlineMs })
  const history: History = store.domain(domainName)
  const checkpoint = await history.documents('writers').get(job.name)
  let done = checkpoint?.value.done ?? 0
  say({ kind: 'ready' })
  if (!(await isToldToGo())) return store.close()
  for await (const batch of batches(readList(job.list, done), job.commitsAtOnce)) {
    const isLast = done + batch.length === job.items
    const reruns = await write(history, job.name, done, batch, job.isDoomed && isLast)
    done += batch.length
    say({ kind: 'acknowledged', done, reruns })
  }
  await store.close()
}

/** The parent lets all writers go at once, with a byte on their standard input; a parent that died says nothing. */
async function isToldToGo(): Promise<boolean> {
  for await (const _byte of process.stdin) return true
  return false
}

/** The items of some commits, whole commits unless one is very large. */
async function* batches(items: AsyncIterable<Item>, commitsAtOnce: number): AsyncGenerator<readonly Item[]> {
  let batch: Item[] = []
  let commits = 0
  for await (const item of items) {
    const isNextCommit = item.commit !== batch.at(-1)?.commit
    if (batch.length === mostItems || (isNextCommit && commits === commitsAtOnce)) {
      yield batch
      batch = []
      commits = 0
    }
    if (isNextCommit || batch.length === 0) commits++
    batch.push(item)
  }
  if (batch.length > 0) yield batch
}

/** Writes a batch in one transaction; returns how often it had to run again because another writer came between. */
async function write(
  history: History,
  writer: string,
  done: number,
  batch: readonly Item[],
  isDoomed: boolean,
): Promise<number> {
  let runs = 0
  const work = async (tx: Transaction<ChangeEvent, Documents>) => {
    runs++
    // Read within the transaction: were another process to write this list too, one of both would fail.
    const checkpoint = await tx.get('writers', writer)
    if ((checkpoint?.value.done ?? 0) !== done) throw new Error(`${writer} is not the only one with its list`)
    for (const { commit, author, time, change } of batch) {
      if (change === null) continue
      const { file, status, from, added, deleted } = change
      tx.append(file, { type: status, data: { commit, author, time, from, added, deleted } })
    }
    await countFiles(tx, batch)
    await countAuthors(tx, batch)
    tx.put('writers', writer, { done: done + batch.length })
    if (isDoomed) await death()
  }
  await history.transaction(work, { retries: 10_000 })
  return runs - 1
}

async function countFiles(tx: Transaction<ChangeEvent, Documents>, batch: readonly Item[]): Promise<void> {
  for (const [file, items] of groupBy(batch, ({ change }) => change?.file)) {
    const last = items.at(-1)
    if (file === undefined || last?.change == null) continue
    const before = (await tx.get('files', file))?.value
    tx.put('files', file, {
      changes: (before?.changes ?? 0) + items.length,
      added: (before?.added ?? 0) + sum(items, ({ change }) => change?.added),
      deleted: (before?.deleted ?? 0) + sum(items, ({ change }) => change?.deleted),
      lastCommit: last.commit,
      lastStatus: last.change.status,
    })
  }
}

async function countAuthors(tx: Transaction<ChangeEvent, Documents>, batch: readonly Item[]): Promise<void> {
  for (const [author, items] of groupBy(batch, ({ author }) => author)) {
    const before = (await tx.get('authors', author))?.value
    tx.put('authors', author, {
      commits: (before?.commits ?? 0) + items.filter(({ countsCommit }) => countsCommit).length,
      changes: (before?.changes ?? 0) + items.filter(({ change }) => change !== null).length,
      added: (before?.added ?? 0) + sum(items, ({ change }) => change?.added),
      deleted: (before?.deleted ?? 0) + sum(items, ({ change }) => change?.deleted),
    })
  }
}

function sum(items: readonly Item[], of: (item: Item) => number | undefined): number {
  return items.reduce((total, item) => total + (of(item) ?? 0), 0)
}

/** The items by a key, in order. */
function groupBy<K>(items: readonly Item[], keyOf: (item: Item) => K): Map<K, Item[]> {
  const groups = new Map<K, Item[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

/** Announces itself and waits for SIGKILL, whatever else happens. */
function death(): Promise<never> {
  say({ kind: 'doomed' })
  const minute = 60_000
  return new Promise((_, reject) =>
    setTimeout(() => reject(new Error('Nobody came to kill this writer')), minute),
  )
}

/** Out before anything else happens here. Waits while the parent is too busy to hear: the pipe holds only so many lines. */
function say(line: WriterLine): void {
  for (;;)
    try {
      writeSync(1, `${JSON.stringify(line)}\n`)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
}
