/** The store: what an application opens. Composes the wrappers once, creates domains, hands them out. */
import type { Backend } from './backend/backend.ts'
import { type Clock, sleep, systemClock } from './clock.ts'
import { UnderpinError } from './error.ts'
import { type CollectionsOf, type DomainOptions, declare, type EventsOf } from './facet/definition.ts'
import { Domain } from './facet/domain.ts'
import { plainEvents } from './facet/event/codec.ts'
import { openInline } from './facet/projection/open-inline.ts'
import { registers } from './facet/projection/register.ts'
import { domainHealth, type HealthOptions, type StoreHealth } from './health.ts'
import { checkBackendName, checkName } from './model/key.ts'
import { limits as commonLimits, type Limits } from './model/limit.ts'
import { type Attendance, Attendant } from './move/attend.ts'
import { createDomain, hasDomain } from './move/create.ts'
import { endsOf, type MoveOptions } from './move/ends.ts'
import { type FollowOptions, follow } from './move/follow.ts'
import type { RouteHooks } from './move/hooks.ts'
import { Move } from './move/move.ts'
import { Moves } from './move/moves.ts'
import { Presence, type PresenceOptions } from './move/presence.ts'
import { rescue } from './move/rescue.ts'
import { openBackend } from './open.ts'
import { checkFlags, type Flags, type Placement, placementOf } from './placement.ts'
import { Route } from './route.ts'
import { batch } from './wrapper/batch.ts'
import { deadline } from './wrapper/deadline.ts'
import { type Wrapper, wrap } from './wrapper/forward.ts'
import { observe } from './wrapper/observe.ts'
import { retry } from './wrapper/retry.ts'
import { turn } from './wrapper/turn.ts'
import { limitsOf, validate } from './wrapper/validate.ts'

/** Where data is kept: a URL, a backend, or several of them by name. */
export type Target = string | Backend | Readonly<Record<string, string | Backend>>

export type Domains = Readonly<Record<string, DomainOptions>>

export interface StoreOptions<D extends Domains> {
  /** The domains that the application uses, with their collections. */
  readonly domains: D
  readonly clock?: Clock
  /** Milliseconds within which every call ends; 10,000 if left out. */
  readonly deadlineMs?: number
  /** Whether domains that no backend has are created; true if left out. */
  readonly create?: boolean
  /**
   * Flags such as `process.env`, in which `ORDERS_STORE=postgres` says on which backend the domain `orders` is wanted (upper
   * case, `_` for `-`), before what its configuration says. A domain that is new is created there; one that is elsewhere
   * stays, and {@link Store.health} tells the difference. Nothing is read from the environment if left out.
   */
  readonly env?: Flags
  /** Milliseconds between two looks whether a domain is in a move, where it has several backends; 2,000 if left out. */
  readonly attendEveryMs?: number
  /** Says in every domain that this process uses it, so that a move knows who could not follow. Not if left out. */
  readonly presence?: PresenceOptions
}

const defaultDeadlineMs = 10_000
const defaultAttendEveryMs = 2_000
/** Milliseconds that opening and closing a store wait for what is not needed for it. */
const courtesyMs = 1_000

/**
 * Opens a store: `await openStore('sqlite:./app.db', { domains: { orders: {} } })`. Creates domains that do not exist
 * and declares their collections; both are safe when several processes start at once.
 *
 * Fails with `driver-missing`, `foreign` (the place holds something else), `unsupported` (written by a newer version),
 * `mismatch` (a collection is declared otherwise than it is stored), `unavailable`.
 */
export async function openStore<const D extends Domains>(
  target: Target,
  options: StoreOptions<D>,
): Promise<Store<D>> {
  if (options?.domains === undefined)
    throw new TypeError(
      'openStore needs the domains that are used: openStore(url, { domains: { orders: {} } })',
    )
  const { clock = systemClock, deadlineMs = defaultDeadlineMs } = options
  const domains = Object.entries(options.domains)
  for (const [name] of domains) checkName(name, 'The domain', commonLimits)
  const entries = entriesOf(target)
  const names = entries.map(([name]) => name)
  for (const [name, { backend }] of domains) placementOf(name, backend, options.env, names)
  checkFlags(Object.keys(options.domains), options.env)
  const backends = new Map<string, Backend>()
  let store: Store<D> | undefined
  try {
    for (const [name, place] of entries) {
      const backend = typeof place === 'string' ? await openBackend(place) : place
      await backend.open()
      backends.set(name, wrap(backend, standardWrappers(clock, deadlineMs)))
    }
    store = new Store<D>(backends, { ...options, clock, deadlineMs })
    for (const [name, domain] of domains) await store.add(name, domain, options.create ?? true)
    return store
  } catch (error) {
    await Promise.allSettled(
      store ? [store.close()] : [...backends.values()].map((backend) => backend.close()),
    )
    throw error
  }
}

