/** What processes of the tests can be told to do with a store. */
import { setTimeout as pause } from 'node:timers/promises'
import { isUnderpinError, openBackend } from '../../src/index.ts'
import { openStoreSync } from '../../src/sync.ts'
import { type App, domains, keep, openApp, urlOf } from './app.ts'
import { type CommitPlan, commitAtRandom, type Race, raceForAll, type Told, type Won } from './commits.ts'

/** The type of the event that ends reading, for readers that cannot know its position. */
export const endMark = 'end'

export interface Seen {
  /** The positions of the events delivered, in the order of delivery. */
  readonly events: number[]
  /** The position of the last delivery of each document. */
  readonly documents: Record<string, number>
  /** Deliveries that did not come behind the one before. */
  readonly outOfOrder: number
}

interface Delivery {
  readonly kind: string
  readonly position: number
  readonly type?: string
  readonly id?: string
  readonly collection?: string
}

/** Takes deliveries until the last one: at a position that is known, or an event that says so. */
class Reader implements Seen {
  readonly events: number[] = []
  readonly documents: Record<string, number> = {}
  outOfOrder = 0
  isOver = false
  readonly #end: number
  #last = 0

  constructor(end: number) {
    this.#end = end
  }

  take(item: Delivery): void {
    if (item.position <= this.#last) this.outOfOrder++
    this.#last = item.position
    if (item.position >= this.#end || item.type === endMark) this.isOver = true
    if (item.kind === 'event') this.events.push(item.position)
    else this.documents[`${item.collection}/${item.id}`] = item.position
  }
}

async function append(app: App, attempt: () => number): Promise<'won' | 'lost'> {
  try {
    await app.log.append('race', { type: 'tried', data: process.pid }, { expect: attempt() })
    return 'won'
  } catch (error) {
    if (isUnderpinError(error, 'conflict')) return 'lost'
    throw error
  }
}

export const tasks = {
  /** Opens a store, looks at it, closes it. */
  async open({ path, isSync = false }: { path: string; isSync?: boolean }): Promise<number> {
    if (isSync) {
      using store = openStoreSync(`sqlite:${path}`, { domains, deadlineMs: 60_000 })
      return store.domain('app').head()
    }
    await using store = await openApp(path)
    return await store.domain('app').head()
  },

  /** Opens a store as a user who is not root. */
  async openUnprivileged({ path }: { path: string }): Promise<number> {
    if (process.getuid?.() === 0) process.setuid?.(65_534)
    return tasks.open({ path })
  },

  /** Opens the store that later calls use. */
  async begin({ path }: { path: string }): Promise<number> {
    return (await keep(path)).head()
  },

  /** Tries several times at once to be the one that appends event `expect + 1`; how often it was. */
  async race({ path, expect, times }: { path: string; expect: number; times: number }): Promise<number> {
    const app = await keep(path)
    const results = await Promise.all(Array.from({ length: times }, () => append(app, () => expect)))
    return results.filter((result) => result === 'won').length
  },

  /** Commits so often, each one change: in turn without and with an expectation, several under way at once. */
  async write({ path, times, name }: { path: string; times: number; name: string }): Promise<number> {
    const app = await keep(path)
    let conflicts = 0
    const turns: ((i: number) => Promise<unknown>)[] = [
      (i) => app.log.append('shared', { type: 'wrote', data: { name, i } }),
      (i) => app.log.append(`own-${name}-${i}`, { type: 'wrote', data: i }, { expect: 'none' }),
      (i) => app.documents('things').put(`t${i % 7}`, { n: i, by: name }),
      async (i) => {
        for (;;) {
          const seq = await app.log.seq('contended')
          const done = await app.log
            .append('contended', { type: 'counted', data: { name, i } }, { expect: seq })
            .catch((error: unknown) => {
              if (!isUnderpinError(error, 'conflict')) throw error
              conflicts++
            })
          if (done !== undefined) return
        }
      },
    ]
    for (let i = 0; i < times; i += turns.length)
      await Promise.all(turns.map((turn, at) => (i + at < times ? turn(i + at) : undefined)))
    return conflicts
  },

  /** Commits at random, several under way at once, and says what it was told. */
  async commit({ path, ...plan }: { path: string } & CommitPlan): Promise<Told> {
    return commitAtRandom(await keep(path), plan)
  },

  /** Appends an event of this type to a stream of its own. */
  async mark({ path, type }: { path: string; type: string }): Promise<number[]> {
    const app = await keep(path)
    return [...(await app.log.append('marks', { type, data: null })).positions]
  },

  /** Takes part in many races at once. */
  async raceMany({ path, ...race }: { path: string } & Race): Promise<Won> {
    return raceForAll(await keep(path), race)
  },

  /**
   * Reads the feed page by page from a position on, again and again, until it has reached `end` or the end mark. A read of an
   * embedded store is answered within the call: without a pause this loop would let nothing else in the process run.
   */
  async poll({
    path,
    after,
    end,
    limit,
  }: {
    path: string
    after: number
    end: number
    limit: number
  }): Promise<Seen> {
    const app = await keep(path)
    const reader = new Reader(end)
    for (let position = after; position < end && !reader.isOver; ) {
      const page = await app.changes({ after: position, limit })
      for (const item of page.items) reader.take(item)
      if (page.next === position) await pause(5)
      position = page.next
    }
    return reader
  },

  /** Follows the feed live from a position on until `end` or the end mark. */
  async follow({ path, after, end }: { path: string; after: number; end: number }): Promise<Seen> {
    const app = await keep(path)
    const reader = new Reader(end)
    const ending = new AbortController()
    for await (const item of app.follow({ after, signal: ending.signal })) {
      reader.take(item)
      if (reader.isOver) ending.abort()
    }
    return reader
  },

  /** Watches the heads as they move until `end`; how many hints came, and how many went back. */
  async watch({ path, end }: { path: string; end: number }): Promise<{ hints: number; back: number }> {
    const backend = await openBackend(urlOf(path))
    await backend.open()
    const ending = new AbortController()
    let [hints, back, last] = [0, 0, -1]
    for await (const head of backend.watch('app', ending.signal)) {
      hints++
      if (head < last) back++
      last = head
      if (head >= end) ending.abort()
    }
    await backend.close()
    return { hints, back }
  },
}

export type Task = keyof typeof tasks
