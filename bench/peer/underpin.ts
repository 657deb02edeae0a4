/** Underpin, through its public surface, as an application uses it. */
import { join } from 'node:path'
import { defineJobs, type Fold, job, openStore } from 'underpin'
import { postgres } from 'underpin/postgres'
import { openStoreSync } from 'underpin/sync'
import { declared, type FeedPage } from '../feed.ts'
import { event, type Happened } from '../work.ts'
import type { OpenPeer, Peer } from './peer.ts'

const definitions = defineJobs({ work: job<{ n: number }>() })

async function open(url: string, durability: string, domain = 'bench'): Promise<Peer> {
  const store = await openStore(url, { domains: { [domain]: declared } })
  const bench = store.domain(domain)
  const things = bench.documents('things')
  const jobs = bench.jobs(definitions)
  return {
    durability,
    append: (stream, event) => bench.log.append(stream, event),
    count: async () => (await bench.head()) - 1,
    readStream: async (stream) => (await bench.log.read(stream, { limit: 1_000 })).events.length,
    async readAll() {
      let count = 0
      for (let after = 0; ; ) {
        const page = await bench.changes({ after, limit: 1_000 })
        for (const item of page.items) if (item.kind === 'event') count++
        if (page.items.length === 0) return count
        after = page.next
      }
    },
    async fill(streams, each) {
      for (let s = 0; s < streams; s++)
        for (let from = 0; from < each; from += 100)
          await bench.log.append(
            `stream-${s}`,
            Array.from({ length: Math.min(100, each - from) }, (_, i) => event(s * each + from + i)),
          )
    },
    async state(stream, takesSnapshot) {
      const { seq } = await bench.state(users, stream, takesSnapshot ? { snapshot: { events: 1 } } : {})
      return seq
    },
    put: (id, value) => things.put(id, value as never),
    get: (id) => things.get(id),
    lock: (key) => bench.withLock(key, () => undefined),
    enqueue: (n) => jobs.enqueue('work', { n }),
    async workOff(count) {
      let done = 0
      const finished: { resolve: () => void } = { resolve: () => {} }
      const all = new Promise<void>((resolve) => (finished.resolve = resolve))
      const work = async () => {
        if (++done >= count) finished.resolve()
      }
      const worker = await jobs.work({ work }, { concurrency: 64 })
      await all
      await worker.stop()
    },
    close: () => store.close(),
  }
}

/** How often each user is named. */
const users: Fold<Record<string, number>> = {
  name: 'users',
  version: 1,
  seed: {},
  step(counts, { data }) {
    const { user } = data as Happened['data']
    counts[user] = (counts[user] ?? 0) + 1
    return counts
  },
}

export const underpinSqlite: OpenPeer = (folder) =>
  open(`sqlite:${join(folder, 'bench.db')}`, 'synchronous=FULL')
export const underpinPostgres: OpenPeer = async (url, domain) => ({
  ...(await open(url, 'synchronous_commit=on', domain)),
  follow: () => follow(url),
})
export const underpinMemory: OpenPeer = () => open('memory:', 'none')

/** The synchronous verbs. */
export const underpinSync: OpenPeer = async (folder) => {
  const store = openStoreSync(`sqlite:${join(folder, 'bench.db')}`, { domains: { bench: declared } })
  const things = store.domain('bench').documents('things')
  return {
    durability: 'synchronous=FULL',
    put: async (id, value) => things.put(id, value as never),
    getSync: (id) => things.get(id),
    close: async () => store.close(),
  }
}

/** What a move does with each page, at the seam: nothing outside takes pages. */
async function follow(url: string) {
  const backend = postgres(url)
  await backend.open()
  const vacant = await backend.fence('copy')
  await backend.transition('copy', vacant, { ...vacant, role: 'prepared', epoch: 1, incarnation: 'copy' })
  return (page: FeedPage) => backend.apply('copy', 1, page)
}
