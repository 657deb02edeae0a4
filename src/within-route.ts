/**
 * The way of a domain's calls through a transaction that the caller holds. Authority is looked for through that same
 * transaction, because its client may be the only connection there is; and what is found is not told to the store.
 */
import { AuthorityReads } from './authority-reads.ts'
import type { Backend, CallOptions } from './backend/backend.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import type { OwnCollections, Port } from './facet/port.ts'
import type { Commit, Outcome } from './model/commit.ts'
import type { Position } from './model/position.ts'
import type { Route } from './route.ts'
import type { Authority } from './search.ts'

export class WithinRoute extends AuthorityReads implements Port {
  readonly #route: Route
  readonly #candidates: readonly Backend[]
  /** Each candidate as it is within the transaction; those that cannot be are left out. */
  readonly #within: ReadonlyMap<Backend, Backend>
  #authority: Authority | undefined

  /** Fails with `unsupported` if no candidate can commit in a caller's transaction, with a `TypeError` if the client holds none. */
  constructor(route: Route, candidates: readonly Backend[], client: unknown) {
    super()
    this.#route = route
    this.#candidates = candidates
    const able = candidates.filter(({ supports }) => supports.transactions)
    if (able.length === 0) throw unsupported(route.domain, candidates[0])
    this.#within = new Map(able.map((backend) => [backend, backend.within(client)]))
    this.#authority = route.authority
  }

  get domain() {
    return this.#route.domain
  }

  get events() {
    return this.#route.events
  }

  get clock() {
    return this.#route.clock
  }

  get deadlineMs() {
    return this.#route.deadlineMs
  }

  get limits() {
    return this.#route.limits
  }

  collection(name: string) {
    return this.#route.collection(name)
  }

  async commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    const [outcome] = await this.withAuthority(options, ({ backend, epoch }) =>
      backend.commit(this.domain, epoch, [commit], options),
    )
    return outcome as Outcome
  }

  /** Not here: a declaration stands or falls alone, and this transaction may be undone. */
  async ensure(collections: OwnCollections): Promise<void> {
    const missing = Object.keys(collections).filter((name) => !this.#route.has(name))
    if (missing.length === 0) return
    throw new UnderpinError(
      'unsupported',
      `Domain ${this.domain} does not have ${missing.join(', ')} yet, and they cannot be declared inside a transaction`,
      { hint: 'Call domain.prepare() once before, or run underpin migrate --facets.' },
    )
  }

  watch(signal: AbortSignal): AsyncIterable<Position> {
    const [first] = this.#within.values()
    return (first as Backend).watch(this.domain, signal)
  }

  within(): Port {
    throw new UnderpinError('unsupported', `Domain ${this.domain} is within a transaction already`, {
      hint: 'Take the domain from the store: store.domain(…).within(client).',
    })
  }

  /** Looks again once: what the transaction sees does not change while it waits. */
  protected async withAuthority<R>(
    options: CallOptions | undefined,
    call: (authority: Authority) => Promise<R>,
  ): Promise<R> {
    const known = this.#authority
    // Where it was found last may be past: only what the transaction can refuse counts without a look.
    if (known !== undefined && this.#within.has(known.backend)) {
      try {
        return await call(this.#of(known))
      } catch (error) {
        if (!isUnderpinError(error, 'fenced')) throw error
      }
    }
    return call(this.#of(await this.#find(options)))
  }

  async #find(options: CallOptions | undefined): Promise<Authority> {
    const found: string[] = []
    for (const backend of this.#candidates) {
      const { role, epoch } = await (this.#within.get(backend) ?? backend).fence(this.domain, options)
      if (role === 'authority') {
        this.#authority = { backend, epoch }
        return this.#authority
      }
      found.push(`${backend.name}: ${role}`)
    }
    throw new UnderpinError(
      'fenced',
      `No backend holds authority over domain ${this.domain}, as this transaction sees it (${found.join(', ')})`,
      {
        hint: 'Nothing was written. If the domain is being moved, roll back and run your whole transaction again.',
        details: { domain: this.domain },
      },
    )
  }

  /** Who holds authority, as it is within the transaction. */
  #of({ backend, epoch }: Authority): Authority {
    const within = this.#within.get(backend)
    if (within === undefined) throw unsupported(this.domain, backend)
    return { backend: within, epoch }
  }
}

function unsupported(domain: string, backend: Backend | undefined): UnderpinError {
  return new UnderpinError(
    'unsupported',
    `Domain ${domain} is on the ${backend?.name} backend, which cannot commit in a transaction of yours`,
    { hint: 'PostgreSQL can (supports.transactions).', details: { domain } },
  )
}
