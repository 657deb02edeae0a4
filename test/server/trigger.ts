/** Trouble that PostgreSQL makes by itself, made often: statements held up, and rolled back, by triggers on a domain's tables. */
import type { Client } from 'pg'

/** How often each trouble happened; sequences count it, because they are not rolled back. */
export interface Troubles {
  readonly slept: number
  readonly serialization: number
  readonly deadlock: number
  /** Of all of them, those at the end of the transaction, when all was written. */
  readonly late: number
}

/** Holds up some statements, and the end of some transactions, and lets some fail with what the caller may try again. */
export async function plantTriggers(
  admin: Client,
  schema: string,
  domain: string,
  collections: readonly string[],
): Promise<void> {
  for (const name of counters) await admin.query(`CREATE SEQUENCE ${schema}.${name}`)
  await admin.query(`
    CREATE FUNCTION ${schema}.trouble() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE dice double precision := random() * TG_ARGV[0]::double precision;
    BEGIN
      IF dice < 0.03 THEN
        PERFORM nextval('${schema}.slept'), pg_sleep(random() * 0.02);
      ELSIF dice < 0.05 THEN
        PERFORM nextval('${schema}.serialization');
        IF TG_LEVEL = 'ROW' THEN PERFORM nextval('${schema}.late'); END IF;
        RAISE EXCEPTION 'planted' USING ERRCODE = '40001';
      ELSIF dice < 0.07 THEN
        PERFORM nextval('${schema}.deadlock');
        IF TG_LEVEL = 'ROW' THEN PERFORM nextval('${schema}.late'); END IF;
        RAISE EXCEPTION 'planted' USING ERRCODE = '40P01';
      END IF;
      RETURN NULL;
    END $$`)
  const tables = [`${domain}__events`, ...collections.map((name) => `${domain}__d_${name}`)]
  for (const table of tables) {
    await admin.query(
      `CREATE TRIGGER early BEFORE INSERT OR UPDATE ON ${schema}."${table}"
       FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.trouble(1)`,
    )
    await admin.query(
      `CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON ${schema}."${table}" DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION ${schema}.trouble(4)`,
    )
  }
}

const counters = ['slept', 'serialization', 'deadlock', 'late'] as const

export async function injected(admin: Client, schema: string): Promise<Troubles> {
  const counts = counters.map(
    (name) =>
      `(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ${schema}.${name})::int AS ${name}`,
  )
  const { rows } = await admin.query<Troubles>(`SELECT ${counts.join(', ')}`)
  return rows[0] as Troubles
}
