/** What must be so before reads and writes may be cut over, and must stay so behind it. */
import type pg from 'pg'
import { idempotencyToken } from '../../lib/db.ts'
import type { StreamRecord } from '../../lib/stream.ts'
import { allPages, type Kept, type Load } from './load.ts'

export interface Finding {
  readonly what: string
  readonly compared: number
  readonly differences: number
}

/** The streams that there were at a time, in the order in which pages list them. */
export async function orderOf(load: Load, until: number): Promise<readonly string[]> {
  const found: StreamRecord[] = await allPages(load.prober, '/streams?limit=50')
  return found.filter(({ createdAt }) => createdAt <= until).map(({ id }) => id)
}

/** Whether one order is the other. */
export function compareOrder(what: string, before: readonly string[], after: readonly string[]): Finding {
  const count = Math.max(before.length, after.length)
  const differences = Array.from({ length: count }, (_, n) => before[n] !== after[n]).filter(Boolean).length
  return { what, compared: count, differences }
}

/** The order of the same streams in the tables of the other side. */
export async function sqlOrder(client: pg.Client, until: number): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>(
    'SELECT id FROM streams WHERE created_at <= $1 ORDER BY created_at NULLS FIRST, id',
    [until],
  )
  return rows.map(({ id }) => id)
}

/** Requests that were answered before are sent again: each must get the same answer, and say that it is one. */
export async function replay(load: Load, kept: readonly Kept[]): Promise<Finding> {
  let differences = 0
  for (const { path, body, answer } of kept) {
    const again = await load.prober.post(path, { key: answer.key, ...(body === undefined ? {} : { body }) })
    const isSame =
      again.status === answer.status &&
      again.text === answer.text &&
      again.headers.get('etag') === answer.headers.get('etag') &&
      again.headers.get('idempotency-replayed') === 'true'
    if (!isSame) differences++
  }
  return { what: 'replayed responses equal', compared: kept.length, differences }
}

/** The responses that are kept for the same requests in the tables of the other side. */
export async function sqlReplay(client: pg.Client, kept: readonly Kept[]): Promise<Finding> {
  let differences = 0
  for (const { path, answer } of kept) {
    const { id } = idempotencyToken(['http', 'POST', path], answer.key)
    const { rows } = await client.query<{ response: string }>(
      'SELECT response FROM idempotency_keys WHERE token = $1',
      [id],
    )
    const stored = rows[0] === undefined ? undefined : JSON.parse(rows[0].response)
    if (stored?.status !== answer.status || stored.text !== answer.text) differences++
  }
  return { what: 'kept responses equal in the tables', compared: kept.length, differences }
}

const rivals = 24

/** Many at once want all that one stream has to give: one may have it. */
export async function singleWriter(load: Load): Promise<Finding> {
  const id = await load.create({ deposit: 1_000, ratePerHour: 10 ** 12 })
  await load.command(id, 'start')
  await load.command(id, 'settle')
  await load.command(id, 'stop')
  const { body } = await load.prober.get(`/streams/${id}`)
  const answers = await Promise.all(
    Array.from({ length: rivals }, () => load.withdraw(id, body.settled, load.prober)),
  )
  const winners = answers.filter(({ status }) => status === 200).length
  const losers = answers.filter(({ status }) => status === 422).length
  return {
    what: 'one of all who withdraw the same',
    compared: rivals,
    differences: Math.abs(winners - 1) + Math.abs(losers - (rivals - 1)),
  }
}
