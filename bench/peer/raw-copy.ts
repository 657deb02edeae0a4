/** COPY by hand, in text, into the tables that Underpin makes; each page of the feed in a transaction of its own. */
import { once } from 'node:events'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { type Change, openStore } from 'underpin'
import { declared } from '../feed.ts'
import type { OpenPeer } from './peer.ts'

const events = 'underpin."bench__events"'
const things = 'underpin."bench__d_things"'

export const rawCopy: OpenPeer = async (url) => {
  const store = await openStore(url, { domains: { bench: declared } })
  await store.domain('bench').head()
  await store.close()
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return {
    durability: 'synchronous_commit=on',
    follow: async () => async (page) => {
      await client.query('BEGIN')
      await copy(client, events, page.items.map(eventLine).join(''))
      await copy(client, things, page.items.map(thingLine).join(''))
      await client.query('COMMIT')
    },
    close: () => client.end(),
  }
}

async function copy(client: pg.Client, table: string, lines: string): Promise<void> {
  if (lines === '') return
  const stream = client.query(copyFrom(`COPY ${table} FROM STDIN`))
  stream.end(lines)
  await once(stream, 'finish')
}

/** In the order of the table's columns; nothing for a change of another kind. */
function eventLine(change: Change): string {
  if (change.kind !== 'event') return ''
  const { position, stream, seq, type, at, commit, meta, data, checksum } = change
  return line([position, stream, seq, type, at, commit, meta, data, checksum])
}

function thingLine(change: Change): string {
  if (change.kind !== 'document' || change.collection !== 'things') return ''
  const { id, position, at, commit, expiresAt, data, checksum } = change
  return line([id, position, at, commit, expiresAt, data, checksum])
}

/** A row as COPY reads it in text. */
export function line(values: readonly (string | number | null)[]): string {
  return `${values.map((value) => (value === null ? '\\N' : escaped(String(value)))).join('\t')}\n`
}

const special = /[\\\n\r\t]/g
const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escaped(text: string): string {
  return text.replace(special, (found) => escapes[found] as string)
}
