/** What is needed of a PostgreSQL driver: a pool or a PGlite instance, through one small interface. */
import { createRequire } from 'node:module'
import { systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { checksumOf } from '../../model/digest.ts'
import type { SqlValue } from '../sql/scan.ts'
import { ArrayParameter } from './array.ts'
import { checkOut, giveBack } from './check-out.ts'
import type { CopyConnection, CopyRows } from './copy.ts'
import { type ConfigOf, PgTransaction } from './pg-transaction.ts'
import { refusePooler } from './pooler.ts'

export type Parameter = SqlValue | ArrayParameter
export type Row = readonly unknown[]

/** How a statement is run. */
export interface How {
  /**
   * Planned each time, by the table as it is then. A prepared statement keeps the plan that was right for a table of a
   * few rows, which is to read all of it, until the server has counted the rows again.
   */
  readonly isPlannedAnew?: boolean
}

/** Runs a statement; rows are arrays of column values, `bigint` columns numbers. */
export type Query = (text: string, parameters?: readonly Parameter[], how?: How) => Promise<readonly Row[]>

export type Copy = (rows: CopyRows) => Promise<void>

/** What a transaction has beside its statements. */
export interface Session {
  /** A statement that ends the transaction with its success: nothing may follow it. */
  readonly last: Query
  /** The rows of each of the first statements. */
  readonly first: readonly (readonly Row[])[]
  /** `COPY`, where the driver has it. */
  readonly copy: Copy | undefined
  /** The driver's own client. */
  readonly client: unknown
}

export interface Database {
  readonly query: Query
  /**
   * Runs work in a transaction: committed when it returns, rolled back when it throws. First statements, without
   * parameters, go with the beginning in one round trip; the session has their rows.
   */
  transaction<T>(work: (query: Query, session: Session) => Promise<T>, first?: readonly string[]): Promise<T>
  /** Refuses sessions in which prepared statements do not hold; undefined where nothing is prepared. */
  readonly checkSessions?: () => Promise<void>
  /** Opens a session of its own that hears notifications. Undefined where there is no other process to hear from. */
  readonly listen?: (onNotify: (channel: string) => void, onLost: () => void) => Promise<Listening>
  close(): Promise<void>
}

/** A session that hears notifications. */
export interface Listening {
  add(channel: string): Promise<void>
  close(): Promise<void>
}

/** The part of `pg.Pool` that is used. */
export interface PgPool {
  query(config: object): Promise<{ rows: unknown[][] }>
  connect(done: (error: Error | undefined, client: PgClient | undefined) => void): void
  end(): Promise<void>
  /** What the pool makes its clients of; without them nobody can listen beside it. */
  readonly Client?: new (
    options: never,
  ) => PgListener
  readonly options?: { readonly max?: number | undefined }
}

interface PgListener {
  connect(): Promise<unknown>
  query(config: object): Promise<unknown>
  readonly connection?: { readonly stream?: { destroy(): unknown } }
  end(): Promise<void>
  on(event: 'notification', run: (message: { channel: string }) => void): unknown
  on(event: 'error' | 'end', run: () => void): unknown
}

export interface PgClient {
  /** The session on the server, as it was named when the connection was made. */
  readonly processID?: number | null | undefined
  /** Whether statements are sent without waiting for those before. Undefined in versions that cannot. */
  pipeline?: boolean
  /** The driver's own, not that of its native variant. */
  readonly connection?: Partial<CopyConnection>
  query(config: object | string): Promise<{ rows: unknown[][]; command?: string }>
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

/** A statement that gets no answer for so long has lost its connection without being told. Those that build tables may take longer. */
const statementMs = 15_000
const goodbyeMs = 1_000
const building = /^(?:ALTER|CREATE|DROP)/

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
  const configOf: ConfigOf = (text, values, how) => ({
    ...(isPrepared && how?.isPlannedAnew !== true ? { name: nameOf(text) } : {}),
    ...pgConfig(text, values),
  })
  return {
    query: async (text, parameters, how) => (await pool.query(configOf(text, parameters, how))).rows,
    async transaction(work, first) {
      const client = await checkOut(pool)
      const transaction = new PgTransaction(client, configOf)
      try {
        return await transaction.run(work, first ?? [], parsers)
      } finally {
        giveBack(client, !transaction.isOver)
      }
    },
    ...(pool.Client === undefined || pool.options === undefined ? {} : { listen: listenBeside(pool) }),
    ...(isPrepared ? { checkSessions: () => refusePooler(pool) } : {}),
    async close() {},
  }
}

/** Not a client of the pool: that would be one less for everybody else, for as long as somebody watches. */
const listenBeside =
  ({ Client, options }: PgPool): NonNullable<Database['listen']> =>
  async (onNotify, onLost) => {
    if (Client === undefined) throw new TypeError('This pool does not say what its clients are')
    const client = new Client(options as never)
    let isOver = false
    const end = () => {
      if (!isOver) onLost()
      isOver = true
    }
    client.on('error', end)
    client.on('end', end)
    client.on('notification', ({ channel }) => onNotify(channel))
    await client.connect()
    let last: Promise<unknown> = Promise.resolve()
    return {
      /** One after the other: the client is to be asked nothing while it waits for an answer. */
      async add(channel) {
        const listen = () => client.query({ text: `LISTEN "${channel}"`, query_timeout: statementMs })
        const adding = last.then(listen, listen)
        last = adding
        await adding
      },
      /** Where the network drops packets the other side never says goodbye: it is not waited for. */
      async close() {
        isOver = true
        const cancel = systemClock.timer(goodbyeMs, () => client.connection?.stream?.destroy())
        await client.end().finally(cancel)
      },
    }
  }

/** A statement as `pg` takes it. */
export function pgConfig(text: string, values: readonly Parameter[] = []) {
  const encoded = values.map((value) => (value instanceof ArrayParameter ? value.toBinary() : value))
  const query_timeout = building.test(text) ? undefined : statementMs
  return { text, values: encoded, rowMode: 'array', types: parsers, query_timeout }
}

const names = new Map<string, string>()

/** A name belongs to one text, in every process: where sessions are shared after all, no other statement is run. */
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
    return async (text, parameters = []) => {
      const values = parameters.map((value) => (value instanceof ArrayParameter ? [...value.values] : value))
      return (await target.query(text, values, options)).rows as Row[]
    }
  }
  return {
    query: on(instance),
    transaction: (work, first) =>
      instance.transaction(async (tx) => {
        const query = on(tx)
        const rows: (readonly Row[])[] = []
        for (const statement of first ?? []) rows.push(await query(statement))
        return work(query, { first: rows, last: query, copy: undefined, client: tx })
      }) as ReturnType<typeof work>,
    async close() {},
  }
}
