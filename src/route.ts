/**
 * The way of a domain's calls to the backend that holds authority. The fence records of the backends say which one
 * that is, and nothing else does: a call that was refused as `fenced` looks again and goes where authority is now.
 */
import { AuthorityReads, servingRoles } from './authority-reads.ts'
import type { Backend, CallOptions } from './backend/backend.ts'
import type { Clock } from './clock.ts'
import { CommitLine } from './commit-line.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import { type EventCodec, plainEvents } from './facet/event/codec.ts'
import type { DeclaredCollection, OwnCollections, Port } from './facet/port.ts'
import { HeadWatch } from './head-watch.ts'
import {
  type CollectionDefinition,
  definitionsCollection,
  isPartOf,
  mergeDefinitions,
} from './model/collection.ts'
import type { Commit, Outcome } from './model/commit.ts'
import type { Document } from './model/document.ts'
import type { Limits } from './model/limit.ts'
import type { Cursor, Page } from './model/page.ts'
import type { Position } from './model/position.ts'
import { decodeValue, encodeValue } from './model/value.ts'
import { noHooks, type RouteHooks } from './move/hooks.ts'
import { type Authority, type Found, type Help, Search } from './search.ts'
import { WithinRoute } from './within-route.ts'

export interface RouteOptions {
  readonly clock: Clock
  readonly limits: Limits
  readonly deadlineMs: number
  /** How events are written and read; as they are, if left out. */
  readonly events?: EventCodec
  /** Who attends to moves of the domain; nobody, if left out. */
  readonly hooks?: RouteHooks
  /** Helps a domain that nobody holds authority over while calls wait; nobody does, if left out. */
  readonly help?: Help
}

export class Route extends AuthorityReads implements Port {
  readonly domain: string
  readonly events: EventCodec
  readonly clock: Clock
  readonly limits: Limits
  readonly deadlineMs: number
  protected override readonly hooks: RouteHooks
  readonly #candidates: readonly Backend[]
  readonly #collections = new Map<string, DeclaredCollection>()
  readonly #ensuring = new Map<OwnCollections, Promise<void>>()
  readonly #accepts: Search
  readonly #serves: Search
  readonly #line: CommitLine
  readonly #heads: HeadWatch
  /** Who accepted commits last, and who served reads last: not the same while the domain is sealed. */
  #authority: Authority | undefined
  #serving: Authority | undefined

