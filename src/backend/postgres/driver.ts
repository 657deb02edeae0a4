/** What is needed of a PostgreSQL driver: a pool or a PGlite instance, through one small interface. */
import { createRequire } from 'node:module'
import { UnderpinError } from '../../error.ts'
import { checksumOf } from '../../model/digest.ts'
import type { SqlValue } from '../sql/scan.ts'

export type Parameter = SqlValue | readonly SqlValue[]
export type Row = readonly unknown[]

/** Runs a statement; rows are arrays of column values, `bigint` columns numbers. */
export type Query = (text: string, parameters?: readonly Parameter[]) => Promise<readonly Row[]>

export interface Database {
  readonly query: Query
  /** Runs work in a transaction: committed when it returns, rolled back when it throws. `client` is the driver's own. */
  transaction<T>(work: (query: Query, client: unknown) => Promise<T>): Promise<T>
  close(): Promise<void>
}

/** The part of `pg.Pool` that is used. */
export interface PgPool {
  query(config: object): Promise<{ rows: unknown[][] }>
  connect(): Promise<PgClient>
  end(): Promise<void>
}

interface PgClient {
  query(config: object | string): Promise<{ rows: unknown[][] }>
  release(error?: boolean): void
  on(event: 'error', run: () => void): unknown
  off(event: 'error', run: () => void): unknown
}

interface PgModule {
  Pool: new (options: object) => PgPool & { on(event: 'error', run: (error: Error) => void): void }
  types: { getTypeParser(oid: number, format: string): (value: string) => unknown }
}

export interface PoolOptions {
  readonly size: number
  /** Whether statements are prepared once for each session; not behind a transaction pooler. */
  readonly isPrepared: boolean
}

const require = createRequire(import.meta.url)

/** Opens a pool for a URL; `driver-missing` if `pg` is not installed. */
export function openPool(url: string, options: PoolOptions): Database {
  const { Pool } = loadPg()
  const pool = new Pool({ connectionString: url, max: options.size, connectionTimeoutMillis: 10_000 })
  // A session whose connection dies while it is idle is dropped by the pool; the next call takes another.
  pool.on('error', () => {})
  return { ...fromPool(pool, options), close: () => pool.end() }
}

/** A caller's own pool; closing it stays with the caller. */
export function fromPool(pool: PgPool, { isPrepared }: Pick<PoolOptions, 'isPrepared'>): Database {
  const configOf = (text: string, values?: readonly Parameter[]) => ({
    ...(isPrepared ? { name: nameOf(text) } : {}),
    ...pgConfig(text, values),
  })
  return {
    query: async (text, parameters) => (await pool.query(configOf(text, parameters))).rows,
    async transaction(work) {
      const client = await pool.connect()
      // A connection that dies says so on its own too, and an error that nobody listens to ends the process.
      const onError = () => {}
      client.on('error', onError)
      let isBroken = true
      try {
        await client.query('BEGIN')
        let result: Awaited<ReturnType<typeof work>>
        try {
          result = await work(
            async (text, parameters) => (await client.query(configOf(text, parameters))).rows,
            client,
          )
        } catch (error) {
          await client.query('ROLLBACK').then(() => (isBroken = false))
          throw error
        }
        await client.query('COMMIT')
        isBroken = false
        return result
      } finally {
        client.off('error', onError)
        client.release(isBroken)
      }
    },
    async close() {},
  }
}

/** A statement as `pg` takes it. */
export function pgConfig(text: string, values: readonly Parameter[] = []) {
  return { text, values, rowMode: 'array', types: parsers }
}

const names = new Map<string, string>()

/** Made from the text, so that no two backends on one pool ever have one name for two statements. */
function nameOf(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `underpin_${checksumOf(text)}`
  names.set(text, name)
  return name
}

function loadPg(): PgModule {
  try {
    return require('pg') as PgModule
  } catch (error) {
    if ((error as { code?: string }).code !== 'MODULE_NOT_FOUND') throw error
    throw new UnderpinError('driver-missing', 'The package pg is not installed', {
      hint: 'Run: npm install pg@8',
      cause: error,
    })
  }
}

const int8 = 20
type Parser = (value: string) => unknown

/** Positions and times are below 2^53, so `bigint` columns can be numbers. Asked for each column of each answer: kept. */
class Parsers {
  readonly #known = new Map<string, Parser>([[`${int8} text`, Number]])

  readonly getTypeParser = (oid: number, format = 'text'): Parser => {
    const name = `${oid} ${format}`
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const parser = loadPg().types.getTypeParser(oid, format)
    this.#known.set(name, parser)
    return parser
  }
}

const parsers = new Parsers()

/** The part of a PGlite instance that is used. */
export interface PGliteLike {
  query(text: string, parameters?: unknown[], options?: object): Promise<{ rows: unknown[] }>
  transaction<T>(work: (tx: Pick<PGliteLike, 'query'>) => Promise<T>): Promise<T | undefined>
}

/** A caller's own PGlite instance: PostgreSQL inside this process. */
export function fromPGlite(instance: PGliteLike): Database {
  const on = (target: Pick<PGliteLike, 'query'>): Query => {
    const options = { rowMode: 'array', parsers: { [int8]: Number } }
    return async (text, parameters = []) => (await target.query(text, [...parameters], options)).rows as Row[]
  }
  return {
    query: on(instance),
    transaction: (work) => instance.transaction((tx) => work(on(tx), tx)) as ReturnType<typeof work>,
    async close() {},
  }
}
