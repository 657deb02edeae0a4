/**
 * What a good engineer's script does: reads all rows of the source and copies them into the target, whose tables are
 * there already. With the same durability; without a fence, checksums, digest, throttle, or a way to go on when it dies.
 */

import { once } from 'node:events'
import Database from 'better-sqlite3'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { openStore } from 'underpin'
import { type Direction, domains, type Ends, endsOf, fillSource } from '../move/ends.ts'
import type { OpenPeer } from './peer.ts'
import { line } from './raw-copy.ts'

const tables = [
  {
    sqlite: '"bench__events"',
    postgres: 'underpin."bench__events"',
    key: 'position',
    columns: ['position', 'stream', 'seq', 'type', 'at', 'commit_position', 'meta', 'data', 'checksum'],
  },
  {
    sqlite: '"bench__d_things"',
    postgres: 'underpin."bench__d_things"',
    key: 'revision',
    columns: ['revision', 'id', 'at', 'commit_position', 'expires_at', 'data', 'checksum'],
  },
] as const
type Table = (typeof tables)[number]
type Value = string | number | null

/** Rows in a transaction of SQLite, and in a read of PostgreSQL. */
const rows = 10_000
/** Rows that are sent at once. */
const sent = 500

export const toPostgres: OpenPeer = (url) => open(url, 'to postgres')
export const toSqlite: OpenPeer = (url) => open(url, 'to sqlite')

async function open(url: string, direction: Direction) {
  const ends = endsOf(url, direction)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  let file: Database.Database | undefined
  return {
    durability: 'synchronous=FULL, synchronous_commit=on',
    async copy(count: number) {
      await fillSource(ends, count)
      await makeTables(ends)
      const opened = new Database(ends.file)
      file = opened
      opened.pragma('journal_mode = WAL')
      opened.exec('PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 4096')
      opened.pragma('synchronous = FULL')
      const copy = direction === 'to postgres' ? intoPostgres : intoSqlite
      return async () => {
        let done = 0
        for (const table of tables) done += await copy(table, opened, client)
        return done
      }
    },
    async close() {
      file?.close()
      await client.end()
    },
  }
}

/** As Underpin makes them, with their indexes. */
async function makeTables({ targets }: Ends): Promise<void> {
  const store = await openStore(targets.to, { domains })
  await store.domain('bench').head()
  await store.close()
}

/** One COPY, fed as fast as the server takes it. */
async function intoPostgres(table: Table, file: Database.Database, client: pg.Client): Promise<number> {
  const columns = table.columns.join(', ')
  const stream = client.query(copyFrom(`COPY ${table.postgres} (${columns}) FROM STDIN`))
  let count = 0
  let lines = ''
  const all = file.prepare(`SELECT ${columns} FROM ${table.sqlite} ORDER BY ${table.key}`).raw()
  for (const row of all.iterate() as Iterable<Value[]>) {
    lines += line(row)
    if (++count % sent > 0) continue
    if (!stream.write(lines)) await once(stream, 'drain')
    lines = ''
  }
  stream.end(lines)
  await once(stream, 'finish')
  return count
}

/** One prepared statement, in transactions of many rows; the next rows are on their way meanwhile. */
async function intoSqlite(table: Table, file: Database.Database, client: pg.Client): Promise<number> {
  const { columns, key } = table
  const list = columns.join(', ')
  const insert = file.prepare(
    `INSERT INTO ${table.sqlite} (${list}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  const take = file.transaction((page: Value[][]) => {
    for (const row of page) insert.run(...row)
  })
  const read = async (after: number) =>
    (
      await client.query({
        text: `SELECT ${list} FROM ${table.postgres} WHERE ${key} > $1 ORDER BY ${key} LIMIT ${rows}`,
        values: [after],
        rowMode: 'array',
        name: table.postgres,
        types: { getTypeParser: (oid: number) => (oid === 20 ? Number : String) },
      })
    ).rows as Value[][]
  let count = 0
  for (let page = await read(0); page.length > 0; ) {
    const next = read(page.at(-1)?.[0] as number)
    take(page)
    count += page.length
    page = await next
  }
  return count
}
