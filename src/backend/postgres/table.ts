/** The tables of a domain in PostgreSQL: made when it is created, and when a collection is declared. */
import {
  type CollectionDefinition,
  type FieldType,
  plainCollection,
  systemCollections,
} from '../../model/collection.ts'
import { checksumOf } from '../../model/digest.ts'
import { duplicateKey } from '../domain-state.ts'
import {
  collectionTable,
  domainPrefix,
  eventsTable,
  fieldColumn,
  indexName as fullIndexName,
} from '../sql/name.ts'
import { type Dialect, indexCondition, toSql } from '../sql/scan.ts'
import { twinsSql } from '../sql/twins.ts'
import { texts } from './array.ts'
import type { Query } from './driver.ts'
import { isInUse, isTaken } from './error.ts'

export const postgres: Dialect = {
  is: 'IS NOT DISTINCT FROM',
  ascending: ' ASC NULLS FIRST',
  descending: ' DESC NULLS LAST',
  parameter: (number) => `$${number}`,
  field: (parameter, value) => ({ sql: parameter, value: toSql(value) }),
  literal: (value) =>
    typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(Number(value)),
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** Tables of a schema that the user chose. */
export class Tables {
  readonly schema: string

  constructor(schema: string) {
    this.schema = quoteName(schema)
  }

  get fences(): string {
    return `${this.schema}.underpin_fences`
  }

  events(domain: string): string {
    return `${this.schema}.${eventsTable(domain)}`
  }

  collection(domain: string, name: string): string {
    return `${this.schema}.${collectionTable(domain, name)}`
  }
}

export async function createDomain(query: Query, tables: Tables, domain: string): Promise<void> {
  const events = tables.events(domain)
  await query(`CREATE TABLE ${events} (
    position bigint PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    commit_position bigint NOT NULL,
    meta text,
    data text NOT NULL,
    checksum text NOT NULL
  )`)
  await query(`CREATE UNIQUE INDEX "${domain}__events__stream" ON ${events} (stream, seq)`)
  for (const name of systemCollections)
    await alterCollection(query, tables, domain, name, undefined, plainCollection)
}

/** With the views that an application has on its tables: they would stand in the way of the copy that is made anew. */
export async function dropDomain(query: Query, tables: Tables, domain: string): Promise<void> {
  for (const table of await tablesOf(query, tables, domain)) await query(`DROP TABLE ${table} CASCADE`)
}

/** All tables of a domain that there are. */
export async function tablesOf(query: Query, tables: Tables, domain: string): Promise<readonly string[]> {
  const prefix = domainPrefix(domain)
  const found = await query(
    `SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relnamespace = to_regnamespace($1)::oid AND c.relkind = 'r' AND left(c.relname, $2::int) = $3`,
    [tables.schema, prefix.length, prefix],
  )
  return found.map(([name]) => `${tables.schema}."${name}"`)
}

/**
 * Makes the table of a collection what its definition says: new columns and indexes are added, none is removed. Where a
 * follower holds older state in the way of a unique index, a plain one stands in for it until {@link makeUnique}.
 */
export async function alterCollection(
  query: Query,
  tables: Tables,
  domain: string,
  name: string,
  from: CollectionDefinition | undefined,
  to: CollectionDefinition,
  isFollower = false,
): Promise<void> {
  const table = tables.collection(domain, name)
  // A follower may hold documents of it already.
  if (from === undefined) await createCollection(query, table, domain, name)
  for (const [field, type] of Object.entries(to.fields)) {
    if (from !== undefined && Object.hasOwn(from.fields, field)) continue
    await query(
      `ALTER TABLE ${table} ADD COLUMN ${fieldColumn(field)} ${columnTypes[type]} GENERATED ALWAYS AS (${fieldExpression(field, type)}) STORED`,
    )
  }
  for (const [index, definition] of Object.entries(to.indexes)) {
    if (from !== undefined && Object.hasOwn(from.indexes, index)) continue
    const create = async (isUnique: boolean) => {
      await query(createIndex(indexName(domain, name, index), table, definition, isUnique))
    }
    if (!definition.unique) await create(false)
    else if (await isDone(query, () => create(true), isTaken)) continue
    else if (isFollower) await create(false)
    else throw duplicateKey(name, index, await twinsIn(query, table, definition))
  }
}

/** The statement for an index; a unique one in a form of its own, or as a plain one that stands in for it. */
function createIndex(
  place: string,
  table: string,
  definition: CollectionDefinition['indexes'][string],
  isUnique: boolean,
): string {
  const columns = definition.fields.map((field) => `${fieldColumn(field)} NULLS FIRST`)
  const all = definition.unique ? columns : [...columns, 'id']
  return `CREATE ${isUnique ? 'UNIQUE ' : ''}INDEX ${place} ON ${table} (${all.join(', ')}) WHERE ${indexCondition(postgres, definition)}`
}

/** Whether a unique index could be made; if it could not for such a reason, the transaction goes on without it. */
async function isDone(
  query: Query,
  create: () => Promise<void>,
  mayFail: (error: unknown) => boolean,
): Promise<boolean> {
  await query('SAVEPOINT underpin_index')
  try {
    await create()
  } catch (error) {
    if (!mayFail(error)) throw error
    await query('ROLLBACK TO SAVEPOINT underpin_index')
    return false
  }
  await query('RELEASE SAVEPOINT underpin_index')
  return true
}

async function twinsIn(
  query: Query,
  table: string,
  definition: CollectionDefinition['indexes'][string],
): Promise<readonly string[]> {
  const [found = []] = await query(twinsSql(postgres, table, definition))
  return found.map(String)
}

/**
 * Makes the unique indexes that plain ones stand in for, on a follower that holds no older state; false if one stays plain:
 * because there are two documents of one key all the same, of a copy that is damaged, or because somebody reads the table
 * for longer than the change may wait, which must not hold up the copy. Readers wait for the change of names only.
 */
export async function makeUnique(
  query: Query,
  tables: Tables,
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
): Promise<boolean> {
  const wanted = [...definitions].flatMap(([name, { indexes }]) =>
    Object.entries(indexes).flatMap(([index, definition]) =>
      definition.unique ? [{ name, place: indexName(domain, name, index), definition }] : [],
    ),
  )
  const plain = new Set(await plainIndexes(query, tables, wanted))
  let isWhole = true
  for (const { name, place, definition } of wanted.filter(({ place }) => plain.has(place))) {
    const [table, made] = [tables.collection(domain, name), indexName(domain, name, '_unique')]
    const create = async () => {
      await query(createIndex(made, table, definition, true))
      await query(`DROP INDEX ${tables.schema}.${place}`)
      await query(`ALTER INDEX ${tables.schema}.${made} RENAME TO ${place}`)
    }
    if (!(await isDone(query, create, (error) => isTaken(error) || isInUse(error)))) isWhole = false
  }
  return isWhole
}

/** Those of the indexes that are not unique. */
async function plainIndexes(
  query: Query,
  tables: Tables,
  indexes: readonly { readonly place: string }[],
): Promise<readonly string[]> {
  if (indexes.length === 0) return []
  const rows = await query(
    'SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisunique AND c.relnamespace = to_regnamespace($1)::oid AND c.relname = ANY ($2::text[])',
    [tables.schema, texts(indexes.map(({ place }) => place.slice(1, -1)))],
  )
  return rows.map(([name]) => `"${name}"`)
}

/** Names are cut at 63 bytes; a long one gets a hash instead of its end, so that two never become one. */
function indexName(domain: string, collection: string, index: string): string {
  const name = fullIndexName(domain, collection, index)
  return name.length <= 65 ? name : `${name.slice(0, 44)}_${checksumOf(name).slice(0, 16)}"`
}

async function createCollection(query: Query, table: string, domain: string, name: string): Promise<void> {
  await query(`CREATE TABLE IF NOT EXISTS ${table} (
    id text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    at bigint NOT NULL,
    commit_position bigint NOT NULL,
    expires_at bigint,
    data text,
    checksum text NOT NULL
  )`)
  await query(`CREATE INDEX IF NOT EXISTS ${indexName(domain, name, '_revision')} ON ${table} (revision)`)
  await query(
    `CREATE INDEX IF NOT EXISTS ${indexName(domain, name, '_expiry')} ON ${table} (expires_at, id) WHERE expires_at IS NOT NULL`,
  )
}

const columnTypes: Readonly<Record<FieldType, string>> = {
  string: 'text COLLATE "C"',
  number: 'double precision',
  boolean: 'smallint',
}

/** The field's value, or null if it is missing or of another type: what `fieldValue` of the model says. */
function fieldExpression(field: string, type: FieldType): string {
  // Quoted, because a part named null would be no name.
  const path = `'{${field
    .split('.')
    .map((part) => `"${part}"`)
    .join(',')}}'`
  const value = `data::json #>> ${path}`
  const isType = `json_typeof(data::json #> ${path}) = '${type}'`
  const result = {
    string: value,
    number: `(${value})::double precision`,
    boolean: `CASE ${value} WHEN 'true' THEN 1 ELSE 0 END`,
  }[type]
  return `CASE WHEN ${isType} THEN ${result} END`
}
