/** Stores of documents by key: Deno KV, Keyv on SQLite, LMDB. */
import { join } from 'node:path'
import { openKv } from '@deno/kv'
import KeyvSqlite from '@keyv/sqlite'
import Keyv from 'keyv'
import { open } from 'lmdb'
import type { OpenPeer } from './peer.ts'

export const denoKv: OpenPeer = async (folder) => {
  const kv = await openKv(join(folder, 'deno.db'))
  return {
    durability: 'as it comes (WAL; the level of syncing cannot be set)',
    put: (id, value) => kv.set([id], value),
    get: (id) => kv.get([id]),
    async close() {
      kv.close()
    },
  }
}

export const keyvSqlite: OpenPeer = async (folder) => {
  const store = new KeyvSqlite(`sqlite://${join(folder, 'keyv.db')}`)
  const keyv = new Keyv({ store })
  return {
    durability: 'as it comes (rollback journal, synchronous=FULL)',
    put: (id, value) => keyv.set(id, value),
    get: (id) => keyv.get(id),
    close: () => keyv.disconnect(),
  }
}

export const lmdb: OpenPeer = async (folder) => {
  const db = open({ path: join(folder, 'lmdb'), encoding: 'json' })
  let position = 0
  return {
    durability: 'flushed to disk, in groups of its own',
    // No streams, no checks: a put by position, the least that an append could be there.
    async append(_stream, event) {
      await db.put(++position, event)
      await db.flushed
    },
    count: async () => db.getCount(),
    async put(id, value) {
      await db.put(id, value)
      await db.flushed
    },
    get: async (id) => db.get(id),
    getSync: (id) => db.get(id),
    close: () => db.close(),
  }
}
