/**
 * The way of a domain's calls to the backend that holds authority. The fence records of the backends say which one
 * that is, and nothing else does: a call that was refused as `fenced` looks again and goes where authority is now.
 */
import { type Authority, AuthorityReads } from './authority-reads.ts'
import type { Backend, CallOptions } from './backend/backend.ts'
import { type Clock, sleep } from './clock.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import { type EventCodec, plainEvents } from './facet/event/codec.ts'
import type { DeclaredCollection, OwnCollections, Port } from './facet/port.ts'
import {
  type CollectionDefinition,
  definitionsCollection,
  isPartOf,
  mergeDefinitions,
} from './model/collection.ts'
import type { Commit, Outcome } from './model/commit.ts'
import type { Document } from './model/document.ts'
import { vacantFence } from './model/fence.ts'
import type { Limits } from './model/limit.ts'
import type { Cursor, Page } from './model/page.ts'
import type { Position } from './model/position.ts'
import { decodeValue, encodeValue } from './model/value.ts'
import { noHooks, type RouteHooks } from './move/hooks.ts'
import { WithinRoute } from './within-route.ts'

export interface RouteOptions {
  readonly clock: Clock
  readonly limits: Limits
  readonly deadlineMs: number
  /** How events are written and read; as they are, if left out. */
  readonly events?: EventCodec
  /** Who attends to moves of the domain; nobody, if left out. */
  readonly hooks?: RouteHooks
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
  #authority: Authority | undefined

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
  }

  /** Where the domain was found last, and under which epoch. */
  get authority(): Authority | undefined {
    return this.#authority
  }

  within(client: unknown): Port {
    return new WithinRoute(this, this.#candidates, client)
  }

  /** Creates the domain on a backend if no candidate has it. Two processes may do so at once: one creates it. */
  async create(on: Backend): Promise<void> {
    const fences = await Promise.all(this.#candidates.map((backend) => backend.fence(this.domain)))
    if (fences.some(({ role }) => role !== 'vacant')) return
    await on.transition(this.domain, vacantFence, {
      ...vacantFence,
      role: 'authority',
      epoch: 1,
      incarnation: this.clock.id(),
    })
  }

  /** Whether a candidate has the domain. */
  async exists(): Promise<boolean> {
    const fences = await Promise.all(this.#candidates.map((backend) => backend.fence(this.domain)))
    return fences.some(({ role }) => role !== 'vacant')
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

  async commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    const authority = this.#authority
    const since = this.hooks.onWaited === undefined ? undefined : this.clock.monotonic()
    if (authority !== undefined) {
      try {
        const [outcome] = await authority.backend.commit(this.domain, authority.epoch, [commit], options)
        if (this.hooks.onCommitted !== undefined)
          await this.hooks.onCommitted(outcome as Outcome, options?.signal)
        return outcome as Outcome
      } catch (error) {
        if (!isUnderpinError(error, 'fenced')) throw error
        if (this.#authority === authority) this.#authority = undefined
      }
    }
    const [outcome] = await this.withAuthority(
      options,
      ({ backend, epoch }) => backend.commit(this.domain, epoch, [commit], options),
      authority === undefined ? undefined : since,
    )
    await this.hooks.onCommitted?.(outcome as Outcome, options?.signal)
    return outcome as Outcome
  }

  async *watch(signal: AbortSignal): AsyncGenerator<Position> {
    while (!signal.aborted) {
      const authority = await this.#find({ signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      if (authority === undefined) return
      const { backend } = authority
      yield* backend.watch(this.domain, signal)
      if (backend === this.#authority?.backend) return
    }
  }

  protected async withAuthority<R>(
    options: CallOptions | undefined,
    call: (authority: Authority) => Promise<R>,
    refusedSince?: number,
  ): Promise<R> {
    const since = refusedSince ?? this.clock.monotonic()
    for (let wasRefused = refusedSince !== undefined; ; wasRefused = true) {
      const authority = this.#authority ?? (await this.#find(options))
      try {
        const result = await call(authority)
        if (wasRefused) this.hooks.onWaited?.(this.clock.monotonic() - since, authority.epoch)
        return result
      } catch (error) {
        if (!isUnderpinError(error, 'fenced') || this.clock.monotonic() - since > this.deadlineMs) throw error
        if (this.#authority === authority) this.#authority = undefined
      }
    }
  }

  /** Asks the candidates until one holds authority or the deadline passes. */
  async #find(options: CallOptions | undefined): Promise<Authority> {
    const since = this.clock.monotonic()
    for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 50)) {
      const fences = await Promise.all(this.#candidates.map((backend) => backend.fence(this.domain, options)))
      const at = fences.findIndex(({ role }) => role === 'authority')
      const [backend, fence] = [this.#candidates[at], fences[at]]
      if (backend !== undefined && fence !== undefined) return this.#remember({ backend, epoch: fence.epoch })
      if (this.clock.monotonic() - since > this.deadlineMs || fences.every(({ role }) => role === 'vacant')) {
        const found = this.#candidates.map(({ name }, i) => `${name}: ${fences[i]?.role}`).join(', ')
        throw new UnderpinError(
          'fenced',
          `No backend holds authority over domain ${this.domain} (${found})`,
          { details: { domain: this.domain } },
        )
      }
      await sleep(this.clock, delayMs, options?.signal)
    }
  }

  #remember(authority: Authority): Authority {
    this.#authority = authority
    return authority
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
