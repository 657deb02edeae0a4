/** All peers by name; each is loaded when it is asked for, so that none weighs on another's run. */
import type { OpenPeer } from './peer.ts'

const peers: Readonly<Record<string, () => Promise<OpenPeer>>> = {
  underpin: async () => (await import('./underpin.ts')).underpinSqlite,
  'underpin, synchronous': async () => (await import('./underpin.ts')).underpinSync,
  'underpin, memory': async () => (await import('./underpin.ts')).underpinMemory,
  'underpin, PostgreSQL': async () => (await import('./underpin.ts')).underpinPostgres,
  'underpin, inline projection': async () => (await import('./underpin-projection.ts')).inline,
  'underpin, replayed': async () => (await import('./underpin-projection.ts')).replayed,
  'underpin, live': async () => (await import('./underpin-projection.ts')).live,
  'Emmett, memory': async () => (await import('./emmett.ts')).emmettMemory,
  'Emmett SQLite, one connection': async () => (await import('./emmett.ts')).emmettShared,
  'Emmett SQLite, as it comes': async () => (await import('./emmett.ts')).emmettDefault,
  'Emmett PostgreSQL': async () => (await import('./emmett-postgres.ts')).emmettPostgres,
  'better-sqlite3, group commit by hand': async () => (await import('./raw-sqlite.ts')).rawGroup,
  'better-sqlite3, autocommit': async () => (await import('./raw-sqlite.ts')).rawSingle,
  'pg, group commit by hand': async () => (await import('./raw-postgres.ts')).rawGroup,
  'pg, one call each': async () => (await import('./raw-postgres.ts')).rawSingle,
  'plpgsql function, group commit by hand': async () => (await import('./in-server.ts')).inServer,
  'COPY by hand': async () => (await import('./raw-copy.ts')).rawCopy,
  'underpin, move to PostgreSQL': async () => (await import('./underpin-move.ts')).toPostgres,
  'underpin, move to SQLite': async () => (await import('./underpin-move.ts')).toSqlite,
  'raw copy to PostgreSQL': async () => (await import('./raw-move.ts')).toPostgres,
  'raw copy to SQLite': async () => (await import('./raw-move.ts')).toSqlite,
  'message-db': async () => (await import('./message-db.ts')).messageDb,
  'Deno KV': async () => (await import('./key-value.ts')).denoKv,
  'Keyv SQLite': async () => (await import('./key-value.ts')).keyvSqlite,
  'Keyv PostgreSQL': async () => (await import('./keyv-postgres.ts')).keyvPostgres,
  'pg-boss': async () => (await import('./pg-boss.ts')).pgBoss,
  'pg-boss, batches of 500': async () => (await import('./pg-boss.ts')).pgBossBatches,
  'graphile-worker': async () => (await import('./graphile-worker.ts')).graphileWorker,
  lmdb: async () => (await import('./key-value.ts')).lmdb,
}

export async function openerOf(name: string): Promise<OpenPeer> {
  const open = await peers[name]?.()
  if (open === undefined) throw new Error(`no peer ${name}`)
  return open
}
