/** Emmett on PostgreSQL, with the pool that it opens by itself. */
import { dumbo } from '@event-driven-io/dumbo'
import { getPostgreSQLEventStore, readMessagesBatch } from '@event-driven-io/emmett-postgresql'
import pg from 'pg'
import { fill } from './emmett.ts'
import type { OpenPeer } from './peer.ts'

export const emmettPostgres: OpenPeer = async (url) => {
  const store = getPostgreSQLEventStore(url)
  await store.schema.migrate()
  return {
    durability: 'synchronous_commit=on',
    append: (stream, event) => store.appendToStream(stream, [event]),
    count: () => count(url),
    readStream: async (stream) => (await store.readStream(stream)).events.length,
    async readAll() {
      const { execute, close } = dumbo({ connectionString: url })
      let found = 0
      for (let after = 0n; ; ) {
        const page = await readMessagesBatch(execute, { after, batchSize: 1_000 })
        found += page.messages.length
        if (page.messages.length === 0) break
        after = page.currentGlobalPosition
      }
      await close()
      return found
    },
    fill: (streams, each) => fill(store, streams, each),
    close: () => store.close(),
  }
}

async function count(connectionString: string): Promise<number> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  const { rows } = await client.query('SELECT count(*)::int AS n FROM emt_messages')
  await client.end()
  return rows[0].n
}
