/** Emmett: its event stores in memory and on SQLite, the latter with one shared connection and as it comes. */
import { join } from 'node:path'
import { getInMemoryEventStore } from '@event-driven-io/emmett'
import { getSQLiteEventStore, readMessagesBatch, sqliteConnection } from '@event-driven-io/emmett-sqlite'
import { event } from '../work.ts'
import type { OpenPeer } from './peer.ts'

export const emmettMemory: OpenPeer = async () => {
  const store = getInMemoryEventStore()
  return {
    durability: 'none',
    append: (stream, event) => store.appendToStream(stream, [event]),
    readStream: async (stream) => (await store.readStream(stream)).events.length,
    fill: (streams, each) => fill(store, streams, each),
    async close() {},
  }
}

export const emmettShared: OpenPeer = async (folder) => {
  const fileName = join(folder, 'emmett.db')
  const connection = sqliteConnection({ fileName })
  const store = getSQLiteEventStore({ fileName, connectionOptions: { singleton: true, connection } })
  return {
    durability: 'synchronous=FULL, but answered before COMMIT when callers meet on the connection',
    append: (stream, event) => store.appendToStream(stream, [event]),
    count: () => count(connection),
    readStream: async (stream) => (await store.readStream(stream)).events.length,
    async readAll() {
      let found = 0
      for (let after = 0n; ; ) {
        const page = await readMessagesBatch(connection, { after, batchSize: 1_000 })
        found += page.messages.length
        if (!page.areEventsLeft) return found
        after = page.currentGlobalPosition
      }
    },
    fill: (streams, each) => fill(store, streams, each),
    async close() {
      connection.close()
    },
  }
}

export const emmettDefault: OpenPeer = async (folder) => {
  const fileName = join(folder, 'emmett.db')
  const store = getSQLiteEventStore({ fileName })
  return {
    durability: 'synchronous=FULL',
    append: (stream, event) => store.appendToStream(stream, [event]),
    async count() {
      const connection = sqliteConnection({ fileName })
      try {
        return await count(connection)
      } finally {
        connection.close()
      }
    },
    async close() {},
  }
}

async function count(connection: ReturnType<typeof sqliteConnection>): Promise<number> {
  const row = await connection.querySingle<{ n: number }>('SELECT count(*) AS n FROM emt_messages')
  return row?.n ?? 0
}

export async function fill(
  store: { appendToStream(stream: string, events: ReturnType<typeof event>[]): Promise<unknown> },
  streams: number,
  each: number,
): Promise<void> {
  for (let s = 0; s < streams; s++)
    await store.appendToStream(
      `stream-${s}`,
      Array.from({ length: each }, (_, i) => event(s * each + i)),
    )
}
