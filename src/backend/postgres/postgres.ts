/** The PostgreSQL backend: one schema, any number of processes. */
import { Alarm, type Clock, systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { CollectionDefinition } from '../../model/collection.ts'
import type { Fence } from '../../model/fence.ts'
import type { FeedPart } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { Heads } from '../async.ts'
import type { Backend, CallOptions, Supports } from '../backend.ts'
import { inTheWay } from '../foreign.ts'
import { baseOf, checkAuthority, checkFollower, inPartsAsync, type Plan, planCommits } from '../plan.ts'
import { inFeedParts, planApply } from '../plan-apply.ts'
import { handlerOf, refusalOf } from '../table-handler.ts'
import {
  type Database,
  fromPGlite,
  fromPool,
  openPool,
  type PGliteLike,
  type PgPool,
  type Query,
} from './driver.ts'
import { isMissing, isTaken, translate } from './error.ts'
import { readChanges } from './feed.ts'
import { readFence } from './fence-row.ts'
import { Gets } from './gets.ts'
import { needsOf } from './heads.ts'
import { Hints } from './hints.ts'
import type { MakePlan } from './locked.ts'
import { getDocuments, readStream, scanCollection } from './read.ts'
import { prepareSchema } from './schema.ts'
import { Tables } from './table.ts'
import { parseTarget } from './target.ts'
import { transit } from './transition.ts'
import { WithinBackend } from './within.ts'
import { type WriteOptions, Writer } from './writer.ts'

export {
  checkPostgresRole,
  grantPostgres,
  inspectPostgres,
  type PostgresGrant,
  type PostgresInspection,
} from './admin.ts'

export interface PostgresOptions {
  /** The schema that holds everything; `underpin` if left out. At most 63 bytes. */
  readonly schema?: string
  /** Sessions in the pool that a URL opens; 10 if left out. */
  readonly poolSize?: number
  /** Whether statements are prepared; switch it off behind a pooler that hands out sessions by transaction. */
  readonly prepare?: boolean
  /** Whether processes tell each other of commits by `NOTIFY`; as `prepare` if left out, because poolers do not pass it on. */
  readonly notify?: boolean
  /** Milliseconds between looks for commits of other processes, while somebody watches and no notification comes; 50 if left out. */
  readonly pollMs?: number
  readonly clock?: Clock
}

/**
 * A backend on PostgreSQL 14 or later: by URL (`postgres://user@host/database?schema=underpin&prepare=false`), on a
 * caller's own `pg.Pool`, or on a caller's PGlite instance. What the caller opened, the caller closes.
 */
export function postgres(
  target: string | PgPool | PGliteLike,
  options: PostgresOptions = {},
): PostgresBackend {
  return new PostgresBackend(target, options)
}

/** Records from which on a page is copied. */
const bulk = 100

export class PostgresBackend implements Backend {
  readonly name = 'postgres'
  readonly sync = undefined
  supports: Supports = {
    durability: 'durable',
    sync: false,
    shared: true,
    tables: true,
    transactions: true,
    watch: 'poll',
    limits: {},
  }
  /** As messages name it; they mask the password. */
  readonly #place: string
  readonly #tables: Tables
  readonly #open: () => Database
  readonly #clock: Clock
  readonly #pollMs: number
  readonly #heads = new Heads()
  readonly #writers = new Map<string, Writer>()
  readonly #gets = new Map<string, Gets>()
  readonly #mayNotify: boolean
  #hints: Hints | undefined
  /** By domain: tells a caller's client of another database. */
  readonly #incarnations = new Map<string, string>()
  #database: Database | undefined
  #closing = new AbortController()

  constructor(target: string | PgPool | PGliteLike, options: PostgresOptions) {
    const { url, schema, isPrepared, mayNotify } = parseTarget(target, options)
    this.#place = url ?? 'The PostgreSQL server'
    this.#tables = new Tables(schema)
    this.#clock = options.clock ?? systemClock
    this.#pollMs = options.pollMs ?? 50
    this.#mayNotify = mayNotify
    this.supports = { ...this.supports, watch: mayNotify ? 'push' : 'poll' }
    this.#open = () => {
      if (url !== undefined) return openPool(url, { size: options.poolSize ?? 10, isPrepared })
      if ('connect' in (target as object)) return fromPool(target as PgPool, { isPrepared })
      return fromPGlite(target as PGliteLike)
    }
  }

  async open(): Promise<void> {
    if (this.#database !== undefined) return
    this.#closing = new AbortController()
    const database = this.#open()
    try {
      const durability = await prepareSchema(database, this.#tables)
      const isHinted = this.#mayNotify && database.listen !== undefined
      this.supports = { ...this.supports, durability, watch: isHinted ? 'push' : 'poll' }
      this.#hints = isHinted ? this.#makeHints(database) : undefined
      this.#database = database
    } catch (error) {
      await database.close()
      throw translate(error, this.#place)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    const database = this.#database
    if (database === undefined) return
    this.#database = undefined
    await Promise.allSettled([...this.#writers.values()].map((writer) => writer.settled()))
    await this.#hints?.close()
    await database.close()
  }

  domains(options?: CallOptions): Promise<readonly string[]> {
    return this.#call(options, async ({ query }) => {
      const rows = await query(`SELECT domain FROM ${this.#tables.fences} ORDER BY domain`)
      return rows.map(([domain]) => String(domain))
    })
  }

  async fence(domain: string, options?: CallOptions): Promise<Fence> {
    const { fence } = await this.#call(options, ({ query }) => readFence(query, this.#tables, domain))
    if (fence.role !== 'vacant') this.#incarnations.set(domain, fence.incarnation)
    return fence
  }

  async commit(...[domain, epoch, commits, options]: Parameters<Backend['commit']>) {
    const commitPart = async (part: typeof commits) => {
      const make: MakePlan = (fence, view) => {
        checkAuthority(domain, fence, epoch)
        return planCommits(view, baseOf(fence), part)
      }
      const handler = handlerOf(part)
      const plan = this.#write(domain, options, make, { handler, needs: () => needsOf(part) })
      if (handler === undefined) return (await plan).outcomes
      return plan.then(({ outcomes }) => outcomes, refusalOf)
    }
    return inPartsAsync(commits, commitPart)
  }

  async apply(domain: string, epoch: number, page: FeedPart, options?: CallOptions): Promise<void> {
    if (page.repair !== undefined)
      return this.#call(options, (database) => this.#writer(domain).repair(database, epoch, page))
    for (const part of inFeedParts(page)) await this.#take(domain, epoch, part, options)
  }

  read(...[domain, stream, range, options]: Parameters<Backend['read']>) {
    return this.#readDomain(domain, options, (query) =>
      readStream(query, this.#tables, domain, stream, range),
    )
  }

  get(...[domain, keys, options]: Parameters<Backend['get']>) {
    return this.#readDomain(domain, options, async (query) => {
      for (const { collection } of keys) await this.#definition(query, domain, collection)
      const [key] = keys
      if (key === undefined || keys.length > 1) return getDocuments(query, this.#tables, domain, keys)
      const { document, ...served } = await this.#getsOf(domain, key.collection).get(query, key.id)
      return { documents: [document], ...served }
    })
  }

  scan(...[domain, request, options]: Parameters<Backend['scan']>) {
    return this.#readDomain(domain, options, async (query) => {
      const index = request.by === 'index' ? request.index : undefined
      const definition = await this.#definition(query, domain, request.collection, index)
      return scanCollection(query, this.#tables, domain, definition, request)
    })
  }

  changes(domain: string, after: Position, limit: number, options?: CallOptions): Promise<FeedPart> {
    const read = async (query: Query) => {
      const { catalog } = this.#writer(domain)
      for (;;) {
        const { version } = catalog
        const collections = [...(catalog.known()?.keys() ?? [])]
        const page = await readChanges(query, this.#tables, domain, collections, version, after, limit)
        if (page !== undefined) return page
        const row = await readFence(query, this.#tables, domain)
        await catalog.load(query, row.catalog)
      }
    }
    return this.#readDomain(domain, options, read, 0)
  }

  async transition(domain: string, from: Fence, to: Fence, options?: CallOptions): Promise<boolean> {
    const isDone = await this.#call(options, (database) => transit(database, this.#tables, domain, from, to))
    this.#writers.get(domain)?.forget()
    if (isDone) this.#moved(domain)
    return isDone
  }

  async *watch(domain: string, signal: AbortSignal): AsyncGenerator<Position> {
    const over = AbortSignal.any([signal, this.#closing.signal])
    const alarm = new Alarm()
    const hints = this.#hints
    const stop = this.#heads.listen(domain, () => alarm.ring())
    void hints?.listen(domain)
    try {
      for (let seen = '', isTold = true; !over.aborted; ) {
        const { head, role, epoch } = await this.fence(domain)
        const found = `${head} ${role} ${epoch}`
        if (found !== seen) {
          if (!isTold) hints?.missed(domain)
          yield head
        }
        seen = found
        isTold = await alarm.wait(this.#clock, hints?.lookAfterMs(domain) ?? this.#pollMs, over)
      }
    } finally {
      stop()
    }
  }

  within(client: unknown): Backend {
    const checkOpen = () => {
      if (this.#database === undefined) throw closed()
    }
    const { name, supports } = this
    const incarnation = (domain: string) => this.#incarnations.get(domain)
    const fence = (domain: string) => this.fence(domain)
    return new WithinBackend({ name, supports, tables: this.#tables, checkOpen, incarnation, fence }, client)
  }

  #makeHints(database: Database): Hints {
    const settings = { clock: this.#clock, pollMs: this.#pollMs }
    return new Hints(database, this.#tables.schema, settings, (domain) => this.#heads.moved(domain))
  }

  /** Tells the watchers of this process, and other processes. */
  #moved(domain: string): void {
    this.#heads.moved(domain)
    this.#hints?.moved(domain)
  }

  #write(
    domain: string,
    options: CallOptions | undefined,
    make: MakePlan,
    how: WriteOptions = {},
  ): Promise<Plan> {
    return this.#call(options, (database) => this.#writer(domain).write(database, make, how))
  }

  async #take(
    domain: string,
    epoch: number,
    part: FeedPart,
    options: CallOptions | undefined,
  ): Promise<void> {
    const make: MakePlan = (fence, view) => {
      checkFollower(domain, fence, epoch)
      return planApply(view, baseOf(fence), part)
    }
    try {
      await this.#write(domain, options, make, { isBulk: part.items.length >= bulk })
    } catch (error) {
      throw isTaken(error) ? inTheWay(domain, error) : error
    }
  }

  #writer(domain: string): Writer {
    const known = this.#writers.get(domain)
    if (known !== undefined) return known
    const writer = new Writer(this.#tables, domain, this.#clock, () => this.#moved(domain))
    this.#writers.set(domain, writer)
    return writer
  }

  #getsOf(domain: string, collection: string): Gets {
    const name = `${domain}\0${collection}`
    const known = this.#gets.get(name)
    if (known !== undefined) return known
    const gets = new Gets(this.#tables, domain, collection, this.#clock)
    this.#gets.set(name, gets)
    return gets
  }

  /** The definition of a collection (with an index), read again if this process does not know it; `invalid` if there is none. */
  async #definition(
    query: Query,
    domain: string,
    collection: string,
    index?: string,
  ): Promise<CollectionDefinition> {
    const { catalog } = this.#writer(domain)
    const known = catalog.known()?.get(collection)
    if (known !== undefined && (index === undefined || Object.hasOwn(known.indexes, index))) return known
    const definition = (await catalog.load(query)).get(collection)
    if (definition !== undefined) return definition
    throw new UnderpinError('invalid', `The collection ${collection} is not declared in domain ${domain}`, {
      details: { domain, collection },
    })
  }

  /**
   * A read of a domain that is not here finds no tables: it is empty. Where there is one, it may be another copy than the
   * one whose collections this process knows: they are read again.
   */
  #readDomain<T>(
    domain: string,
    options: CallOptions | undefined,
    read: (query: Query) => Promise<T>,
    next: 0 | null = null,
  ): Promise<T> {
    return this.#call(options, async ({ query }) => {
      try {
        return await read(query)
      } catch (error) {
        if (!isMissing(error)) throw error
        if ((await readFence(query, this.#tables, domain)).fence.role === 'vacant')
          return { items: [], documents: [], next, epoch: 0, role: 'vacant', head: 0 } as T
        this.#writers.get(domain)?.catalog.forget()
        return read(query)
      }
    })
  }

  async #call<T>(options: CallOptions | undefined, run: (database: Database) => Promise<T>): Promise<T> {
    if (options?.signal?.aborted)
      throw new UnderpinError('aborted', 'The call was aborted before it began', {
        cause: options.signal.reason,
      })
    if (this.#database === undefined) throw closed()
    try {
      return await run(this.#database)
    } catch (error) {
      throw translate(error, this.#place)
    }
  }
}

function closed(): UnderpinError {
  return new UnderpinError('closed', 'The postgres backend was closed')
}
