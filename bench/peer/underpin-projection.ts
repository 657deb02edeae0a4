/** Underpin's projections, through the public surface. */
import { join } from 'node:path'
import { events, fold, openStore, projection } from 'underpin'
import { event, type Happened } from '../work.ts'
import type { OpenPeer } from './peer.ts'

const counts = projection<{ count: number; last: number }, Happened>({
  name: 'counts',
  version: 1,
  seed: { count: 0, last: 0 },
  step: ({ count }, { data }) => ({ count: count + 1, last: data.n }),
})

/** Every append changes the document of its stream. */
export const inline: OpenPeer = async (folder) => {
  const store = await openStore(`sqlite:${join(folder, 'bench.db')}`, {
    domains: { bench: { events: events<Happened>(), projections: { inline: [counts] } } },
  })
  const bench = store.domain('bench')
  return {
    durability: 'synchronous=FULL',
    append: (stream, event) => bench.log.append(stream, event),
    async count() {
      let sum = 0
      for (let cursor: string | undefined; ; ) {
        const page = await bench.projection(counts).list({ limit: 1_000, ...(cursor && { cursor }) })
        for (const { value } of page.documents) sum += value.count
        cursor = page.cursor
        if (cursor === undefined) return sum
      }
    },
    close: () => store.close(),
  }
}

/** The feed, folded. */
export const replayed: OpenPeer = async (folder) => {
  const store = await openStore(`sqlite:${join(folder, 'bench.db')}`, {
    domains: { bench: { events: events<Happened>() } },
  })
  const bench = store.domain('bench')
  return {
    durability: 'synchronous=FULL',
    async fill(streams, each) {
      for (let s = 0; s < streams; s++)
        await bench.log.append(
          `stream-${s}`,
          Array.from({ length: each }, (_, i) => event(s * each + i)),
        )
    },
    async readAll() {
      let sum = 0
      for (const { count } of (await bench.projection(counts).replay()).values()) sum += count
      return sum
    },
    close: () => store.close(),
  }
}

/** Events that are decoded already. */
export const live: OpenPeer = async () => ({
  durability: 'none',
  async fold(count) {
    const decoded = Array.from({ length: count }, (_, n) => ({
      stream: `stream-${n % 1_000}`,
      ...event(n),
      meta: undefined,
      at: n,
    }))
    return () => {
      if (fold(counts, decoded).size !== Math.min(1_000, count)) throw new Error('not all keys')
    }
  },
  close: async () => {},
})
