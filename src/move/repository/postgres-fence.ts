/**
 * The fence in PostgreSQL: a statement trigger that shares a lock on the fence's row with all writers, so that sealing,
 * which updates the row, waits for the transactions that wrote before it, and those that come later see it.
 */
import { checkFenceName, heldUp, identifier, refusal, StoreFence } from './store-fence.ts'

/** What is needed of a client: of `pg` (a pool, too), or PGlite. */
export interface FencedClient {
  query(text: string, parameters?: unknown[]): Promise<unknown>
}

export interface PostgresFenceOptions {
  /** Names the fence in the schema; all processes give the same. */
  readonly name: string
  /** The tables that the repository writes, in the schema. */
  readonly tables: readonly string[]
  /** For sealing and opening; a pool will do. */
  readonly client: FencedClient
  /** Of the tables and the fence; `public` if left out. */
  readonly schema?: string
  /** Milliseconds that sealing waits for transactions that wrote before; 1,500 if left out. */
  readonly lockTimeoutMs?: number
  /**
   * Milliseconds after which the server ends a write's transaction in which nothing happens, as of a process that was
   * stopped: else it holds up every seal until the process goes on, or dies. As the server is set, if left out.
   */
  readonly idleTimeoutMs?: number
}

export class PostgresFence extends StoreFence {
  readonly #name: string
  readonly #tables: readonly string[]
  readonly #client: FencedClient
  readonly #schema: string
  readonly #lockTimeoutMs: number
  readonly #idleTimeoutMs: number | undefined

  constructor(options: PostgresFenceOptions) {
    const { name, tables, client, schema = 'public', lockTimeoutMs = 1_500, idleTimeoutMs } = options
    checkFenceName(name)
    super()
    this.#name = name
    this.#tables = tables
    this.#client = client
    this.#schema = identifier(schema)
    this.#lockTimeoutMs = lockTimeoutMs
    this.#idleTimeoutMs = idleTimeoutMs
  }

  /**
   * Creates the fence and its triggers where they are not there yet, as the owner of the tables. It lets everybody write
   * until it is first opened or sealed. Writers need no right on it.
   */
  async install(): Promise<void> {
    const schema = this.#schema
    await this.#client.query(`CREATE TABLE IF NOT EXISTS ${schema}.underpin_repository_fences (
  name text PRIMARY KEY, epoch bigint NOT NULL, sealed boolean NOT NULL
)`)
    await this.#client.query(
      `INSERT INTO ${schema}.underpin_repository_fences VALUES ($1, 0, false) ON CONFLICT DO NOTHING`,
      [this.#name],
    )
    await this.#client.query(checkFunction(schema))
    await this.#client.query(setFunction(schema))
    for (const table of this.#tables)
      await this.#client.query(`CREATE OR REPLACE TRIGGER ${this.#trigger}
BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ${schema}.${identifier(table)}
FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.underpin_fence_check('${this.#name}')`)
  }

  /** Removes the triggers and the fence's row: everybody may write again. */
  async uninstall(): Promise<void> {
    for (const table of this.#tables)
      await this.#client.query(
        `DROP TRIGGER IF EXISTS ${this.#trigger} ON ${this.#schema}.${identifier(table)}`,
      )
    await this.#client.query(`DELETE FROM ${this.#schema}.underpin_repository_fences WHERE name = $1`, [
      this.#name,
    ])
  }

  /** To be called first in the transaction of each write, with the client that holds it. */
  async enter(client: FencedClient): Promise<void> {
    const { session } = this
    const value = session === undefined ? '' : `${session.epoch}${session.isMover ? 'm' : ''}`
    const setting = `underpin.fence_${this.#name}`
    if (this.#idleTimeoutMs === undefined) {
      await client.query('SELECT set_config($1, $2, true)', [setting, value])
      return
    }
    await client.query(
      "SELECT set_config($1, $2, true), set_config('idle_in_transaction_session_timeout', $3, true)",
      [setting, value, `${this.#idleTimeoutMs}ms`],
    )
  }

  async seal(epoch: number): Promise<void> {
    try {
      await this.#set(epoch, true)
    } catch (cause) {
      if ((cause as { code?: unknown }).code !== lockNotAvailable) throw cause
      throw heldUp(this.#name, cause)
    }
  }

  async open(epoch: number): Promise<void> {
    await this.#set(epoch, false)
  }

  /** One statement, so that it is a transaction of its own on a pool, too. */
  async #set(epoch: number, isSealed: boolean): Promise<void> {
    await this.#client.query(`SELECT ${this.#schema}.underpin_fence_set($1, $2::bigint, $3::boolean, $4)`, [
      this.#name,
      epoch,
      isSealed,
      `${this.#lockTimeoutMs}ms`,
    ])
  }

  get #trigger(): string {
    return identifier(`underpin_fence_${this.#name}`)
  }
}

/** SQLSTATE of a lock that was waited for too long. */
const lockNotAvailable = '55P03'

/** `FOR SHARE`, which sealing has to wait for; as its owner, for writers that may not read the fence. */
const checkFunction = (
  schema: string,
) => `CREATE OR REPLACE FUNCTION ${schema}.underpin_fence_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $fence$
DECLARE
  fence record;
  session text := coalesce(current_setting('underpin.fence_' || TG_ARGV[0], true), '');
BEGIN
  SELECT epoch, sealed INTO fence FROM ${schema}.underpin_repository_fences WHERE name = TG_ARGV[0] FOR SHARE;
  IF fence.epoch > 0 AND (
    session = '' OR rtrim(session, 'm')::bigint < fence.epoch OR (fence.sealed AND right(session, 1) <> 'm')
  ) THEN
    RAISE EXCEPTION '${refusal} %: this writer is of an earlier epoch, or writes wait for a cutover', TG_ARGV[0]
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  RETURN NULL;
END $fence$`

const setFunction = (
  schema: string,
) => `CREATE OR REPLACE FUNCTION ${schema}.underpin_fence_set(fence text, raised bigint, seal boolean, patience text)
RETURNS void LANGUAGE plpgsql AS $fence$
BEGIN
  PERFORM set_config('lock_timeout', patience, true);
  UPDATE ${schema}.underpin_repository_fences SET epoch = raised, sealed = seal
    WHERE name = fence AND (epoch < raised OR (epoch = raised AND seal));
END $fence$`
