/**
 * Whether prepared statements hold here. A pooler that hands out sessions by transaction, and does not know of prepared
 * statements, prepares in one session and runs in another: there the name is missing, or means somebody else's statement.
 */
import { UnderpinError } from '../../error.ts'
import { checkOut, giveBack } from './check-out.ts'
import type { PgClient, PgPool } from './driver.ts'

const rounds = 10

/**
 * Refuses such a pooler with `unsupported`. Two connections prepare a statement of one name in turn. Where each has a
 * session of its own, or the pooler gives names of its own, both succeed; else one finds the name taken, or missing.
 */
export async function refusePooler(pool: PgPool): Promise<void> {
  const one = await checkOut(pool)
  try {
    // Without a pooler, the session that answers is the one that the server named when the connection was made.
    if (one.processID === undefined || (await sessionOf(one)) === one.processID) return
    if ((pool.options?.max ?? 2) < 2) return
    const other = await checkOut(pool)
    try {
      await compare(one, other)
    } finally {
      giveBack(other)
    }
  } catch (error) {
    throw isLostStatement(error) ? pooled(error) : error
  } finally {
    giveBack(one)
  }
}

/** A statement of a name that is taken, or missing, in this session. */
export function isLostStatement(error: unknown): boolean {
  return /^(?:42P05|26000)$/.test(String((error as { code?: unknown }).code))
}

export function pooled(cause: unknown): UnderpinError {
  return new UnderpinError(
    'unsupported',
    'Between here and the server, a pooler hands out sessions by transaction and loses prepared statements',
    { hint: 'Add ?prepare=false to the URL (or the option prepare: false); nothing was written.', cause },
  )
}

/** In turns until both were served by one session: while a pooler is idle that is at once. */
async function compare(one: PgClient, other: PgClient): Promise<void> {
  for (let round = 0; round < rounds; round++) if ((await sessionOf(one)) === (await sessionOf(other))) return
}

async function sessionOf(client: PgClient): Promise<unknown> {
  const text = 'SELECT pg_catalog.pg_backend_pid()'
  const { rows } = await client.query({ name: 'underpin_session', text, rowMode: 'array' })
  return rows[0]?.[0]
}
