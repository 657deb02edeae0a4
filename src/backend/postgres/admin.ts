/** What `underpin migrate` and `underpin doctor` ask of PostgreSQL beside the store: its migrations, and who may run it. */
import { UnderpinError } from '../../error.ts'
import { domainPrefix } from '../sql/name.ts'
import { type Database, openPool, type Query } from './driver.ts'
import { translate } from './error.ts'
import { inspectSchema } from './schema.ts'
import { quoteName, Tables } from './table.ts'
import { parseTarget } from './target.ts'

export interface PostgresInspection {
  /** The version of the server. */
  readonly version: string
  readonly schema: string
  /** The migrations that were applied, by name; none if there is no store in the schema. */
  readonly applied: readonly string[]
  /** Those that the next process to open the store will apply. */
  readonly pending: readonly string[]
}

/** Looks at the schema that a URL names, and changes nothing. */
export function inspectPostgres(url: string): Promise<PostgresInspection> {
  return withDatabase(url, async ({ query }, schema) => ({
    version: String((await query("SELECT pg_catalog.current_setting('server_version')"))[0]?.[0]),
    schema,
    ...(await inspectSchema(query, new Tables(schema))),
  }))
}

export interface PostgresGrant {
  readonly role: string
  readonly schema: string
  /** The tables on which it was granted. */
  readonly tables: readonly string[]
}

/**
 * Grants a role what running the store needs, and no more: to see the schema and its migrations, and to read and write the
 * tables of the store, and those that the role of this URL makes in the schema later. `invalid` if there is no such role.
 */
export function grantPostgres(url: string, role: string): Promise<PostgresGrant> {
  return withDatabase(url, (database, schema) =>
    database.transaction(async (query) => {
      const tables = new Tables(schema)
      await requireRole(query, role)
      const names = await tablesOf(query, tables)
      const all = names.map((name) => `${tables.schema}.${quoteName(name)}`).join(', ')
      const to = `TO ${quoteName(role)}`
      await query(`GRANT USAGE ON SCHEMA ${tables.schema} ${to}`)
      await query(`GRANT SELECT ON ${tables.schema}.underpin_migrations ${to}`)
      await query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${all} ${to}`)
      await query(
        `ALTER DEFAULT PRIVILEGES IN SCHEMA ${tables.schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES ${to}`,
      )
      // A role that may not grant is only warned of it.
      const [granted] = await query(
        "SELECT pg_catalog.has_schema_privilege($1::text, $2::text, 'USAGE') AND pg_catalog.has_table_privilege($1::text, $3::text, 'INSERT')",
        [role, schema, tables.fences],
      )
      if (granted?.[0] !== true)
        throw new UnderpinError(
          'unsupported',
          `The role of this URL may grant nothing in the schema ${schema}`,
          {
            hint: 'Grant with the role that owns the schema and its tables.',
          },
        )
      return { role, schema, tables: names }
    }),
  )
}

/** `invalid` if the server has no such role. */
export function checkPostgresRole(url: string, role: string): Promise<void> {
  return withDatabase(url, ({ query }) => requireRole(query, role))
}

async function requireRole(query: Query, role: string): Promise<void> {
  const [known] = await query('SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1::text', [role])
  if (known !== undefined) return
  throw new UnderpinError('invalid', `The server has no role ${JSON.stringify(role)}`, {
    hint: `CREATE ROLE ${quoteName(role)} LOGIN …`,
  })
}

/** The tables of a store by name: the schema may hold others as well. */
async function tablesOf(query: Query, tables: Tables): Promise<string[]> {
  const domains = (await query(`SELECT domain FROM ${tables.fences}`)).map(([domain]) => String(domain))
  const rows = await query(
    "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relnamespace = to_regnamespace($1)::oid AND c.relkind = 'r' ORDER BY c.relname",
    [tables.schema],
  )
  return rows
    .map(([name]) => String(name))
    .filter(
      (name) => name === 'underpin_fences' || domains.some((domain) => name.startsWith(domainPrefix(domain))),
    )
}

async function withDatabase<T>(
  target: string,
  run: (database: Database, schema: string) => Promise<T>,
): Promise<T> {
  const { url = target, schema } = parseTarget(target, {})
  const database = openPool(url, { size: 1, isPrepared: false })
  try {
    return await run(database, schema)
  } catch (error) {
    throw translate(error, url)
  } finally {
    await database.close()
  }
}
