/**
 * What a careful engineer writes by hand on better-sqlite3: a queue, one transaction for each group, seqs from a Map.
 * No fence, no checksum, no digest, no second process: the bare cost of the same durability.
 */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { event, type Happened } from '../work.ts'
import type { OpenPeer } from './peer.ts'

export const rawGroup: OpenPeer = (folder) => open(folder, true)
export const rawSingle: OpenPeer = (folder) => open(folder, false)

async function open(folder: string, isGrouped: boolean) {
  const db = new Database(join(folder, 'raw.db'))
  db.pragma('journal_mode = WAL')
  db.exec(
    `CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL);
     CREATE UNIQUE INDEX by_stream ON events (stream, seq);
     CREATE TABLE things (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, data TEXT NOT NULL) WITHOUT ROWID`,
  )
  // better-sqlite3 lowers it to NORMAL with the first write in WAL mode.
  db.pragma('synchronous = FULL')
  const insert = db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?)')
  const upsert = db.prepare('INSERT OR REPLACE INTO things VALUES (?, ?, ?)')
  const select = db.prepare('SELECT data, revision FROM things WHERE id = ?')
  const stream = db.prepare('SELECT seq, type, data FROM events WHERE stream = ? ORDER BY seq').raw()
  const all = db
    .prepare(
      'SELECT position, stream, seq, type, data FROM events WHERE position > ? ORDER BY position LIMIT 1000',
    )
    .raw()
  const seqs = new Map<string, number>()
  let position = 0

  function add(name: string, { type, data }: Happened): number {
    const seq = (seqs.get(name) ?? 0) + 1
    seqs.set(name, seq)
    insert.run(++position, name, seq, type, JSON.stringify(data))
    return position
  }
  const get = (id: string) => {
    const row = select.get(id) as { data: string; revision: number }
    return { id, revision: row.revision, value: JSON.parse(row.data) }
  }
  const transact = isGrouped ? queue(db) : async (write: () => number) => write()
  return {
    durability: 'synchronous=FULL',
    append: (name: string, happened: Happened) => transact(() => add(name, happened)),
    count: async () => Number(db.prepare('SELECT count(*) FROM events').pluck().get()),
    readStream: async (name: string) =>
      stream.all(name).map((row) => {
        const [seq, type, data] = row as [number, string, string]
        return { stream: name, seq, type, data: JSON.parse(data) }
      }).length,
    async readAll() {
      let count = 0
      for (let after = 0; ; ) {
        const events = all.all(after).map((row) => {
          const [at, name, seq, type, data] = row as [number, string, number, string, string]
          return { position: at, stream: name, seq, type, data: JSON.parse(data) }
        })
        if (events.length === 0) return count
        count += events.length
        after = events.at(-1)?.position ?? after
      }
    },
    async fill(streams: number, each: number) {
      db.transaction(() => {
        for (let s = 0; s < streams; s++)
          for (let i = 0; i < each; i++) add(`stream-${s}`, event(s * each + i))
      })()
    },
    put: (id: string, value: unknown) =>
      transact(() => {
        upsert.run(id, ++position, JSON.stringify(value))
        return position
      }),
    get: async (id: string) => get(id),
    getSync: get,
    async close() {
      db.close()
    },
  }
}

/** Group commit by hand: what arrives while one transaction runs goes into the next. */
function queue(db: Database.Database): (write: () => number) => Promise<number> {
  let waiting: {
    write: () => number
    resolve: (position: number) => void
    reject: (error: unknown) => void
  }[] = []
  const run = db.transaction((group: typeof waiting) => group.map(({ write }) => write()))
  const flush = () => {
    const group = waiting
    waiting = []
    try {
      const positions = run.immediate(group)
      for (const [i, { resolve }] of group.entries()) resolve(positions[i] as number)
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
  }
  return (write) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ write, resolve, reject }) === 1) setImmediate(flush)
    })
}
