/** Repairs of a copy in SQLite, inside the transaction that holds the write lock. */
import type { Change } from '../../model/change.ts'
import { type Digest, DigestSum, emptyDigest } from '../../model/digest.ts'
import type { RepairPlan } from '../plan-repair.ts'
import { collectionTable, domainPrefix, eventsTable } from '../sql/name.ts'
import { documentColumns, eventColumns, pushDocument, pushEvent } from '../sql/record.ts'
import type { SqlValue } from '../sql/scan.ts'
import type { Rows } from './view.ts'

export interface Statements {
  readonly run: (sql: string, ...parameters: SqlValue[]) => void
  readonly rows: Rows
}

/** Removes what has to go, puts the items, and, at the end of the repair, names the digest of what the domain then holds in its fence. */
export function writeRepair(
  statements: Statements,
  domain: string,
  { events, documents, items, isLast }: RepairPlan,
): void {
  const { run } = statements
  for (const { stream, seq } of events)
    run(`DELETE FROM ${eventsTable(domain)} WHERE stream = ? AND seq = ?`, stream, seq)
  for (const { collection, id } of documents)
    run(`DELETE FROM ${collectionTable(domain, collection)} WHERE id = ?`, id)
  for (const item of items) putItem(statements, domain, item)
  const digest = isLast ? sumOf(statements, domain) : emptyDigest
  run('UPDATE underpin_fences SET digest = ? WHERE domain = ?', digest, domain)
}

/** Whatever stands at its position has another key, and has no right to be there. */
function putItem({ run }: Statements, domain: string, item: Change): void {
  const values: SqlValue[] = []
  if (item.kind === 'event') {
    pushEvent(values, item)
    run(`DELETE FROM ${eventsTable(domain)} WHERE position = ?`, item.position)
    run(`INSERT INTO ${eventsTable(domain)} (${eventColumns}) VALUES (${marks(values)})`, ...values)
    return
  }
  const table = collectionTable(domain, item.collection)
  pushDocument(values, item)
  run(`DELETE FROM ${table} WHERE revision = ?`, item.position)
  run(`INSERT INTO ${table} (${documentColumns}) VALUES (${marks(values)})`, ...values)
}

function marks(values: readonly SqlValue[]): string {
  return values.map(() => '?').join(', ')
}

/** Checksums read at a time. */
const pageRows = 10_000

/** Of all tables, not only of the collections that are declared: a copy may hold documents whose declaration comes yet. */
function sumOf({ rows }: Statements, domain: string): Digest {
  const sum = new DigestSum(emptyDigest)
  for (const table of tablesOf(rows, domain)) {
    const position = table === eventsTable(domain) ? 'position' : 'revision'
    const sql = `SELECT checksum, ${position} FROM ${table} WHERE ${position} > ? ORDER BY ${position} LIMIT ?`
    for (let after = Number.MIN_SAFE_INTEGER; ; ) {
      const page = rows(sql, after, pageRows)
      for (const [checksum] of page) sum.add(String(checksum))
      if (page.length < pageRows) break
      after = Number(page.at(-1)?.[1])
    }
  }
  return sum.toString()
}

function tablesOf(rows: Rows, domain: string): readonly string[] {
  const prefix = domainPrefix(domain)
  return rows(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ?",
    prefix.length,
    prefix,
  ).map(([name]) => `"${name}"`)
}
