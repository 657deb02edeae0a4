/** Rows of documents on their way in and out. */
import type { CollectionDefinition } from '../../model/collection.ts'
import { documentColumns } from '../sql/record.ts'
import type { SqlValue } from '../sql/scan.ts'

/** Rows in one statement: measured; fewer cost more calls, more cost more time to prepare. */
const rowsPerInsert = 16

/** The columns of a document beside the fence. */
export const joinedColumns = documentColumns
  .split(', ')
  .map((column) => `d.${column}`)
  .join(', ')

export function hasUnique(definition: CollectionDefinition | undefined): boolean {
  return Object.values(definition?.indexes ?? {}).some(({ unique }) => unique)
}

/** Writes values that come row after row, several rows to a statement. */
export function insertRows(
  run: (sql: string, ...parameters: SqlValue[]) => void,
  into: string,
  columns: number,
  values: readonly SqlValue[],
): void {
  const row = `(${Array(columns).fill('?').join(', ')})`
  const [one, several] = [
    `${into} VALUES ${row}`,
    `${into} VALUES ${Array(rowsPerInsert).fill(row).join(', ')}`,
  ]
  const wide = columns * rowsPerInsert
  let at = 0
  for (; at + wide <= values.length; at += wide) run(several, ...values.slice(at, at + wide))
  for (; at < values.length; at += columns) run(one, ...values.slice(at, at + columns))
}
