/** Compare-and-set of a domain's fence: the only way in which a role or an epoch changes. */
import { UnderpinError } from '../../error.ts'
import { type Fence, sameFence, vacantFence } from '../../model/fence.ts'
import type { Database, Query } from './driver.ts'
import { isRefusal } from './error.ts'
import { lockFence, toFenceRow } from './fence-row.ts'
import { createDomain, dropDomain, type Tables } from './table.ts'

/** False if the fence is not `from`. When the session died, looks which of the two it left. */
export async function transit(
  database: Database,
  tables: Tables,
  domain: string,
  from: Fence,
  to: Fence,
): Promise<boolean> {
  try {
    return await database.transaction((query) => setFence(query, tables, domain, from, to))
  } catch (error) {
    if (isRefusal(error)) throw error
    const found = await database
      .transaction((query) => holdFence(query, tables, domain))
      .catch((cause) => {
        throw unresolved(domain, cause)
      })
    if (sameFence(found, from)) throw error
    if (sameFence({ ...found, head: to.head, digest: to.digest }, to)) return true
    throw unresolved(domain, error)
  }
}

async function setFence(
  query: Query,
  tables: Tables,
  domain: string,
  from: Fence,
  to: Fence,
): Promise<boolean> {
  const found = await holdFence(query, tables, domain)
  if (!sameFence(found, from)) return false
  const isNewCopy = to.role === 'prepared' || found.role === 'vacant'
  if (isNewCopy) {
    await dropDomain(query, tables, domain)
    await createDomain(query, tables, domain)
  }
  const { head, digest } = isNewCopy ? vacantFence : found
  await query(
    `INSERT INTO ${tables.fences} AS f (domain, role, epoch, head, digest, incarnation, successor) VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (domain) DO UPDATE SET role = $2, epoch = $3, head = $4, digest = $5, incarnation = $6, successor = $7, turn = f.turn + 1, catalog = f.catalog + 1`,
    [domain, to.role, to.epoch, head, digest, to.incarnation, to.successor],
  )
  return true
}

/** The fence, which stays as it is until this transaction ends, even if the domain has none yet. */
async function holdFence(query: Query, tables: Tables, domain: string): Promise<Fence> {
  await query('SELECT pg_advisory_xact_lock(hashtext($1))', [`${tables.schema}.${domain}`])
  const [row] = await query(lockFence(tables, domain))
  return toFenceRow(row).fence
}

function unresolved(domain: string, cause: unknown): UnderpinError {
  return new UnderpinError(
    'unknown',
    `The session ended while the fence of domain ${domain} was being changed`,
    {
      hint: 'Look at the fence to find out.',
      cause,
    },
  )
}
