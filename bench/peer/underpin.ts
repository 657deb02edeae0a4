/** Underpin, through its public surface, as an application uses it. */
import { join } from 'node:path'
import { openStore } from 'underpin'
import { openStoreSync } from 'underpin/sync'
import { event } from '../work.ts'
import type { OpenPeer, Peer } from './peer.ts'

const domains = { bench: { collections: { things: {} } } } as const

async function open(url: string, durability: string): Promise<Peer> {
  const store = await openStore(url, { domains })
  const bench = store.domain('bench')
  const things = bench.documents('things')
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
    put: (id, value) => things.put(id, value as never),
    get: (id) => things.get(id),
    close: () => store.close(),
  }
}

export const underpinSqlite: OpenPeer = (folder) =>
  open(`sqlite:${join(folder, 'bench.db')}`, 'synchronous=FULL')
export const underpinMemory: OpenPeer = () => open('memory:', 'none')

/** The synchronous verbs. */
export const underpinSync: OpenPeer = async (folder) => {
  const store = openStoreSync(`sqlite:${join(folder, 'bench.db')}`, { domains })
  const things = store.domain('bench').documents('things')
  return {
    durability: 'synchronous=FULL',
    put: async (id, value) => things.put(id, value as never),
    getSync: (id) => things.get(id),
    close: async () => store.close(),
  }
}
