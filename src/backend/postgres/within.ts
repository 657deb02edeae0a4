/**
 * The verbs inside a transaction that the caller holds. What a commit writes here stands or falls with that
 * transaction, so every outcome is provisional until the caller has committed it, and nothing that is read or planned
 * here is remembered by the process: it may never have happened.
 */
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { CollectionDefinition } from '../../model/collection.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import type { Fence } from '../../model/fence.ts'
import type { FeedPart } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import type { Backend, CallOptions, Supports } from '../backend.ts'
import { baseOf, checkAuthority, inPartsAsync, planCommits } from '../plan.ts'
import { HandlerFailed, handlerOf, refusalOf } from '../table-handler.ts'
import { Catalog } from './catalog.ts'
import { fromTransaction } from './client.ts'
import type { Query } from './driver.ts'
import { stateOf, translate } from './error.ts'
import { readChanges } from './feed.ts'
import { lockFence, readFence, toFenceRow } from './fence-row.ts'
import { runHandler } from './handler.ts'
import { writeUnderLock } from './locked.ts'
import { getDocuments, readStream, scanCollection } from './read.ts'
import type { Tables } from './table.ts'
import { PostgresView } from './view.ts'
import { newToken } from './write.ts'

/** What the backend that the transaction's store is on tells of itself. */
export interface Host {
  readonly name: string
  readonly supports: Supports
  readonly tables: Tables
  /** Throws `closed` when it was closed. */
  checkOpen(): void
  /** The incarnation of a domain as the backend saw it last over its own connections, if it did. */
  incarnation(domain: string): string | undefined
  /** Looks again, over its own connections. */
  fence(domain: string): Promise<Fence>
}

export class WithinBackend implements Backend {
  readonly sync = undefined
  readonly #host: Host
  readonly #client: object
  readonly #query: Query
  /** Of the call under way. */
  #signal: AbortSignal | undefined
  /** The domains that were found here: statements on their tables cannot fail for lack of them. */
  readonly #present = new Set<string>()
  /** The domains that were found to be those of the backend. */
  readonly #checked = new Set<string>()

  constructor(host: Host, client: unknown) {
    this.#host = host
    const run = fromTransaction(client)
    // Whoever gave the call up may have ended the transaction: what came now would be in none, or in somebody else's.
    this.#query = async (text, parameters) => {
      if (this.#signal?.aborted) throw givenUp(this.#signal.reason)
      return run(text, parameters)
    }
    this.#client = client as object
  }

  get name() {
    return this.#host.name
  }

  get supports() {
    return this.#host.supports
  }

