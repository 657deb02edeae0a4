/** Keyv on PostgreSQL: one upsert for each set, on a pool of its own. */
import KeyvPostgres from '@keyv/postgres'
import Keyv from 'keyv'
import type { OpenPeer } from './peer.ts'

export const keyvPostgres: OpenPeer = async (url) => {
  const keyv = new Keyv({ store: new KeyvPostgres({ uri: url }) })
  return {
    durability: 'synchronous_commit=on',
    put: (id, value) => keyv.set(id, value),
    get: (id) => keyv.get(id),
    close: () => keyv.disconnect(),
  }
}