type Settings = Required<Pick<StoreOptions<Domains>, 'clock' | 'deadlineMs'>> &
  Pick<StoreOptions<Domains>, 'attendEveryMs' | 'presence' | 'env'>

/** The part of the deadline in which calls are tried again: what fails then says that nothing was written, and is heard. */
const retried = 0.9

/** The wrappers between a domain and its backend, the outermost first. */
export function standardWrappers(clock: Clock, deadlineMs: number): readonly Wrapper[] {
  return [
    observe(clock),
    validate,
    turn(clock),
    batch({ clock, deadlineMs }),
    deadline({ clock, deadlineMs }),
    retry({ clock, deadlineMs: deadlineMs * retried }),
  ]
}

export class Store<D extends Domains> {
  readonly #backends: ReadonlyMap<string, Backend>
  readonly #settings: Settings
  readonly #clock: Clock
  /** Names this store to other processes. */
  readonly #process: string
  readonly #domains = new Map<string, Domain>()
  readonly #routes: Route[] = []
  readonly #attendants = new Map<string, Attendant>()
  readonly #presences = new Map<string, Presence>()
  readonly #placements = new Map<string, Placement>()
  #closing: Promise<void> | undefined

  /** Use {@link openStore}. */
  constructor(backends: ReadonlyMap<string, Backend>, settings: Settings) {
    this.#backends = backends
    this.#settings = settings
    this.#clock = settings.clock
    this.#process = settings.clock.id()
  }

  /** The backends by name, with the wrappers around them. */
  get backends(): ReadonlyMap<string, Backend> {
    return this.#backends
  }

  /** A domain that was named when the store was opened. */
  domain<K extends keyof D & string>(name: K): Domain<EventsOf<D[K]>, CollectionsOf<D[K]>> {
    const domain = this.#domains.get(name)
    if (domain !== undefined) return domain as unknown as Domain<EventsOf<D[K]>, CollectionsOf<D[K]>>
    throw new UnderpinError('invalid', `The store was opened without the domain ${JSON.stringify(name)}`, {
      hint: `Name it: openStore(…, { domains: { ${JSON.stringify(name)}: {} } }).`,
    })
  }

