/**
 * The fence in a SQLite file. SQLite has one writer at a time, so a row that a transaction writes first is as good as a
 * setting of its session: the triggers compare it with the fence in the same transaction.
 */
import { checkFenceName, heldUp, identifier, refusal, StoreFence } from './store-fence.ts'

/** What is needed of a handle of `node:sqlite`, `@photostructure/sqlite` or `better-sqlite3`. */
export interface FencedHandle {
  exec(sql: string): unknown
  prepare(sql: string): { run(...parameters: (string | number | null)[]): unknown }
}

export interface SqliteFenceOptions {
  /** Names the fence in the file; all processes give the same. */
  readonly name: string
  /** The tables that the repository writes. */
  readonly tables: readonly string[]
  /** For sealing and opening. */
  readonly handle: FencedHandle
}

const operations = ['INSERT', 'UPDATE', 'DELETE'] as const

export class SqliteFence extends StoreFence {
  readonly #name: string
  readonly #tables: readonly string[]
  readonly #handle: FencedHandle

  constructor({ name, tables, handle }: SqliteFenceOptions) {
    checkFenceName(name)
    super()
    this.#name = name
    this.#tables = tables
    this.#handle = handle
  }

  /** Creates the fence and its triggers where they are not there yet. It lets everybody write until it is first opened or sealed. */
  install(): void {
    this.#transaction(`CREATE TABLE IF NOT EXISTS underpin_repository_fences (
  name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, sealed INTEGER NOT NULL, session_epoch INTEGER, session_mover INTEGER
);
INSERT OR IGNORE INTO underpin_repository_fences VALUES ('${this.#name}', 0, 0, NULL, NULL);
${this.#triggers().map(createTrigger).join('\n')}`)
  }

  /** Removes the triggers and the fence: everybody may write again. */
  uninstall(): void {
    const drops = this.#triggers().map(({ trigger }) => `DROP TRIGGER IF EXISTS ${identifier(trigger)};`)
    this.#transaction(`${drops.join('\n')}
DELETE FROM underpin_repository_fences WHERE name = '${this.#name}';`)
  }

  /** To be called first in the transaction of each write, with the handle that holds it. */
  enter(handle: FencedHandle): void {
    const { epoch, isMover } = this.session ?? { epoch: null, isMover: false }
    handle
      .prepare('UPDATE underpin_repository_fences SET session_epoch = ?, session_mover = ? WHERE name = ?')
      .run(epoch, isMover ? 1 : 0, this.#name)
  }

  async seal(epoch: number): Promise<void> {
    try {
      this.#set('epoch = ?, sealed = 1 WHERE name = ? AND epoch <= ?', epoch, this.#name, epoch)
    } catch (cause) {
      if (cause instanceof Error && /locked|busy/i.test(cause.message)) throw heldUp(this.#name, cause)
      throw cause
    }
  }

  async open(epoch: number): Promise<void> {
    this.#set('epoch = ?, sealed = 0 WHERE name = ? AND epoch < ?', epoch, this.#name, epoch)
  }

  #transaction(sql: string): void {
    this.#handle.exec('BEGIN IMMEDIATE')
    try {
      this.#handle.exec(sql)
      this.#handle.exec('COMMIT')
    } catch (error) {
      this.#handle.exec('ROLLBACK')
      throw error
    }
  }

  #set(change: string, ...parameters: (string | number)[]): void {
    this.#handle.prepare(`UPDATE underpin_repository_fences SET ${change}`).run(...parameters)
  }

  #triggers(): readonly Trigger[] {
    return this.#tables.flatMap((table) =>
      operations.map((operation) => ({
        ...{ name: this.#name, table, operation },
        trigger: `underpin_fence_${this.#name}_${table}_${operation.toLowerCase()}`,
      })),
    )
  }
}

interface Trigger {
  readonly trigger: string
  readonly name: string
  readonly table: string
  readonly operation: (typeof operations)[number]
}

function createTrigger({ trigger, name, table, operation }: Trigger): string {
  return `CREATE TRIGGER IF NOT EXISTS ${identifier(trigger)} BEFORE ${operation} ON ${identifier(table)} BEGIN
  SELECT RAISE(ABORT, '${refusal} ${name}: this writer is of an earlier epoch, or writes wait for a cutover')
  WHERE EXISTS (
    SELECT 1 FROM underpin_repository_fences WHERE name = '${name}' AND epoch > 0
      AND (session_epoch IS NULL OR session_epoch < epoch OR (sealed = 1 AND session_mover IS NOT 1))
  );
END;`
}
