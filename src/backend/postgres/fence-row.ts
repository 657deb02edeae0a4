/** The row of a domain's fence, with what this backend keeps beside it. */
import type { Fence } from '../../model/fence.ts'
import { fenceColumns, toFence } from '../sql/record.ts'
import type { Query, Row } from './driver.ts'
import type { Tables } from './table.ts'

export interface FenceRow {
  readonly fence: Fence
  /** Part of every guard: raised when a write was found absent, so that it cannot happen later. */
  readonly turn: number
  /** Changes whenever a collection is declared. */
  readonly catalog: number
}

const columns = `${fenceColumns}, turn, catalog`

export async function readFence(query: Query, tables: Tables, domain: string): Promise<FenceRow> {
  const [row] = await query(`SELECT ${columns} FROM ${tables.fences} WHERE domain = $1`, [domain])
  return toFenceRow(row)
}

/** The statement that locks the row: whoever holds it is the only one who can write the domain. Without parameters. */
export function lockFence(tables: Tables, domain: string): string {
  return `SELECT ${columns} FROM ${tables.fences} WHERE domain = '${domain.replaceAll("'", "''")}' FOR UPDATE`
}

export function toFenceRow(row: Row | undefined): FenceRow {
  return { fence: toFence(row), turn: Number(row?.[6] ?? 0), catalog: Number(row?.[7] ?? 0) }
}
