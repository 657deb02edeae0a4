/** message-db: its SQL, installed by its own script (which needs psql), and one `write_message` for each append. */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import pg from 'pg'
import type { OpenPeer } from './peer.ts'

const root = dirname(createRequire(import.meta.url).resolve('@eventide/message-db/package.json'))

export const messageDb: OpenPeer = async (url) => {
  install(url)
  const pool = new pg.Pool({ connectionString: url, max: 10, options: '-c search_path=message_store,public' })
  const text = 'SELECT write_message($1, $2, $3, $4)'
  return {
    durability: 'synchronous_commit=on',
    append: (stream, { type, data }) =>
      pool.query({ name: 'write', text, values: [randomUUID(), stream, type, data] }),
    async count() {
      return Number((await pool.query('SELECT count(*) FROM messages')).rows[0].count)
    },
    close: () => pool.end(),
  }
}

function install(url: string): void {
  const { hostname, port, username, password, pathname } = new URL(url)
  const variables = {
    PGHOST: hostname,
    PGPORT: port === '' ? '5432' : port,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    DATABASE_NAME: pathname.slice(1),
    CREATE_DATABASE: 'off',
  }
  execFileSync('bash', [join(root, 'database', 'install.sh')], {
    env: { ...process.env, ...variables },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}
