/** The PostgreSQL server of a run: the one that POSTGRES_URL names, or one that is started for it. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { startPostgres } from '../scripts/postgres-server.ts'

/** For a server that is started here; the same for all peers. */
const settings = ['fsync=on', 'synchronous_commit=on', 'shared_buffers=512MB', 'max_wal_size=4GB']

export interface Server {
  /** What matters of its settings, as it says itself. */
  readonly description: string
  /** Makes an empty database, and gives its URL; nothing of the runs before waits to be written. */
  create(): Promise<string>
  drop(database: string): Promise<void>
  stop(): Promise<void>
}

/** The server, or a text that says why there is none. */
export async function openServer(): Promise<Server | string> {
  const started = await startPostgres(process.env.POSTGRES_URL === undefined ? settings : [])
  if (typeof started === 'string') return started
  const { url, stop } = started
  return {
    description: await describe(url),
    async create() {
      const name = `underpin_bench_${randomBytes(6).toString('hex')}`
      await query(url, `CREATE DATABASE ${name} ENCODING 'UTF8' TEMPLATE template0`)
      await query(url, 'CHECKPOINT')
      const database = new URL(url)
      database.pathname = name
      return database.href
    },
    async drop(database) {
      await query(url, `DROP DATABASE ${new URL(database).pathname.slice(1)} WITH (FORCE)`)
    },
    stop,
  }
}

async function describe(url: string): Promise<string> {
  const names = ['fsync', 'synchronous_commit', 'shared_buffers', 'max_wal_size', 'autovacuum_naptime']
  const values = []
  for (const name of names) values.push(`${name}=${(await query(url, `SHOW ${name}`))[0]?.[name]}`)
  const [version] = await query(url, 'SHOW server_version')
  return `PostgreSQL ${version?.server_version}, ${values.join(', ')}`
}

/** One statement on a connection of its own. */
export async function query(connectionString: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}
