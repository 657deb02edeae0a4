/** All peers by name; each is loaded when it is asked for, so that none weighs on another's run. */
import type { OpenPeer } from './peer.ts'

export const peers: Readonly<Record<string, () => Promise<OpenPeer>>> = {
  underpin: async () => (await import('./underpin.ts')).underpinSqlite,
  'underpin, synchronous': async () => (await import('./underpin.ts')).underpinSync,
  'underpin, memory': async () => (await import('./underpin.ts')).underpinMemory,
  'Emmett, memory': async () => (await import('./emmett.ts')).emmettMemory,
  'Emmett SQLite, one connection': async () => (await import('./emmett.ts')).emmettShared,
  'Emmett SQLite, as it comes': async () => (await import('./emmett.ts')).emmettDefault,
  'better-sqlite3, group commit by hand': async () => (await import('./raw-sqlite.ts')).rawGroup,
  'better-sqlite3, autocommit': async () => (await import('./raw-sqlite.ts')).rawSingle,
  'Deno KV': async () => (await import('./key-value.ts')).denoKv,
  'Keyv SQLite': async () => (await import('./key-value.ts')).keyvSqlite,
  lmdb: async () => (await import('./key-value.ts')).lmdb,
}