  /**
   * The move of a domain to another of the store's backends: to begin one, or to go on with one that any process began.
   * `invalid` if a backend has not that name, or no other one holds the domain.
   */
  async move(domain: keyof D & string, options: MoveOptions): Promise<Move> {
    const ends = await endsOf(domain, this.#backends, options, this.#clock)
    return new Move(domain, { ...ends, wanted: this.#placements.get(domain) }, this.#clock)
  }

  /** The moves of several domains to one backend, driven together. */
  async moves(domains: readonly (keyof D & string)[], options: MoveOptions): Promise<Moves> {
    return new Moves(await Promise.all(domains.map((domain) => this.move(domain, options))))
  }

  /**
   * Who holds each domain, where it is wanted, where a move of it stands, and which backends answer. Changes nothing; a
   * backend that cannot be reached is told of and fails nothing.
   */
  async health(options: HealthOptions = {}): Promise<StoreHealth> {
    const domains = await Promise.all(
      [...this.#placements].map(([name, wanted]) =>
        domainHealth(name, this.#backends, wanted, this.#clock, options),
      ),
    )
    return { isHealthy: domains.every(({ authority }) => authority !== null), domains }
  }

  /**
   * Keeps a copy of a domain on another of the store's backends: a replica, or a backup. A move that is never cut over,
   * so `store.move(domain, { to })` shows it, tunes it and ends it. Resolves when the signal aborts or the copy is given
   * up; failures of either store are waited out.
   */
  async follow(domain: keyof D & string, options: FollowOptions): Promise<void> {
    await follow(await this.move(domain, { to: options.to }), options)
  }

  /** Opens one more domain. Called for each by {@link openStore}. */
  async add(name: string, options: DomainOptions, mayCreate: boolean): Promise<void> {
    const [clock, candidates] = [this.#clock, [...this.#backends.values()]]
    const placement = placementOf(name, options.backend, this.#settings.env, [...this.#backends.keys()])
    const on = this.#backends.get(placement.backend) as Backend
    if (mayCreate) await createDomain({ domain: name, candidates, on, clock })
    if (!(await hasDomain({ domain: name, candidates })))
      throw new UnderpinError('invalid', `There is no domain ${JSON.stringify(name)} here`, {
        details: { domain: name },
      })
    const hooks: RouteHooks = {}
    const route = new Route(name, candidates, {
      clock,
      limits: tightest(candidates),
      deadlineMs: this.#settings.deadlineMs,
      events: options.events?.codec ?? plainEvents,
      hooks,
      help: rescue(name, clock),
    })
    this.#routes.push(route)
    const declared = Object.entries(options.collections ?? {}).map(
      ([collection, given]) => [collection, declare(collection, given)] as const,
    )
    await route.declare(new Map(declared))
    const port = await openInline(route, options.projections?.inline ?? [], route.has(registers))
    this.#placements.set(name, placement)
    this.#domains.set(name, new Domain(port))
    if (candidates.length > 1) await this.#attend(name, candidates, hooks)
    if (this.#settings.presence !== undefined) await this.#announce(name, route, this.#settings.presence)
  }

  /**
   * How this process takes part in moves of a domain, as seen last. What fails there is tried again, and fails no call.
   * Undefined of a domain that has only one backend.
   */
  attendance(domain: keyof D & string): Attendance | undefined {
    return this.#attendants.get(domain)?.state
  }

  async #attend(domain: string, candidates: readonly Backend[], hooks: RouteHooks): Promise<void> {
    const { clock, attendEveryMs: everyMs = defaultAttendEveryMs } = this.#settings
    const attendant = new Attendant({ domain, candidates, hooks, clock, everyMs, process: this.#process })
    this.#attendants.set(domain, attendant)
    await this.#atMost(attendant.begin())
  }

  async #announce(domain: string, route: Route, options: PresenceOptions): Promise<void> {
    const presence = new Presence(route, this.#backends, { ...options, id: this.#process })
    this.#presences.set(domain, presence)
    await this.#atMost(presence.begin())
  }

  /**
   * Ends the store: commits under way are finished, watchers end, calls afterwards fail with `closed`. Idempotent. Before
   * that a process that is present takes leave, and what was seen of a move is noted: at most a second.
   */
  close(): Promise<void> {
    this.#closing ??= this.#hasGoodbyes ? this.#sayGoodbye().then(() => this.#end()) : this.#end()
    return this.#closing
  }

  get #hasGoodbyes(): boolean {
    return this.#presences.size > 0 || [...this.#attendants.values()].some(({ hasUntold }) => hasUntold)
  }

  async #sayGoodbye(): Promise<void> {
    const over = new AbortController()
    const presences = [...this.#presences.values()].map((presence) => presence.end(over.signal))
    const attendants = [...this.#attendants.values()].map((attendant) => attendant.end())
    await this.#atMost(Promise.all([...presences, ...attendants]))
    over.abort()
  }

  /** Waits for what never rejects, and not for long: it goes on by itself. */
  async #atMost(work: Promise<unknown>): Promise<void> {
    const over = new AbortController()
    await Promise.race([work, sleep(this.#clock, courtesyMs, over.signal)])
    over.abort()
  }

  async #end(): Promise<void> {
    const attendants = [...this.#attendants.values()].map((attendant) => attendant.end())
    await Promise.all([...this.#backends.values()].map((backend) => backend.close()))
    await Promise.all([...attendants, ...this.#routes.map((route) => route.close())])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function entriesOf(target: Target): [string, string | Backend][] {
  if (typeof target === 'string') return [['main', target]]
  if ('commit' in target && typeof target.commit === 'function') return [['main', target as Backend]]
  const entries = Object.entries(target as Record<string, string | Backend>)
  if (entries.length === 0) throw new UnderpinError('invalid', 'A store needs at least one backend')
  for (const [name] of entries) checkBackendName(name, commonLimits)
  return entries
}

/** What every candidate can take, so that a domain can move to any of them. */
function tightest(backends: readonly Backend[]): Limits {
  const all = backends.map(limitsOf)
  const names = Object.keys(commonLimits) as (keyof Limits)[]
  return Object.fromEntries(
    names.map((name) => [name, Math.min(...all.map((limits) => limits[name]))]),
  ) as unknown as Limits
}
