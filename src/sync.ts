/** `underpin/sync`: durable state for synchronous code, on the embedded backends. */
import type { Backend, SyncBackend } from './backend/backend.ts'
import { memory } from './backend/memory.ts'
import { sqlite } from './backend/sqlite/sqlite.ts'
import { systemClock } from './clock.ts'
import { UnderpinError } from './error.ts'
import { type CollectionsOf, declare, type EventsOf } from './facet/definition.ts'
import { plainEvents } from './facet/event/codec.ts'
import { inlineNames, registersQuery } from './facet/projection/open-inline.ts'
import { registers } from './facet/projection/register.ts'
import { SyncDomain } from './facet/sync-domain.ts'
import { checkName } from './model/key.ts'
import { limits } from './model/limit.ts'
import type { Domains, StoreOptions } from './store.ts'
import { SyncRoute } from './sync-route.ts'
import { limitsOf, validateSync } from './wrapper/validate.ts'

export { DurableArray } from './facet/durable-array.ts'
export { type DurableKey, DurableMap } from './facet/durable-map.ts'
export { SyncLog } from './facet/log.ts'
export { SyncDocuments, SyncDomain, type SyncTransaction } from './facet/sync-domain.ts'

export type SyncStoreOptions<D extends Domains> = Omit<StoreOptions<D>, 'create'>

/**
 * Opens a store for synchronous code: `openStoreSync('sqlite:./app.db', { domains: { app: {} } })`. Takes `memory:`,
 * `sqlite:…`, or a backend whose `supports.sync` is true; another is refused with `unsupported`. An acknowledged call
 * is as durable as with `openStore`, and blocks the event loop until it is.
 */
export function openStoreSync<const D extends Domains>(
  target: string | Backend,
  options: SyncStoreOptions<D>,
): SyncStore<D> {
  const { clock = systemClock, deadlineMs = 10_000 } = options
  for (const [name, { projections }] of Object.entries(options.domains))
    if (projections !== undefined && projections.inline.length > 0) throw noInline(name)
  const backend = typeof target === 'string' ? openEmbedded(target) : target
  if (backend.sync === undefined) {
    throw new UnderpinError('unsupported', `The ${backend.name} backend has no synchronous verbs`, {
      hint: 'Use openStore, or an embedded backend: memory, file, sqlite.',
    })
  }
  const verbs = validateSync(backend.sync, limitsOf(backend), backend.supports.tables)
  verbs.open()
  const domains = new Map<string, SyncDomain>()
  for (const [name, { collections = {}, events }] of Object.entries(options.domains)) {
    checkName(name, 'The domain', limits)
    const route = new SyncRoute(name, verbs, {
      clock,
      deadlineMs,
      limits: limitsOf(backend),
      events: events?.codec ?? plainEvents,
    })
    route.prepare(
      new Map(
        Object.entries(collections).map(
          ([collection, given]) => [collection, declare(collection, given)] as const,
        ),
      ),
    )
    if (route.has(registers) && inlineNames(route.scan(registersQuery)).length > 0) {
      verbs.close()
      throw noInline(name)
    }
    domains.set(name, new SyncDomain(route))
  }
  return new SyncStore<D>(verbs, domains)
}

export class SyncStore<D extends Domains> {
  readonly #backend: SyncBackend
  readonly #domains: ReadonlyMap<string, SyncDomain>

  /** Use {@link openStoreSync}. */
  constructor(backend: SyncBackend, domains: ReadonlyMap<string, SyncDomain>) {
    this.#backend = backend
    this.#domains = domains
  }

  domain<K extends keyof D & string>(name: K): SyncDomain<EventsOf<D[K]>, CollectionsOf<D[K]>> {
    const domain = this.#domains.get(name)
    if (domain !== undefined) return domain as unknown as SyncDomain<EventsOf<D[K]>, CollectionsOf<D[K]>>
    throw new UnderpinError('invalid', `The store was opened without the domain ${JSON.stringify(name)}`)
  }

  /** Idempotent; calls afterwards fail with `closed`. */
  close(): void {
    this.#backend.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function noInline(domain: string): UnderpinError {
  return new UnderpinError(
    'unsupported',
    `Domain ${domain} has inline projections, which synchronous appends cannot keep`,
    {
      hint: 'Open it with openStore, or run its projections asynchronously.',
    },
  )
}

function openEmbedded(url: string): Backend {
  if (url === 'memory:') return memory()
  if (url.startsWith('sqlite:')) return sqlite(url)
  throw new UnderpinError(
    'unsupported',
    `There is no synchronous backend for the URL ${JSON.stringify(url)}`,
    { hint: 'Use memory: or sqlite:./app.db.' },
  )
}
