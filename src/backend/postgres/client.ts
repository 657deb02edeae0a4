/**
 * A caller's own transaction as our driver sees it: statements in, rows as arrays out, whatever runs them. Clients are
 * told apart by what they can do, never by their class, which another copy of their package would not share.
 */
import { createRequire } from 'node:module'
import { UnderpinError } from '../../error.ts'
import type { RunInTransaction } from '../../model/transaction-client.ts'
import { ArrayParameter } from './array.ts'
import { fromPGlite, type Parameter, type PGliteLike, pgConfig, type Query, type Row } from './driver.ts'

type Verbs = Record<string, unknown>

/** A `TypeError` for what holds no transaction. */
export function fromTransaction(client: unknown): Query {
  const run = toRun(client)
  return async (text, parameters) => {
    try {
      return await run(text, parameters)
    } catch (error) {
      throw serverError(error)
    }
  }
}

function toRun(client: unknown): Query {
  if (typeof client === 'function') return foreign(client as RunInTransaction)
  if (typeof client === 'object' && client !== null) {
    const verbs = client as Verbs
    const has = (name: string) => typeof verbs[name] === 'function'
    if (has('$queryRawUnsafe') && !has('$connect')) return foreign(prisma(client as PrismaLike))
    if (has('executeQuery') && verbs.isTransaction === true) return foreign(kysely(client as KyselyLike))
    if (has('execute') && has('rollback')) return foreign(drizzle(client as DrizzleLike))
    if (has('query') && has('exec')) return fromPGlite(client as PGliteLike).query
    if (has('query') && verbs.totalCount === undefined) return pg(client as PgLike)
  }
  throw new TypeError(
    'within() needs what runs statements in a transaction that you began: a pg client after BEGIN (not a pool), the transaction of PGlite, Drizzle, Kysely or Prisma, or a function (text, parameters) => rows',
  )
}

interface PgLike {
  query(config: object): Promise<{ rows: Row[] }>
}

/** Never prepared under our names: the session is the caller's, perhaps behind a pooler that hands it out by transaction. */
function pg(client: PgLike): Query {
  return async (text, parameters) => (await client.query(pgConfig(text, parameters))).rows
}

interface PrismaLike {
  $queryRawUnsafe(text: string, ...parameters: unknown[]): PromiseLike<object[]>
}

function prisma(client: PrismaLike): RunInTransaction {
  return (text, parameters) => client.$queryRawUnsafe(text, ...parameters)
}

interface KyselyLike {
  executeQuery(query: unknown): Promise<{ rows: object[] }>
}

function kysely(client: KyselyLike): RunInTransaction {
  const { CompiledQuery } = load<{ CompiledQuery: { raw(text: string, parameters: unknown[]): unknown } }>(
    'kysely',
  )
  return async (text, parameters) => (await client.executeQuery(CompiledQuery.raw(text, parameters))).rows
}

interface DrizzleLike {
  execute(query: unknown): PromiseLike<object[] | { rows: object[] }>
}

interface DrizzleSql {
  raw(text: string): unknown
  param(value: unknown): unknown
  join(chunks: unknown[]): unknown
}

function drizzle(client: DrizzleLike): RunInTransaction {
  const { sql } = load<{ sql: DrizzleSql }>('drizzle-orm')
  return async (text, parameters) => {
    const chunks = splitParameters(text).map((part) =>
      typeof part === 'string' ? sql.raw(part) : sql.param(parameters[part - 1]),
    )
    const result = await client.execute(sql.join(chunks))
    return Array.isArray(result) ? result : result.rows
  }
}

/** The texts between the parameters of a statement, and the parameters' numbers; what is quoted holds none. */
function splitParameters(text: string): (string | number)[] {
  const parts: (string | number)[] = []
  let from = 0
  for (const found of text.matchAll(/'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\d+)/g)) {
    if (found[1] === undefined) continue
    parts.push(text.slice(from, found.index), Number(found[1]))
    from = found.index + found[0].length
  }
  return [...parts, text.slice(from)].filter((part) => part !== '')
}

/** A driver that we do not know is given texts only: PostgreSQL takes them for whatever type the statement says. */
function foreign(run: RunInTransaction): Query {
  return async (text, parameters = []) => {
    const rows = await run(text, parameters.map(encodeParameter))
    return rows.map((row) => (Array.isArray(row) ? row : Object.values(row)))
  }
}

/** A parameter as PostgreSQL's text for it. */
function encodeParameter(value: Parameter): string | null {
  if (value === null) return null
  return value instanceof ArrayParameter ? value.toText() : String(value)
}

/** Of an error that a query builder wrapped, the server's own: `code` is its SQLSTATE. */
function serverError(error: unknown): unknown {
  for (let found = error as ForeignError | undefined; found !== undefined && found !== null; ) {
    if (found.severity !== undefined) return found
    if (found.originalCode !== undefined)
      return Object.assign(new Error(found.originalMessage ?? String(error), { cause: error }), {
        code: found.originalCode,
        severity: 'ERROR',
      })
    found = found.meta?.driverAdapterError ?? found.cause
  }
  return error
}

interface ForeignError {
  readonly severity?: string
  readonly cause?: ForeignError
  /** Prisma. */
  readonly meta?: { readonly driverAdapterError?: ForeignError }
  readonly originalCode?: string
  readonly originalMessage?: string
}

const require = createRequire(import.meta.url)

/** The query builder that the caller's transaction came from is installed, unless it is a copy out of our reach. */
function load<M>(name: string): M {
  try {
    return require(name) as M
  } catch (error) {
    if ((error as { code?: string }).code !== 'MODULE_NOT_FOUND') throw error
    throw new UnderpinError('driver-missing', `The package ${name} cannot be found from underpin`, {
      hint: `Install it beside underpin, or give within() a function: (text, parameters) => rows.`,
      cause: error,
    })
  }
}
