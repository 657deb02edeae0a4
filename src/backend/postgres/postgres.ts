/** The PostgreSQL backend: one schema, any number of processes. */
import { type Clock, systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { type CollectionDefinition, definitionsCollection } from '../../model/collection.ts'
import type { TableHandler } from '../../model/commit.ts'
import { type Fence, sameFence, vacantFence } from '../../model/fence.ts'
import type { Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { Heads } from '../async.ts'
import type { Backend, CallOptions, Supports } from '../backend.ts'
import {
  baseOf,
  checkAuthority,
  checkFollower,
  declaredIn,
  inPartsAsync,
  type Plan,
  planApply,
  planCommits,
} from '../plan.ts'
import { handlerOf, refusalOf } from '../table-handler.ts'
import { Wake } from '../wake.ts'
import {
  type Database,
  fromPGlite,
  fromPool,
  openPool,
  type PGliteLike,
  type PgPool,
  type Query,
} from './driver.ts'
import { isRefusal, translate } from './error.ts'
import { runHandler } from './handler.ts'
import { isUnique, type MakePlan, selectFence, writeUnderLock } from './locked.ts'
import { getDocument, getDocuments, readChanges, readStream, scanCollection } from './read.ts'
import { prepareSchema } from './schema.ts'
import { createDomain, dropDomain, Tables } from './table.ts'
import { parseTarget } from './target.ts'
import { PostgresView } from './view.ts'
import { WithinBackend } from './within.ts'
import { writePlan } from './write.ts'

export interface PostgresOptions {
  /** The schema that holds everything; `underpin` if left out. At most 63 bytes. */
  readonly schema?: string
  /** Sessions in the pool that a URL opens; 10 if left out. */
  readonly poolSize?: number
  /** Whether statements are prepared; switch it off behind a pooler that hands out sessions by transaction. */
  readonly prepare?: boolean
  /** Milliseconds between looks for commits of other processes, while somebody watches; 50 if left out. */
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

/** Groups that go under the lock at once after writers met: optimism has just been shown to be wrong. */
const lockedGroups = 16

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
  readonly #views = new Map<string, PostgresView>()
  /** The fences as this process last saw them: what it plans for, and what a write is guarded by. */
  readonly #fences = new Map<string, Fence>()
  readonly #contended = new Map<string, number>()
  /** By domain: tells a caller's client of another database. */
  readonly #incarnations = new Map<string, string>()
  /** Writes of one domain follow one another: each is planned on what the one before left. */
  readonly #turns = new Map<string, Promise<unknown>>()
  #database: Database | undefined
  #closing = new AbortController()

  constructor(target: string | PgPool | PGliteLike, options: PostgresOptions) {
    const { url, schema, isPrepared } = parseTarget(target, options)
    this.#place = url ?? 'The PostgreSQL server'
    this.#tables = new Tables(schema)
    this.#clock = options.clock ?? systemClock
    this.#pollMs = options.pollMs ?? 50
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
      this.supports = { ...this.supports, durability }
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
    await Promise.allSettled([...this.#turns.values()])
    await database.close()
  }

  domains(options?: CallOptions): Promise<readonly string[]> {
    return this.#call(options, async ({ query }) => {
      const rows = await query(`SELECT domain FROM ${this.#tables.fences} ORDER BY domain`)
      return rows.map(([domain]) => String(domain))
    })
  }

  async fence(domain: string, options?: CallOptions): Promise<Fence> {
    const fence = await this.#call(options, ({ query }) => this.#fence(query, domain))
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
      const plan = this.#write(domain, options, make, handler)
      if (handler === undefined) return (await plan).outcomes
      return plan.then(({ outcomes }) => outcomes, refusalOf)
    }
    return inPartsAsync(commits, commitPart)
  }

  async apply(
    domain: string,
    epoch: number,
    page: Page<Change, Position>,
    options?: CallOptions,
  ): Promise<void> {
    await this.#write(domain, options, (fence, view) => {
      checkFollower(domain, fence, epoch)
      return planApply(view, baseOf(fence), page)
    })
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
      return key !== undefined && keys.length === 1
        ? getDocument(query, this.#tables, domain, key)
        : getDocuments(query, this.#tables, domain, keys)
    })
  }

  scan(...[domain, request, options]: Parameters<Backend['scan']>) {
    return this.#readDomain(domain, options, async (query) => {
      const definition = await this.#definition(query, domain, request.collection)
      return scanCollection(query, this.#tables, domain, definition, request)
    })
  }

  changes(
    domain: string,
    after: Position,
    limit: number,
    options?: CallOptions,
  ): Promise<Page<Change, Position>> {
    return this.#call(options, async ({ query }) => {
      const fence = await this.#fence(query, domain)
      if (fence.role === 'vacant') return { items: [], next: 0, epoch: 0, role: 'vacant', head: 0 }
      const collections = [...(await this.#view(domain, fence.head).definitions(query)).keys()]
      return readChanges(query, this.#tables, domain, collections, after, limit)
    })
  }

  async transition(domain: string, from: Fence, to: Fence, options?: CallOptions): Promise<boolean> {
    const isDone = await this.#call(options, (database) =>
      database.transaction(async (query) => {
        await query('SELECT pg_advisory_xact_lock(hashtext($1))', [`${this.#tables.schema}.${domain}`])
        const found = await this.#fence(query, domain, 'FOR UPDATE')
        if (!sameFence(found, from)) return false
        const isNewCopy = to.role === 'prepared' || found.role === 'vacant'
        if (isNewCopy) {
          await dropDomain(query, this.#tables, domain)
          await createDomain(query, this.#tables, domain)
        }
        const { head, digest } = isNewCopy ? vacantFence : found
        await query(
          `INSERT INTO ${this.#tables.fences} (domain, role, epoch, head, digest, incarnation, successor) VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (domain) DO UPDATE SET role = $2, epoch = $3, head = $4, digest = $5, incarnation = $6, successor = $7`,
          [domain, to.role, to.epoch, head, digest, to.incarnation, to.successor],
        )
        return true
      }),
    )
    this.#forget(domain)
    this.#views.delete(domain)
    if (isDone) this.#heads.moved(domain)
    return isDone
  }

  async *watch(domain: string, signal: AbortSignal): AsyncGenerator<Position> {
    const wake = new Wake(AbortSignal.any([signal, this.#closing.signal]))
    const stop = this.#heads.listen(domain, () => wake.now())
    try {
      for (let seen = -1; !wake.isOver; ) {
        const { head } = await this.fence(domain)
        if (head !== seen) yield head
        seen = head
        await wake.next(this.#clock, this.#pollMs)
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

  /** Plans and writes: at first guarded by the fence as it was last seen; when writers meet, or with a handler, under its lock. */
  #write(
    domain: string,
    options: CallOptions | undefined,
    plan: MakePlan,
    handler?: TableHandler,
  ): Promise<Plan> {
    return this.#inTurn(domain, () =>
      this.#call(options, async (database) => {
        if (handler !== undefined) return this.#writeLocked(database, domain, plan, handler)
        const contended = this.#contended.get(domain) ?? 0
        if (contended > 0) this.#contended.set(domain, contended - 1)
        else {
          const written = await this.#writeGuarded(database, domain, plan)
          if (written !== undefined) return written
          this.#contended.set(domain, lockedGroups)
        }
        return this.#writeLocked(database, domain, plan)
      }),
    )
  }

  /** Undefined if somebody else moved the fence, or if the plan needs more than one statement. */
  async #writeGuarded(database: Database, domain: string, make: MakePlan): Promise<Plan | undefined> {
    const known = this.#fences.get(domain)
    if (known === undefined) return undefined
    const view = this.#view(domain, known.head)
    const definitions = await view.definitions(database.query)
    const plan = await view.plan(database.query, () => make(known, view))
    if (plan.evicted.length > 0 || needsTransaction(plan, definitions)) return undefined
    const isWritten =
      plan.changes.length === 0 && plan.head === known.head
        ? isSameRight(await this.#fence(database.query, domain), known)
        : await this.#resolved(database, domain, plan, () =>
            writePlan(database.query, this.#tables, domain, known, plan),
          )
    if (!isWritten) {
      this.#forget(domain)
      return undefined
    }
    this.#remember(domain, known, plan, view)
    return plan
  }

  async #writeLocked(
    database: Database,
    domain: string,
    make: MakePlan,
    handler?: TableHandler,
  ): Promise<Plan> {
    let planned: Plan | undefined
    let seen: Fence | undefined
    const view = this.#views.get(domain) ?? this.#view(domain, -1)
    const run = () =>
      database.transaction(async (query, client) => {
        const { outcomes } = await writeUnderLock(query, this.#tables, domain, view, make, (fence, plan) => {
          seen = fence
          planned = plan
        })
        if (handler !== undefined) await runHandler(query, client, handler, outcomes[0])
      })
    try {
      await this.#resolved(database, domain, () => planned, run)
      if (planned === undefined || seen === undefined) throw new TypeError('nothing was planned')
      if (declaredIn(planned.changes).size > 0) view.clear()
      this.#remember(domain, seen, planned, view)
      return planned
    } catch (error) {
      this.#forget(domain)
      view.clear()
      throw error
    }
  }

  /** Runs a write; when its session died, asks the store what became of it. */
  async #resolved<T>(
    database: Database,
    domain: string,
    planned: Plan | (() => Plan | undefined),
    run: () => Promise<T>,
  ): Promise<T | true> {
    try {
      return await run()
    } catch (error) {
      const plan = typeof planned === 'function' ? planned() : planned
      this.#forget(domain)
      if (isRefusal(error) || plan === undefined) throw error
      const isThere = await this.#isWritten(database, domain, plan).catch((cause) => {
        throw new UnderpinError(
          'unknown',
          `The session ended while a commit was under way in domain ${domain}`,
          {
            hint: 'Give commits an id and retry them to find out.',
            cause,
          },
        )
      })
      if (isThere) return true
      throw error
    }
  }

  /** Whether a plan was written. Waits for the lost session's transaction to end, by taking the lock that it holds. */
  #isWritten(database: Database, domain: string, plan: Plan): Promise<boolean> {
    return database.transaction(async (query) => {
      const { head, digest } = await this.#fence(query, domain, 'FOR UPDATE')
      if (head < plan.head) return false
      if (head === plan.head) return digest === plan.digest.toString()
      for (const change of plan.changes) {
        const table =
          change.kind === 'event'
            ? this.#tables.events(domain)
            : this.#tables.collection(domain, change.collection)
        const column = change.kind === 'event' ? 'position' : 'revision'
        const [row] = await query(`SELECT checksum FROM ${table} WHERE ${column} = $1`, [change.position])
        if (row !== undefined) return row[0] === change.checksum
      }
      throw new UnderpinError('unknown', 'All that the commit wrote was overwritten since')
    })
  }

  #remember(domain: string, fence: Fence, plan: Plan, view: PostgresView): void {
    view.cache.absorb(plan.stage, plan.head)
    this.#fences.set(domain, { ...fence, head: plan.head, digest: plan.digest.toString() })
    if (plan.head !== fence.head) this.#heads.moved(domain)
  }

  #forget(domain: string): void {
    this.#fences.delete(domain)
  }

  #fence(query: Query, domain: string, lock?: 'FOR UPDATE'): Promise<Fence> {
    return selectFence(query, this.#tables, domain, lock)
  }

  #view(domain: string, head: Position): PostgresView {
    const view = this.#views.get(domain) ?? new PostgresView(this.#tables, domain)
    this.#views.set(domain, view)
    view.moveTo(head)
    return view
  }

  /** The definition of a collection, asked for again if this process does not know it; `invalid` if there is none. */
  async #definition(query: Query, domain: string, collection: string): Promise<CollectionDefinition> {
    const known = this.#views.get(domain)
    const definition =
      (known === undefined ? undefined : (await known.definitions(query)).get(collection)) ??
      (await new PostgresView(this.#tables, domain).definitions(query)).get(collection)
    if (definition !== undefined) return definition
    throw new UnderpinError('invalid', `The collection ${collection} is not declared in domain ${domain}`, {
      details: { domain, collection },
    })
  }

  /** A read of a domain that is not here finds no tables: it is empty. */
  #readDomain<T>(
    domain: string,
    options: CallOptions | undefined,
    read: (query: Query) => Promise<T>,
  ): Promise<T> {
    return this.#call(options, async ({ query }) => {
      try {
        return await read(query)
      } catch (error) {
        if ((error as { code?: string }).code !== '42P01') throw error
        if ((await this.#fence(query, domain)).role !== 'vacant') throw error
        return { items: [], documents: [], next: null, epoch: 0, role: 'vacant', head: 0 } as T
      }
    })
  }

  async #inTurn<T>(domain: string, run: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(domain) ?? Promise.resolve()
    const turn = before.then(run, run)
    const settled = turn.catch(() => undefined)
    this.#turns.set(domain, settled)
    try {
      return await turn
    } finally {
      if (this.#turns.get(domain) === settled) this.#turns.delete(domain)
    }
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

function isSameRight(found: Fence, seen: Fence): boolean {
  return found.role === seen.role && found.epoch === seen.epoch && found.head === seen.head
}

/** New tables, and unique keys that may pass from one document to another, take more than one statement. */
function needsTransaction(plan: Plan, definitions: ReadonlyMap<string, CollectionDefinition>): boolean {
  return plan.changes.some(
    (change) =>
      change.kind !== 'event' &&
      (change.collection === definitionsCollection ||
        !definitions.has(change.collection) ||
        isUnique(definitions.get(change.collection))),
  )
}
