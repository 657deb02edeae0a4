/**
 * The settings of the server that a promise depends on, asked for in one round trip when the store is opened. One that
 * would break a promise is refused, with what to do; one that weakens it is reported.
 */
import { UnderpinError } from '../../error.ts'
import type { Supports } from '../backend.ts'
import type { Query } from './driver.ts'

const settings = [
  'server_version_num',
  'transaction_read_only',
  'server_encoding',
  'transaction_isolation',
  'standard_conforming_strings',
  'array_nulls',
  'extra_float_digits',
  'fsync',
  'synchronous_commit',
  'full_page_writes',
] as const

type Settings = Readonly<Record<(typeof settings)[number], string>>

/** Refuses a server that cannot keep the promises; says what an acknowledgement of this one outlives. */
export async function checkServer(query: Query): Promise<Supports['durability']> {
  const values = settings.map((name) => `pg_catalog.current_setting('${name}')`)
  const [row = []] = await query(
    `SELECT pg_catalog.pg_is_in_recovery(), (${shadowing}), ${values.join(', ')}`,
  )
  const [isStandby, shadow, ...found] = row
  const setting = Object.fromEntries(settings.map((name, i) => [name, String(found[i])])) as Settings
  refuseServer(setting, isStandby === true)
  refuseSetting(setting)
  if (typeof shadow === 'string') throw shadowed(shadow)
  const isSynced =
    setting.fsync === 'on' && setting.synchronous_commit !== 'off' && setting.full_page_writes === 'on'
  return isSynced ? 'durable' : 'process'
}

function refuseServer(setting: Settings, isStandby: boolean): void {
  const version = Number(setting.server_version_num)
  if (version < 140_000)
    throw unsupported(`PostgreSQL ${Math.floor(version / 10_000)} is too old; 14 or later is needed`)
  if (isStandby) throw unsupported('The server is a standby: it cannot write', 'Connect to the primary.')
  if (setting.transaction_read_only === 'on')
    throw unsupported('Transactions are read-only on this server or for this role')
  if (setting.server_encoding !== 'UTF8') throw unsupported('The database is not encoded in UTF-8')
}

/** What a role or a database may have set, and each session then begins with. */
function refuseSetting(setting: Settings): void {
  if (setting.transaction_isolation !== 'read committed')
    throw unsupported(
      'The default isolation of this role or database is not "read committed"',
      'ALTER ROLE … SET default_transaction_isolation = "read committed"',
    )
  if (setting.standard_conforming_strings !== 'on')
    throw unsupported(
      'standard_conforming_strings is off: a backslash in a text would be read as something else',
      'ALTER ROLE … SET standard_conforming_strings = on',
    )
  if (setting.array_nulls !== 'on')
    throw unsupported(
      'array_nulls is off: what is absent would be stored as the text NULL',
      'ALTER ROLE … SET array_nulls = on',
    )
  if (Number(setting.extra_float_digits) < 1)
    throw unsupported(
      `extra_float_digits is ${setting.extra_float_digits}: numbers would come back rounded, and pages would skip or repeat`,
      'ALTER ROLE … SET extra_float_digits = 1',
    )
}

/** What statements name without a schema. */
const functions = [
  'array_agg',
  'concat_ws',
  'count',
  'hashtext',
  'json_typeof',
  'left',
  'max',
  'min',
  'pg_advisory_xact_lock',
  'pg_notify',
  'row_number',
  'sum',
  'to_regclass',
  'to_regnamespace',
  'unnest',
]
const operators = ['=', '<>', '<', '>', '<=', '>=', '+', '||', '#>', '#>>']
const types = ['text', 'json', 'oid', 'name']

const equals = 'OPERATOR(pg_catalog.=)'
const isBuiltIn = (type: string) =>
  `NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid ${equals} ${type} AND t.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)`

/**
 * The first thing on the search path that could stand in for one of PostgreSQL's own, or null. A function or an operator
 * of a later schema wins too, where it fits the types better; a type or a collation only before `pg_catalog`. Operators
 * of types that extensions bring are no danger. All is qualified here, even the operators: what this looks for must not
 * change it.
 */
const shadowing = `WITH path AS (
  SELECT n.oid, n.nspname, s.place OPERATOR(pg_catalog.<) pg_catalog.array_position(pg_catalog.current_schemas(true), 'pg_catalog') AS is_first
  FROM ROWS FROM (pg_catalog.unnest(pg_catalog.current_schemas(true))) WITH ORDINALITY AS s (name, place)
  JOIN pg_catalog.pg_namespace n ON n.nspname ${equals} s.name
  WHERE n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog' AND n.oid OPERATOR(pg_catalog.<>) pg_catalog.pg_my_temp_schema()
)
SELECT pg_catalog.concat(f.kind, ' ', path.nspname, '.', f.name) FROM path JOIN (
  SELECT 'function', proname, pronamespace, false FROM pg_catalog.pg_proc p WHERE proname ${equals} ANY (${names(functions)})
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes) AS a (type) WHERE NOT ${isBuiltIn('a.type')})
  UNION ALL SELECT 'operator', oprname, oprnamespace, false FROM pg_catalog.pg_operator WHERE oprname ${equals} ANY (${names(operators)})
    AND ${isBuiltIn('oprleft')} AND ${isBuiltIn('oprright')}
  UNION ALL SELECT 'type', typname, typnamespace, true FROM pg_catalog.pg_type WHERE typname ${equals} ANY (${names(types)})
  UNION ALL SELECT 'collation', collname, collnamespace, true FROM pg_catalog.pg_collation WHERE collname ${equals} 'C'
) AS f (kind, name, schema, must_be_first) ON f.schema ${equals} path.oid AND (path.is_first OR NOT f.must_be_first) LIMIT 1`

function names(all: readonly string[]): string {
  return `ARRAY[${all.map((name) => `'${name}'`).join(', ')}]::pg_catalog.name[]`
}

function shadowed(what: string): UnderpinError {
  return unsupported(
    `On the search path of this role, the ${what} could be taken for PostgreSQL's own`,
    'ALTER ROLE … SET search_path = a path without that schema, or drop what it has of that name.',
  )
}

function unsupported(message: string, hint?: string): UnderpinError {
  return new UnderpinError('unsupported', message, hint === undefined ? {} : { hint })
}
