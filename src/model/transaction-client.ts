/** What a caller holds its own transaction with, by structure: no driver has to be installed for these types. */

/** A client of `pg` (or one taken from its pool) after `BEGIN`. A pool is none: each of its queries may go elsewhere. */
interface PgClient {
  query(config: never): Promise<{ rows: unknown[] }>
  readonly processID?: unknown
  readonly totalCount?: never
  readonly transaction?: never
}

/** What `pglite.transaction` gives. */
interface PGliteTransaction {
  query(text: string, parameters?: never, options?: never): Promise<{ rows: unknown[] }>
  exec(text: string): Promise<unknown>
  rollback(): Promise<void>
}

/** What `db.transaction` of Drizzle gives, over any of its PostgreSQL drivers. */
interface DrizzleTransaction {
  execute(query: never): PromiseLike<unknown>
  rollback(): never
}

/** What `db.transaction().execute` or `db.startTransaction()` of Kysely gives. */
interface KyselyTransaction {
  readonly isTransaction: true
  executeQuery(query: never): Promise<{ rows: unknown[] }>
}

/** What an interactive `prisma.$transaction` gives. */
interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...parameters: unknown[]): PromiseLike<unknown>
  readonly $connect?: never
}

/**
 * Any other driver: runs a statement with parameters `$1`, `$2` … in the transaction and gives its rows, as arrays or as
 * objects in the order of the columns. Parameters are texts or null.
 */
export type RunInTransaction = (
  text: string,
  parameters: (string | null)[],
) => PromiseLike<readonly (readonly unknown[] | object)[]>

/** A transaction that the caller began and will end: of `pg`, PGlite, Drizzle, Kysely, Prisma, or of any driver as a function. */
export type TransactionClient =
  | PgClient
  | PGliteTransaction
  | DrizzleTransaction
  | KyselyTransaction
  | PrismaTransaction
  | RunInTransaction
