/** Opens the repositories on the store that a URL names: `memory:`, `sqlite:./streampay.db` or `postgres://…`. */
import { type Clock, openStore, type Store, systemClock } from 'underpin'
import type { ExportRepository, IdempotencyStore, StreamRepository } from '../db.ts'
import { domainName, domains, type StreamDomain } from '../domain.ts'
import { DomainExports, type ExportSettings } from './exports.ts'
import { DomainIdempotency } from './idempotency.ts'
import { installViews } from './schema.ts'
import { DomainStreams } from './streams.ts'

export interface RepositoryOptions {
  /**
   * The store to move to, or that was moved from: both are named while a move is under way, and which of them has the data,
   * they say themselves. `url` is the one in front of the move.
   */
  readonly nextUrl?: string | undefined
  readonly exports: ExportSettings
  readonly clock?: Clock
  /** Where `STREAMPAY_STORE=current|next` may say on which of two stores the data is created, and wanted. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What people call this process, in `underpin move status`. */
  readonly name?: string
}

export interface Repositories {
  readonly streams: StreamRepository
  readonly idempotency: IdempotencyStore
  readonly exports: ExportRepository
  /** For what commits together with them: the HTTP middleware. */
  readonly domain: StreamDomain
  readonly store: Store<typeof domains>
  close(): Promise<void>
}

export async function openRepositories(url: string, options: RepositoryOptions): Promise<Repositories> {
  const { nextUrl, clock = systemClock, name, env = {} } = options
  const target: Readonly<Record<string, string>> =
    nextUrl === undefined ? { current: url } : { current: url, next: nextUrl }
  const presence = name === undefined ? {} : { presence: { name } }
  const store = await openStore(target, { domains, clock, env, attendEveryMs: 500, ...presence })
  try {
    const domain = store.domain(domainName)
    await domain.prepare()
    await installViews(store, (side) => schemaOf(target[side] ?? url))
    return {
      streams: new DomainStreams(domain, clock),
      idempotency: new DomainIdempotency(domain),
      exports: await DomainExports.open(domain, options.exports),
      domain,
      store,
      close: () => store.close(),
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** The schema that a PostgreSQL URL names; Underpin's own if it names none. */
export function schemaOf(url: string): string | undefined {
  return url.startsWith('postgres') ? (new URL(url).searchParams.get('schema') ?? undefined) : undefined
}
