/** The tables of a domain: made when it is created, and when a collection is declared. */
import type { CollectionDefinition, FieldType, FieldValue } from '../../model/collection.ts'
import { plainCollection, systemCollections, uniqueKey } from '../../model/collection.ts'
import { decodeValue, type JsonText } from '../../model/value.ts'
import { duplicateKey } from '../domain-state.ts'
import { collectionTable, domainPrefix, eventsTable, fieldColumn, indexName } from '../sql/name.ts'
import { type Dialect, indexCondition, toSql } from '../sql/scan.ts'
import type { Connection } from './driver.ts'

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
    const twins =
      definition.unique && (from !== undefined || isFollower)
        ? duplicatesIn(connection, table, index, to)
        : undefined
    if (twins !== undefined && !isFollower) throw duplicateKey(name, index, twins)
    createIndex(connection, domain, name, index, definition, definition.unique && twins === undefined)
  }
}

/** Makes the unique indexes that plain ones stand in for: a follower that holds everything has no older state. */
export function makeUnique(
  connection: Connection,
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
): void {
  for (const [name, definition] of definitions) {
    const table = collectionTable(domain, name)
    const sql = `SELECT name FROM pragma_index_list('${table.slice(1, -1)}') WHERE "unique" = 0`
    const plain = new Set(
      connection
        .prepare(sql)
        .rows()
        .map(([found]) => `"${found}"`),
    )
    for (const [index, wanted] of Object.entries(definition.indexes)) {
      if (!wanted.unique || !plain.has(indexName(domain, name, index))) continue
      if (duplicatesIn(connection, table, index, definition) !== undefined) continue
      connection.exec(`DROP INDEX ${indexName(domain, name, index)}`)
      createIndex(connection, domain, name, index, wanted, true)
    }
  }
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

/** Two documents with one key, where there are such, before the index is made. */
function duplicatesIn(
  connection: Connection,
  table: string,
  name: string,
  definition: CollectionDefinition,
): readonly string[] | undefined {
  const index = definition.indexes[name]
  if (index === undefined) return undefined
  const holders = new Map<string, string>()
  for (const [id, data] of connection
    .prepare(`SELECT id, data FROM ${table} WHERE data IS NOT NULL`)
    .rows()) {
    const key: FieldValue[] | undefined = uniqueKey(definition, index, decodeValue(data as JsonText))
    if (key === undefined) continue
    const holder = holders.get(JSON.stringify(key))
    if (holder !== undefined) return [holder, String(id)]
    holders.set(JSON.stringify(key), String(id))
  }
  return undefined
}
