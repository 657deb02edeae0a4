/** The SQL of a scan: a part of a collection in the order of an index or of the ids. */
import {
  type CollectionDefinition,
  type FieldValue,
  type IndexDefinition,
  plainCollection,
} from '../../model/collection.ts'
import { prefixEnd } from '../../model/key.ts'
import { decodeCursor, type Place, type Query } from '../../model/page.ts'
import { unknownIndex } from '../domain-state.ts'
import { fieldColumn } from './name.ts'

export type SqlValue = string | number | null

export interface ScanSql {
  readonly where: string
  readonly orderBy: string
  readonly parameters: readonly SqlValue[]
  /** The columns that make the key of a place in this order, before the id. */
  readonly keyColumns: readonly string[]
}

/** How one SQL database differs from another in what is used here. */
export interface Dialect {
  /** Equality that holds between two nulls. */
  readonly is: string
  /** How the order of a column is said, with nulls first where it ascends. */
  readonly ascending: string
  readonly descending: string
  parameter(number: number): string
  /** A field's value that an application gave, bound to a parameter, as the database itself reads it out of JSON. */
  field(parameter: string, value: FieldValue): { readonly sql: string; readonly value: SqlValue }
  literal(value: string | number | boolean): string
}

export function scanSql(dialect: Dialect, definition: CollectionDefinition, query: Query): ScanSql {
  const builder = new Builder(dialect)
  const conditions = ['data IS NOT NULL']
  const order = orderOf(query, definition)
  if (query.by === 'id') {
    if (query.prefix !== '') conditions.push(`id >= ${builder.add(query.prefix)}`)
    const end = prefixEnd(query.prefix)
    if (query.prefix !== '' && end !== undefined) conditions.push(`id < ${builder.add(end)}`)
  } else if (query.by === 'expiry') {
    conditions.push(`expires_at <= ${builder.add(query.until)}`)
  } else {
    conditions.push(...indexConditions(builder, order, query))
  }
  if (query.after !== null)
    conditions.push(
      ...afterConditions(
        builder,
        order.columns,
        decodeCursor(query.after, order.columns.length),
        query.backwards,
      ),
    )
  const direction = query.backwards ? dialect.descending : dialect.ascending
  return {
    where: conditions.join(' AND '),
    orderBy: [...order.columns, 'id'].map((column) => column + direction).join(', '),
    parameters: builder.parameters,
    keyColumns: order.columns,
  }
}

/** The condition under which a document is in an index. */
export function indexCondition(dialect: Dialect, index: IndexDefinition): string {
  const conditions = Object.entries(index.where).map(
    ([field, value]) => `${fieldColumn(field)} = ${dialect.literal(value)}`,
  )
  return ['data IS NOT NULL', ...conditions].join(' AND ')
}

/** How a field's value is given to the database: booleans as 0 and 1. */
export function toSql(value: FieldValue): SqlValue {
  return typeof value === 'boolean' ? Number(value) : value
}

interface Order {
  readonly columns: readonly string[]
  readonly index: IndexDefinition | undefined
}

function orderOf(query: Query, definition: CollectionDefinition = plainCollection): Order {
  if (query.by === 'id') return { columns: [], index: undefined }
  if (query.by === 'expiry') return { columns: ['expires_at'], index: undefined }
  const index = definition.indexes[query.index]
  if (index === undefined) throw unknownIndex(query.collection, query.index)
  return { columns: index.fields.map(fieldColumn), index }
}

function indexConditions(
  builder: Builder,
  { columns, index }: Order,
  query: Query & { by: 'index' },
): string[] {
  const conditions = Object.entries(index?.where ?? {}).map(
    ([field, value]) => `${fieldColumn(field)} = ${builder.dialect.literal(value)}`,
  )
  for (const [i, value] of query.equals.entries()) {
    conditions.push(`${columns[i]} ${builder.dialect.is} ${builder.addField(value)}`)
  }
  const column = columns[query.equals.length]
  if (query.from !== undefined && query.from !== null)
    conditions.push(`${column} >= ${builder.addField(query.from)}`)
  if (query.below !== undefined) {
    if (query.below === null) conditions.push('1 = 0')
    else conditions.push(`(${column} IS NULL OR ${column} < ${builder.addField(query.below)})`)
  }
  return conditions
}

/**
 * Behind a place in an order of columns that may be null (null comes first). Rows of values cannot say that, so each
 * prefix of the key is spelled out; the first column's bound stands alone as well, where an index can use it.
 */
function afterConditions(
  builder: Builder,
  columns: readonly string[],
  { key, id }: Place,
  backwards: boolean,
): string[] {
  // Parameters are bound in the order in which they are added: the bound is added first because it stands first.
  const [column, value] = [columns[0], key[0] ?? null]
  const bound =
    column === undefined || value === null || backwards ? [] : [`${column} >= ${builder.add(toSql(value))}`]
  const steps = columns.map((_, i) => {
    const same = columns
      .slice(0, i)
      .map((column, j) => `${column} ${builder.dialect.is} ${builder.add(toSql(key[j] ?? null))}`)
    return [...same, behind(builder, columns[i] as string, key[i] ?? null, backwards)].join(' AND ')
  })
  const same = columns.map(
    (column, j) => `${column} ${builder.dialect.is} ${builder.add(toSql(key[j] ?? null))}`,
  )
  steps.push([...same, `id ${backwards ? '<' : '>'} ${builder.add(id)}`].join(' AND '))
  return [...bound, `(${steps.map((step) => `(${step})`).join(' OR ')})`]
}

function behind(builder: Builder, column: string, value: FieldValue, backwards: boolean): string {
  if (value === null) return backwards ? '1 = 0' : `${column} IS NOT NULL`
  return backwards
    ? `(${column} IS NULL OR ${column} < ${builder.add(toSql(value))})`
    : `${column} > ${builder.add(toSql(value))}`
}

class Builder {
  readonly parameters: SqlValue[] = []
  readonly dialect: Dialect

  constructor(dialect: Dialect) {
    this.dialect = dialect
  }

  addField(given: FieldValue): string {
    const { sql, value } = this.dialect.field(this.dialect.parameter(this.parameters.length + 1), given)
    this.parameters.push(value)
    return sql
  }

  add(value: SqlValue): string {
    this.parameters.push(value)
    return this.dialect.parameter(this.parameters.length)
  }
}
