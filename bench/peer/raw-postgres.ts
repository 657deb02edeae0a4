/**
 * What a careful engineer writes by hand on `pg`: prepared statements on a pool of ten; either one call each, or a queue
 * and one statement for each group, its arrays in binary. Seqs come from a Map. No fence, no checksum, no digest, no
 * second process: the bare cost of the same durability.
 */
import pg from 'pg'
import { event, type Happened } from '../work.ts'
import { int8Array, textArray } from './binary.ts'
import type { OpenPeer, Peer } from './peer.ts'
import { groupUp } from './queue.ts'

const tables = `
  CREATE TABLE IF NOT EXISTS events (position bigserial PRIMARY KEY, stream text COLLATE "C" NOT NULL, seq bigint NOT NULL, type text COLLATE "C" NOT NULL, data text NOT NULL);
  CREATE UNIQUE INDEX IF NOT EXISTS by_stream ON events (stream, seq);
  CREATE TABLE IF NOT EXISTS things (id text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, data text NOT NULL)`
const upsert = 'ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, data = excluded.data'
/** As many as is fastest. */
const groupsInFlight = 2

interface NewEvent extends Happened {
  readonly stream: string
  readonly seq: number
}

interface Thing {
  readonly id: string
  readonly revision: number
  readonly data: string
}

class Raw {
  readonly pool: pg.Pool
  #seqs = new Map<string, number>()
  #revision = 0

  constructor(url: string) {
    this.pool = new pg.Pool({ connectionString: url, max: 10 })
  }

  query(name: string, text: string, values: unknown[] = []) {
    return this.pool.query({ name, text, values, rowMode: 'array' })
  }

  numbered(stream: string, happened: Happened): NewEvent {
    const seq = (this.#seqs.get(stream) ?? 0) + 1
    this.#seqs.set(stream, seq)
    return { ...happened, stream, seq }
  }

  thing(id: string, value: unknown): Thing {
    return { id, revision: ++this.#revision, data: JSON.stringify(value) }
  }

  insertOne({ stream, seq, type, data }: NewEvent) {
    return this.query('insert-1', 'INSERT INTO events (stream, seq, type, data) VALUES ($1, $2, $3, $4)', [
      stream,
      seq,
      type,
      JSON.stringify(data),
    ])
  }

  insertMany(events: readonly NewEvent[]) {
    return this.query(
      'insert',
      'INSERT INTO events (stream, seq, type, data) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])',
      [
        textArray(events.map(({ stream }) => stream)),
        int8Array(events.map(({ seq }) => seq)),
        textArray(events.map(({ type }) => type)),
        textArray(events.map(({ data }) => JSON.stringify(data))),
      ],
    )
  }

  putOne({ id, revision, data }: Thing) {
    return this.query('put-1', `INSERT INTO things VALUES ($1, $2, $3) ${upsert}`, [id, revision, data])
  }

  /** Of two with the same id the later one: a statement cannot write a row twice. */
  putMany(things: readonly Thing[]) {
    const last = [...new Map(things.map((thing) => [thing.id, thing])).values()]
    return this.query(
      'put',
      `INSERT INTO things SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[]) ${upsert}`,
      [
        textArray(last.map(({ id }) => id)),
        int8Array(last.map(({ revision }) => revision)),
        textArray(last.map(({ data }) => data)),
      ],
    )
  }

  async get(id: string) {
    const { rows } = await this.query('get', 'SELECT data, revision FROM things WHERE id = $1', [id])
    const [data, revision] = rows[0] as unknown as [string, string]
    return { id, revision: Number(revision), value: JSON.parse(data) }
  }

  async readStream(stream: string): Promise<number> {
    const { rows } = await this.query(
      'stream',
      'SELECT seq, type, data FROM events WHERE stream = $1 ORDER BY seq',
      [stream],
    )
    return rows.map(decoded).length
  }

  async readAll(): Promise<number> {
    let found = 0
    for (let after = 0; ; ) {
      const { rows } = await this.query(
        'feed',
        'SELECT position, type, data, stream, seq FROM events WHERE position > $1 ORDER BY position LIMIT 1000',
        [after],
      )
      if (rows.length === 0) return found
      found += rows.map(decoded).length
      after = Number((rows.at(-1) as unknown as string[])[0])
    }
  }

  async count(): Promise<number> {
    return Number((await this.query('count', 'SELECT count(*) FROM events')).rows[0]?.[0 as never])
  }

  async fill(streams: number, each: number): Promise<void> {
    for (let s = 0; s < streams; s++)
      await this.insertMany(
        Array.from({ length: each }, (_, i) => this.numbered(`stream-${s}`, event(s * each + i))),
      )
  }
}

/** A row of (number, type, data, …). */
function decoded(row: unknown) {
  const [number, type, data, ...rest] = row as [string, string, string, ...unknown[]]
  return { number: Number(number), type, data: JSON.parse(data), rest }
}

async function open(url: string, writes: (raw: Raw) => Pick<Peer, 'append' | 'put'>): Promise<Peer> {
  const raw = new Raw(url)
  await raw.pool.query(tables)
  return {
    durability: 'synchronous_commit=on',
    ...writes(raw),
    get: (id) => raw.get(id),
    count: () => raw.count(),
    readStream: (stream) => raw.readStream(stream),
    readAll: () => raw.readAll(),
    fill: (streams, each) => raw.fill(streams, each),
    close: () => raw.pool.end(),
  }
}

export const rawSingle: OpenPeer = (url) =>
  open(url, (raw) => ({
    append: (stream, happened) => raw.insertOne(raw.numbered(stream, happened)),
    put: (id, value) => raw.putOne(raw.thing(id, value)),
  }))

export const rawGroup: OpenPeer = (url) =>
  open(url, (raw) => {
    const insert = groupUp<NewEvent>(groupsInFlight, (events) => raw.insertMany(events))
    // One at a time: two statements that write the same documents in different orders deadlock.
    const put = groupUp<Thing>(1, (things) => raw.putMany(things))
    return {
      append: (stream, happened) => insert(raw.numbered(stream, happened)),
      put: (id, value) => put(raw.thing(id, value)),
    }
  })
