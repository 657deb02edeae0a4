/** The tables of a domain: made when it is created, and when a collection is declared. */
import {
  type CollectionDefinition,
  type FieldType,
  plainCollection,
  systemCollections,
} from '../../model/collection.ts'
import { duplicateKey } from '../domain-state.ts'
import { collectionTable, domainPrefix, eventsTable, fieldColumn, indexName } from '../sql/name.ts'
import { type Dialect, indexCondition, toSql } from '../sql/scan.ts'
import { twinsSql } from '../sql/twins.ts'
import type { Connection } from './driver.ts'
import { isTaken } from './error.ts'

export const sqlite: Dialect = {
  is: 'IS',
  ascending: '',
  descending: ' DESC',
  parameter: () => '?',
  // SQLite does not read every number out of JSON as the nearest double, so it must read ours the same way.
  field: (parameter, value) =>
    typeof value === 'number'
      ? { sql: `json_extract(${parameter}, '$')`, value: JSON.stringify(value) }
      : { sql: parameter, value: toSql(value) },
  literal: (value) =>
    typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(Number(value)),
}

export function createDomain(connection: Connection, domain: string): void {
  const events = eventsTable(domain)
  connection.exec(`CREATE TABLE ${events} (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    commit_position INTEGER NOT NULL,
    meta TEXT,
    data TEXT NOT NULL,
    checksum TEXT NOT NULL
  ) STRICT`)
  connection.exec(`CREATE UNIQUE INDEX "${domain}__events__stream" ON ${events} (stream, seq)`)
  for (const name of systemCollections) alterCollection(connection, domain, name, undefined, plainCollection)
}

export function dropDomain(connection: Connection, domain: string): void {
  const prefix = domainPrefix(domain)
  const tables = connection
    .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ?")
    .rows(prefix.length, prefix)
  for (const [name] of tables) connection.exec(`DROP TABLE "${name}"`)
}

/**
 * Makes the table of a collection what its definition says: new columns and indexes are added, none is removed. Where a
 * follower holds older state in the way of a unique index, a plain one stands in for it until {@link makeUnique}.
 */
export function alterCollection(
  connection: Connection,
  domain: string,
  name: string,
  from: CollectionDefinition | undefined,
  to: CollectionDefinition,
  isFollower = false,
): void {
  const table = collectionTable(domain, name)
  // A follower may hold documents of it already.
  if (from === undefined) createCollection(connection, domain, name)
  for (const [field, type] of Object.entries(to.fields)) {
    if (from !== undefined && Object.hasOwn(from.fields, field)) continue
    connection.exec(
      `ALTER TABLE ${table} ADD COLUMN ${fieldColumn(field)} ${columnTypes[type]} GENERATED ALWAYS AS (${fieldExpression(field, type)}) VIRTUAL`,
    )
  }
  for (const [index, definition] of Object.entries(to.indexes)) {
    if (from !== undefined && Object.hasOwn(from.indexes, index)) continue
    const create = (isUnique: boolean) => createIndex(connection, domain, name, index, definition, isUnique)
    if (!definition.unique) create(false)
    else if (isFree(() => create(true))) continue
    else if (isFollower) create(false)
    else throw duplicateKey(name, index, twinsIn(connection, table, definition))
  }
}

/**
 * Makes the unique indexes that plain ones stand in for, on a follower that holds no older state; false if one stays plain,
 * because there are two documents of one key all the same, of a copy that is damaged.
 */
export function makeUnique(
  connection: Connection,
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
): boolean {
  let isWhole = true
  const isPlain = connection.prepare(
    `SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ? AND sql LIKE 'CREATE INDEX %'`,
  )
  for (const [name, definition] of definitions)
    for (const [index, wanted] of Object.entries(definition.indexes)) {
      const place = indexName(domain, name, index)
      if (!wanted.unique || isPlain.row(place.slice(1, -1)) === undefined) continue
      connection.exec('SAVEPOINT plain')
      connection.exec(`DROP INDEX ${place}`)
      if (!isFree(() => createIndex(connection, domain, name, index, wanted, true))) {
        connection.exec('ROLLBACK TO plain')
        isWhole = false
      }
      connection.exec('RELEASE plain')
    }
  return isWhole
}

/** Whether a unique index could be made. SQLite undoes a statement that fails, and no more. */
function isFree(create: () => void): boolean {
  try {
    create()
    return true
  } catch (error) {
    if (isTaken(error)) return false
    throw error
  }
}

function twinsIn(
  connection: Connection,
  table: string,
  definition: CollectionDefinition['indexes'][string],
): readonly string[] {
  return (connection.prepare(twinsSql(sqlite, table, definition)).row() ?? []).map(String)
}

function createIndex(
  connection: Connection,
  domain: string,
  name: string,
  index: string,
  { fields, ...definition }: CollectionDefinition['indexes'][string],
  isUnique: boolean,
): void {
  connection.exec(
    `CREATE ${isUnique ? 'UNIQUE ' : ''}INDEX ${indexName(domain, name, index)} ON ${collectionTable(domain, name)} (${fields.map(fieldColumn).join(', ')}) WHERE ${indexCondition(sqlite, { fields, ...definition })}`,
  )
}

function createCollection(connection: Connection, domain: string, name: string): void {
  const table = collectionTable(domain, name)
  connection.exec(`CREATE TABLE IF NOT EXISTS ${table} (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    at INTEGER NOT NULL,
    commit_position INTEGER NOT NULL,
    expires_at INTEGER,
    data TEXT,
    checksum TEXT NOT NULL
  ) STRICT, WITHOUT ROWID`)
  connection.exec(
    `CREATE UNIQUE INDEX IF NOT EXISTS ${indexName(domain, name, '_revision')} ON ${table} (revision)`,
  )
  connection.exec(
    `CREATE INDEX IF NOT EXISTS ${indexName(domain, name, '_expiry')} ON ${table} (expires_at) WHERE expires_at IS NOT NULL`,
  )
}

const columnTypes: Readonly<Record<FieldType, string>> = {
  string: 'TEXT',
  number: 'REAL',
  boolean: 'INTEGER',
}
const jsonTypes: Readonly<Record<FieldType, string>> = {
  string: "('text')",
  number: "('integer', 'real')",
  boolean: "('true', 'false')",
}

/** The field's value, or null if it is missing or of another type: what `fieldValue` of the model says. */
function fieldExpression(field: string, type: FieldType): string {
  const path = `'$.${field
    .split('.')
    .map((part) => `"${part}"`)
    .join('.')}'`
  return `CASE WHEN json_type(data, ${path}) IN ${jsonTypes[type]} THEN json_extract(data, ${path}) END`
}