  domains(options?: CallOptions): Promise<readonly string[]> {
    return this.#call(options, async () => {
      const rows = await this.#query(`SELECT domain FROM ${this.#host.tables.fences} ORDER BY domain`)
      return rows.map(([domain]) => String(domain))
    })
  }

  fence(domain: string, options?: CallOptions): Promise<Fence> {
    return this.#call(options, () => this.#fence(domain))
  }

  /** Locks the domain only now, and until the caller's transaction ends; not if nothing was written. */
  commit(...[domain, epoch, commits, options]: Parameters<Backend['commit']>): Promise<readonly Outcome[]> {
    return this.#call(options, () =>
      inPartsAsync(commits, (part) => {
        const outcomes = this.#guarded(() => this.#write(domain, epoch, part))
        return handlerOf(part) === undefined ? outcomes : outcomes.catch(refusalOf)
      }),
    )
  }

  read(...[domain, stream, range, options]: Parameters<Backend['read']>) {
    return this.#readDomain(domain, options, () =>
      readStream(this.#query, this.#host.tables, domain, stream, range),
    )
  }

  get(...[domain, keys, options]: Parameters<Backend['get']>) {
    return this.#readDomain(domain, options, async () => {
      const definitions = await this.#definitions(domain)
      for (const { collection } of keys) definitionOf(definitions, domain, collection)
      return getDocuments(this.#query, this.#host.tables, domain, keys)
    })
  }

  scan(...[domain, request, options]: Parameters<Backend['scan']>) {
    return this.#readDomain(domain, options, async () => {
      const definition = definitionOf(await this.#definitions(domain), domain, request.collection)
      return scanCollection(this.#query, this.#host.tables, domain, definition, request)
    })
  }

  changes(domain: string, after: Position, limit: number, options?: CallOptions) {
    return this.#readDomain<FeedPart>(domain, options, async () => {
      const { tables } = this.#host
      for (;;) {
        const { catalog } = await readFence(this.#query, tables, domain)
        const collections = [...(await this.#definitions(domain)).keys()]
        const page = await readChanges(this.#query, tables, domain, collections, catalog, after, limit)
        if (page !== undefined) return page
      }
    })
  }

  async open(): Promise<void> {
    throw refused('open')
  }

  async close(): Promise<void> {
    throw refused('close')
  }

  async apply(): Promise<void> {
    throw refused('apply')
  }

  async transition(): Promise<boolean> {
    throw refused('transition')
  }

  watch(): AsyncIterable<Position> {
    throw refused('watch')
  }

  within(): Backend {
    throw refused('within')
  }

  async #write(domain: string, epoch: number, commits: readonly Commit[]): Promise<readonly Outcome[]> {
    const { tables } = this.#host
    await this.#checkPlace(domain)
    const view = new PostgresView(tables, domain, new Catalog(tables, domain))
    const make = (fence: Fence) => {
      checkAuthority(domain, fence, epoch)
      return planCommits(view, baseOf(fence), commits)
    }
    const [found] = await this.#query(lockFence(tables, domain))
    const write = { tables, domain, view, make, token: newToken() }
    const { outcomes } = await writeUnderLock(this.#query, toFenceRow(found), write)
    const handler = handlerOf(commits)
    if (handler !== undefined) await runHandler(this.#query, this.#client, handler, outcomes[0])
    return outcomes
  }

  /** A client of another database, a copy of ours say, would take the commit without a word, where nobody looks for it. */
  async #checkPlace(domain: string): Promise<void> {
    const known = this.#host.incarnation(domain)
    if (known === undefined || this.#checked.has(domain)) return
    const { incarnation } = (await readFence(this.#query, this.#host.tables, domain)).fence
    if (incarnation !== known && incarnation !== (await this.#host.fence(domain)).incarnation) {
      throw new UnderpinError(
        'invalid',
        `The transaction given to within() is in another database than domain ${domain}`,
        {
          hint: 'Connect the client and the store to the same database.',
          details: { domain },
        },
      )
    }
    this.#checked.add(domain)
  }

  /**
   * Runs a write under a savepoint, which cannot be made outside of a transaction. Whatever goes wrong, or if nothing
   * was written, the caller's transaction is taken back to it: still usable, and the domain not locked.
   */
  async #guarded(write: () => Promise<readonly Outcome[]>): Promise<readonly Outcome[]> {
    await this.#query('SAVEPOINT underpin_commit')
    const undo = async () => {
      await this.#query('ROLLBACK TO SAVEPOINT underpin_commit')
      await this.#query('RELEASE SAVEPOINT underpin_commit')
    }
    let outcomes: readonly Outcome[]
    try {
      outcomes = await write()
    } catch (error) {
      await undo().catch((second: unknown) => {
        throw notTakenBack(error, second)
      })
      throw error
    }
    const isWritten = outcomes.some((outcome) => outcome.kind === 'committed' && outcome.positions.length > 0)
    if (isWritten) await this.#query('RELEASE SAVEPOINT underpin_commit')
    else await undo()
    return outcomes
  }

  async #fence(domain: string): Promise<Fence> {
    const { fence } = await readFence(this.#query, this.#host.tables, domain)
    if (fence.role !== 'vacant') this.#present.add(domain)
    return fence
  }

  #definitions(domain: string): Promise<ReadonlyMap<string, CollectionDefinition>> {
    return new Catalog(this.#host.tables, domain).load(this.#query)
  }

  /** A domain that is not here has no tables, and a statement that fails would spoil the transaction: so it is asked first. */
  #readDomain<T>(domain: string, options: CallOptions | undefined, read: () => Promise<T>): Promise<T> {
    return this.#call(options, async () => {
      if (!this.#present.has(domain) && (await this.#fence(domain)).role === 'vacant')
        return { items: [], documents: [], next: 0, epoch: 0, role: 'vacant', head: 0 } as T
      return read()
    })
  }

  /** One call at a time on a client, whichever domains and stores use it: savepoints nest, and statements of one plan belong together. */
  async #call<T>(options: CallOptions | undefined, run: () => Promise<T>): Promise<T> {
    return inTurn(this.#client, async () => {
      this.#host.checkOpen()
      if (options?.signal?.aborted)
        throw new UnderpinError('aborted', 'The call was aborted before it began', {
          cause: options.signal.reason,
        })
      this.#signal = options?.signal
      try {
        return await run()
      } catch (error) {
        throw explain(error)
      }
    })
  }
}

function givenUp(cause: unknown): UnderpinError {
  return new UnderpinError('aborted', 'The call was given up; its transaction takes nothing more', { cause })
}

const turns = new WeakMap<object, Promise<unknown>>()

function inTurn<T>(client: object, run: () => Promise<T>): Promise<T> {
  const turn = (turns.get(client) ?? Promise.resolve()).then(run, run)
  turns.set(
    client,
    turn.catch(() => undefined),
  )
  return turn
}

function definitionOf(
  definitions: ReadonlyMap<string, CollectionDefinition>,
  domain: string,
  collection: string,
): CollectionDefinition {
  const definition = definitions.get(collection)
  if (definition !== undefined) return definition
  throw new UnderpinError('invalid', `The collection ${collection} is not declared in domain ${domain}`, {
    details: { domain, collection },
  })
}

function explain(error: unknown): unknown {
  if (isUnderpinError(error)) return error
  switch (stateOf(error)) {
    case '25P01':
      return new UnderpinError(
        'invalid',
        'The client given to within() is not in a transaction; nothing was written',
        {
          hint: 'Begin one first (BEGIN), and give its own client: not a pool, and not a database outside of its transaction.',
          cause: error,
        },
      )
    case '25P02':
      return new UnderpinError(
        'invalid',
        'The transaction given to within() has failed already: it can only be rolled back',
        {
          cause: error,
        },
      )
    case '40001':
    case '40P01':
      return new UnderpinError(
        'unavailable',
        `The transaction met another one: ${(error as Error).message}`,
        {
          hint: 'Roll back, and run your whole transaction again.',
          cause: error,
        },
      )
    default:
      return translate(error, 'The transaction given to within()')
  }
}

/** What went wrong, with its code, and why it could not be taken back. If the session is gone, so is the transaction. */
function notTakenBack(error: unknown, second: unknown): unknown {
  const first = error instanceof HandlerFailed ? error.thrown : error
  const message = `${messageOf(first)}; taking it back failed too: ${messageOf(second)}`
  const both = new AggregateError([first, second], message)
  if (isUnderpinError(first)) {
    const { code, hint, details } = first
    return new UnderpinError(code, message, { ...(hint === undefined ? {} : { hint }), details, cause: both })
  }
  const { code, severity } = (first ?? {}) as { code?: unknown; severity?: unknown }
  return Object.assign(both, { code, severity })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function refused(verb: string): UnderpinError {
  return new UnderpinError('unsupported', `${verb} cannot be done within a transaction that the caller holds`)
}