  constructor(domain: string, candidates: readonly Backend[], options: RouteOptions) {
    super()
    const { clock, limits, deadlineMs, events = plainEvents, hooks = noHooks } = options
    this.domain = domain
    this.events = events
    this.clock = clock
    this.limits = limits
    this.deadlineMs = deadlineMs
    this.hooks = hooks
    this.#candidates = candidates
    const search = { clock, deadlineMs }
    this.#accepts = new Search(domain, candidates, { ...search, roles: ['authority'], help: options.help })
    this.#serves = new Search(domain, candidates, { ...search, roles: servingRoles, help: options.help })
    this.#line = new CommitLine({
      ...{ domain, clock, deadlineMs },
      known: () => this.#authority,
      lost: (authority) => this.#lose(authority),
      failed: (authority, error) => this.#doubt(authority, error),
      find: async (signal, refused) => this.#remember(await this.#accepts.find({ signal, refused })),
      nobody: () => this.#accepts.nobody(),
      waited: (ms, epoch) => this.hooks.onWaited?.(ms, epoch),
    })
    this.#heads = new HeadWatch({
      ...{ domain, clock },
      find: async (signal) => (this.#serving ?? (await this.#find(undefined, { signal }))).backend,
      isServing: async (backend, signal) => {
        const { role } = await backend.fence(domain, { signal })
        if (servingRoles.includes(role)) return true
        if (this.#serving?.backend === backend) this.#serving = undefined
        return false
      },
    })
  }

  /** Who accepted commits of the domain last, and under which epoch. */
  get authority(): Authority | undefined {
    return this.#authority
  }

  /** Settles the calls that wait for an authority: once the backends are closed, none will be found. */
  async close(): Promise<void> {
    this.#accepts.close()
    this.#serves.close()
    await this.#line.settled()
  }

  within(client: unknown): Port {
    return new WithinRoute(this, this.#candidates, client)
  }

  /** Takes up the stored collections, and stores what the application declares beyond them. */
  async declare(declared: ReadonlyMap<string, DeclaredCollection>): Promise<void> {
    for (let isDone = false; !isDone; ) {
      const stored = await this.#storedCollections()
      const writes: Commit['writes'][number][] = []
      const checks: Commit['checks'][number][] = []
      const declaring = new Map<string, DeclaredCollection>()
      for (const [name, { definition, schema }] of declared) {
        const found = stored.get(name)
        const merged = found === undefined ? definition : mergeDefinitions(name, found.definition, definition)
        declaring.set(name, { definition: merged, schema })
        const data = encodeValue(merged)
        if (found?.data === data) continue
        writes.push({ kind: 'put', collection: definitionsCollection, id: name, data, expiresAt: null })
        checks.push({
          kind: 'document',
          collection: definitionsCollection,
          id: name,
          expect: found?.revision ?? 'absent',
        })
      }
      isDone = writes.length === 0 || (await this.#declare({ at: this.clock.now(), writes, checks }))
      if (isDone) for (const [name, collection] of declaring) this.#collections.set(name, collection)
    }
  }

  async ensure(collections: OwnCollections): Promise<void> {
    const missing = Object.entries(collections).filter(([name, definition]) => {
      const known = this.#collections.get(name)?.definition
      return known === undefined || !isPartOf(definition, known)
    })
    if (missing.length === 0) return
    const declaring = this.#ensuring.get(collections) ?? this.#ensure(collections, missing)
    await declaring
  }

  /** Many first callers of a facet at once declare its collections once. */
  #ensure(collections: OwnCollections, missing: [string, CollectionDefinition][]): Promise<void> {
    const declared = new Map(missing.map(([name, definition]) => [name, { definition, schema: undefined }]))
    const declaring = this.declare(declared).finally(() => this.#ensuring.delete(collections))
    this.#ensuring.set(collections, declaring)
    return declaring
  }

  /** Whether a collection is known to be declared. */
  has(name: string): boolean {
    return this.#collections.has(name)
  }

  collection(name: string): DeclaredCollection {
    const declared = this.#collections.get(name)
    if (declared !== undefined) return declared
    throw new UnderpinError(
      'invalid',
      `The collection ${JSON.stringify(name)} is not declared in domain ${this.domain}`,
      {
        hint: `Declare it where the store is opened: domains: { ${this.domain}: { collections: { ${JSON.stringify(name)}: {} } } }.`,
      },
    )
  }

  commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    const outcome = this.#line.commit(commit, options)
    return this.hooks.onCommitted === undefined ? outcome : this.#told(outcome, options)
  }

  /** Who follows the commits of the domain is told of each before its caller is. */
  async #told(committing: Promise<Outcome>, options: CallOptions | undefined): Promise<Outcome> {
    const outcome = await committing
    await this.hooks.onCommitted?.(outcome, options?.signal)
    return outcome
  }

  /** Heads as they move, of whoever serves the domain. Ends when the signal aborts or the store is closed. */
  watch(signal: AbortSignal): AsyncGenerator<Position> {
    return this.#heads.heads(signal)
  }

  protected async withAuthority<R>(
    options: CallOptions | undefined,
    call: (authority: Authority) => Promise<R>,
  ): Promise<R> {
    const since = this.clock.monotonic()
    let refused: Authority | undefined
    for (;;) {
      const authority = this.#serving ?? (await this.#find(refused, options, since))
      try {
        const result = await call(authority)
        if (refused !== undefined) this.hooks.onWaited?.(this.clock.monotonic() - since, authority.epoch)
        return result
      } catch (error) {
        this.#doubt(authority, error)
        if (!isUnderpinError(error, 'fenced') || this.clock.monotonic() - since > this.deadlineMs) throw error
        this.#lose(authority)
        refused = authority
      }
    }
  }

  async #find(
    refused: Authority | undefined,
    options: CallOptions | undefined,
    since = this.clock.monotonic(),
  ): Promise<Authority> {
    return this.#remember(await this.#serves.find({ since, signal: options?.signal, refused }))
  }

  #remember({ backend, epoch, role }: Found): Authority {
    const authority = { backend, epoch }
    this.#serving = authority
    this.#heads.found(backend)
    if (role === 'authority') this.#authority = authority
    return authority
  }

  /** A backend that cannot be reached may have been left: the next call looks again, if there is another one to look at. */
  #doubt(authority: Authority, error: unknown): void {
    const isAway = (['unavailable', 'timeout', 'unknown'] as const).some((code) =>
      isUnderpinError(error, code),
    )
    if (isAway && this.#candidates.length > 1) this.#lose(authority)
  }

  #lose(authority: Authority): void {
    const isSame = (known: Authority | undefined) =>
      known?.backend === authority.backend && known.epoch === authority.epoch
    if (isSame(this.#authority)) this.#authority = undefined
    if (isSame(this.#serving)) this.#serving = undefined
  }

  async #declare(commit: Commit): Promise<boolean> {
    const outcome = await this.commit(commit)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed'
  }

  async #storedCollections() {
    const stored = new Map<string, DeclaredCollection & { data: string; revision: number }>()
    const limit = Math.min(1_000, this.limits.pageItems)
    const query = {
      collection: definitionsCollection,
      by: 'id',
      prefix: '',
      backwards: false,
      limit,
    } as const
    let after: Cursor | null = null
    do {
      const page: Page<Document, Cursor | null> = await this.scan({ ...query, after })
      for (const { id, data, position } of page.items) {
        const definition = decodeValue(data) as DeclaredCollection['definition']
        stored.set(id, { definition, schema: undefined, data, revision: position })
        if (!this.#collections.has(id)) this.#collections.set(id, { definition, schema: undefined })
      }
      after = page.next
    } while (after !== null)
    return stored
  }
}
