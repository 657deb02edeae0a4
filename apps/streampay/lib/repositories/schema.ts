/**
 * The tables that SQL queries see, on PostgreSQL and on SQLite: views of what the domain stores, made where it stands.
 *
 * Views, because a second copy of the rows would have to be backfilled, could differ, and would be left behind by a move.
 * These are current in the very commit that changes a record, whoever makes it, also while the store is only a copy that
 * follows; and their indexes are those of the collections (`domain.ts`): streams by (status, created_at, id), activity by
 * stream and by type. Nothing can be written through them: money moves by the application alone, and audit is append-only.
 */
import type { Store } from 'underpin'
import type { SqliteHandle } from 'underpin/sqlite'
import { domainName, type domains } from '../domain.ts'

/** How one database differs from the other in what is used here. */
interface Dialect {
  readonly table: (name: string) => string
  readonly text: (path: string) => string
  readonly integer: (path: string) => string
}

/** The columns and the table of each view. */
function selects({ table, text, integer }: Dialect): Readonly<Record<string, string>> {
  const all = (...columns: readonly string[]) => columns.join(', ')
  const texts = (...names: readonly (readonly [string, string])[]) =>
    names.map(([path, name]) => `${text(path)} AS ${name}`)
  const integers = (...names: readonly (readonly [string, string])[]) =>
    names.map(([path, name]) => `${integer(path)} AS ${name}`)
  const streamColumns = all(
    'id',
    'f_status AS status',
    '"f_createdAt" AS created_at',
    'f_sender AS sender',
    ...texts(['recipient', 'recipient'], ['currency', 'currency']),
    ...integers(['deposit', 'deposit'], ['ratePerHour', 'rate_per_hour'], ['settled', 'settled']),
    ...integers(['withdrawn', 'withdrawn'], ['refunded', 'refunded'], ['activeMs', 'active_ms']),
    ...integers(['runningSince', 'running_since'], ['updatedAt', 'updated_at'], ['version', 'version']),
  )
  const jobColumns = all(
    'f_tenant AS tenant',
    ...texts(['id', 'id'], ['kind', 'kind'], ['format', 'format'], ['state', 'state'], ['error', 'error']),
    '"f_requestedAt" AS requested_at',
    ...integers(['finishedAt', 'finished_at'], ['expiresAt', 'expires_at'], ['rows', 'row_count']),
    ...integers(['bytes', 'byte_count'], ['downloads', 'downloads']),
  )
  // A stream's name has its tenant encoded; the export, whose id is made of the same, has it as it is.
  const exportKeys = `(SELECT id AS export_key, f_tenant AS tenant FROM ${table('s_exports')}) AS export_keys`
  return {
    streams: `${streamColumns} FROM ${table('d_streams')} WHERE data IS NOT NULL`,
    users: `${all('id AS wallet', ...integers(['createdAt', 'created_at']))} FROM ${table('d_users')} WHERE data IS NOT NULL`,
    activity_events: `${all('id', 'f_stream AS stream_id', 'f_type AS type', 'f_at AS at', ...integers(['amount', 'amount'], ['version', 'version']))} FROM ${table('d_activity')} WHERE data IS NOT NULL`,
    idempotency_keys: `${all('id AS token', `${text('value')} AS response`, 'at AS created_at', 'expires_at')} FROM ${table('s_once')} WHERE data IS NOT NULL`,
    export_jobs: `${jobColumns} FROM ${table('s_exports')} WHERE data IS NOT NULL`,
    export_audit_records: `${all('tenant', 'seq', 'type', 'at', ...texts(['export', 'export_id']))} FROM ${table('events')} LEFT JOIN ${exportKeys} ON export_key = substr(stream, 10) || '/' || ${text('export')} WHERE stream >= '$exports/' AND stream < '$exports0'`,
  }
}

/** The statements that make the views in PostgreSQL, in the schema of the store: each store in a database has its own. */
export function postgresSchema(schema = 'underpin'): readonly string[] {
  const quote = (name: string) => `"${name.replaceAll('"', '""')}"`
  const at = (name: string) => `${quote(schema)}.${name}`
  const views = selects({
    table: (name) => at(quote(`${domainName}__${name}`)),
    text: (path) => `(data::json ->> '${path}')`,
    integer: (path) => `(data::json ->> '${path}')::bigint`,
  })
  const refuse = `CREATE OR REPLACE FUNCTION ${at('refuse_write')}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '% is read only: streampay writes it, and what is in it is never changed by hand', TG_TABLE_NAME; END $$`
  return [
    refuse,
    ...Object.entries(views).flatMap(([name, select]) => [
      `CREATE OR REPLACE VIEW ${at(name)} AS SELECT ${select}`,
      `CREATE OR REPLACE TRIGGER read_only INSTEAD OF INSERT OR UPDATE OR DELETE ON ${at(name)} FOR EACH ROW EXECUTE FUNCTION ${at('refuse_write')}()`,
    ]),
  ]
}

/** The PostgreSQL schema of a store in the default schema, as one script. */
export const POSTGRES_SCHEMA = `${postgresSchema().join(';\n\n')};\n`

/** The same in SQLite, whose views take no writes anyway. */
export const sqliteSchema: readonly string[] = Object.entries(
  selects({
    table: (name) => `"${domainName}__${name}"`,
    text: (path) => `(data ->> '${path}')`,
    integer: (path) => `(data ->> '${path}')`,
  }),
).flatMap(([name, select]) => [`DROP VIEW IF EXISTS "${name}"`, `CREATE VIEW "${name}" AS SELECT ${select}`])

export interface PostgresClient {
  query(text: string): Promise<unknown>
}

/**
 * Makes the views where the domain is now, in one commit with the note of what they were made from; processes that start
 * at once do so one after the other. `schemaAt` is the PostgreSQL schema of each side. Does nothing where they are as wanted, or where there are no tables (memory).
 */
export async function installViews(
  store: Store<typeof domains>,
  schemaAt: (side: string) => string | undefined,
): Promise<void> {
  const [health] = (await store.health()).domains
  const authority = health?.authority
  if (health === undefined || authority === null || authority === undefined) return
  if (store.backends.get(authority)?.supports.tables !== true) return
  const schema = schemaAt(authority)
  const held = health.backends[authority]
  // A copy that was thrown away took its views with it: the next one is another incarnation.
  const note = {
    sql: [...postgresSchema(schema), ...sqliteSchema].join(';\n'),
    copy: held?.isReachable ? held.fence.incarnation : null,
  }
  await store.domain(domainName).transaction(async (tx) => {
    const found = await tx.get('views', 'installed')
    if (found?.value.sql === note.sql && found.value.copy === note.copy) return
    tx.put('views', 'installed', note)
    tx.tables<SqliteHandle | PostgresClient>((client) => {
      if (!('exec' in client)) return runAll(client, postgresSchema(schema))
      for (const statement of sqliteSchema) client.exec(statement)
    })
  })
}

/** Makes the views with a client of one's own: at the target of a move, which only follows as yet. */
export async function runAll(client: PostgresClient, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await client.query(statement)
}
