/**
 * Who writes what. Every file belongs to one writer, by a hash of its name, so that its stream gets git's order
 * whatever the writers do; a commit over the files of three writers becomes one transaction in each of them. Each writer
 * gets its list as a file of JSON lines, and a writer that takes over from a dead one reads the same list.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type GitChange, readHistory } from './history.ts'

/** One change to write, or, without a change, a commit to count. */
export interface Item {
  readonly commit: string
  readonly author: string
  readonly time: string
  /** One item of each commit, among all writers, counts the commit for its author. */
  readonly countsCommit: boolean
  readonly change: GitChange | null
}

export interface Plan {
  readonly lists: readonly string[]
  /** How many items each list has. */
  readonly items: readonly number[]
  readonly commits: number
  readonly changes: number
  /** The order of the commits in git. */
  readonly order: ReadonlyMap<string, number>
}

/** Reads the history and writes a list for each writer. */
export async function makePlan(repo: string, head: string, folder: string, writers: number): Promise<Plan> {
  const lists = Array.from({ length: writers }, (_, i) => join(folder, `writer-${i + 1}.jsonl`))
  const files = lists.map((list) => createWriteStream(list))
  const items = lists.map(() => 0)
  const order = new Map<string, number>()
  let changes = 0
  for await (const { hash, author, time, changes: changed } of readHistory(repo, head)) {
    order.set(hash, order.size)
    changes += changed.length
    const all: readonly (GitChange | null)[] = changed.length === 0 ? [null] : changed
    for (const [i, change] of all.entries()) {
      const writer = writerOf(change?.file ?? hash, writers)
      const item: Item = { commit: hash, author, time, countsCommit: i === 0, change }
      items[writer] = (items[writer] ?? 0) + 1
      const file = files[writer]
      if (file?.write(`${JSON.stringify(item)}\n`) === false) await once(file, 'drain')
    }
  }
  await Promise.all(files.map((file) => once(file.end(), 'finish')))
  return { lists, items, commits: order.size, changes, order }
}

/** The items of a list, without the first `skip`. */
export async function* readList(list: string, skip = 0): AsyncGenerator<Item> {
  let line = 0
  for await (const text of createInterface({ input: createReadStream(list), crlfDelay: 0 }))
    if (++line > skip) yield JSON.parse(text) as Item
}

function writerOf(text: string, writers: number): number {
  return createHash('sha256').update(text).digest().readUInt32BE(0) % writers
}
