/** Documents that stand in the way of a unique index. */
import type { IndexDefinition } from '../../model/collection.ts'
import { fieldColumn } from './name.ts'
import { type Dialect, indexCondition } from './scan.ts'

/** Finds two documents of one key, if there are such. */
export function twinsSql(dialect: Dialect, table: string, index: IndexDefinition): string {
  const columns = index.fields.map(fieldColumn)
  const hasKey = [indexCondition(dialect, index), ...columns.map((column) => `${column} IS NOT NULL`)]
  return `SELECT min(id), max(id) FROM ${table} WHERE ${hasKey.join(' AND ')} GROUP BY ${columns.join(', ')} HAVING count(*) > 1 LIMIT 1`
}
