/** What every command begins with: the store that was named, opened, and the domain that is meant. */
import { existsSync, statSync } from 'node:fs'
import { inspectPostgres } from '../backend/postgres/postgres.ts'
import type { Backend, Domain, DomainOptions, Store } from '../index.ts'
import { maskSecrets, openStore, storedEvents, UnderpinError } from '../index.ts'
import type { OutputFlags } from './output.ts'

/** The flags that all commands share. */
export interface GlobalFlags extends OutputFlags {
  readonly store?: string
  readonly domain?: string
  readonly yes?: boolean
  readonly progress?: boolean
  readonly timeout?: number
}

type AnyStore = Store<Record<string, DomainOptions>>

export class Session {
  readonly backend: Backend
  readonly #store: AnyStore
  readonly #flags: GlobalFlags

  private constructor(store: AnyStore, flags: GlobalFlags) {
    this.backend = store.backends.get('main') as Backend
    this.#store = store
    this.#flags = flags
  }

  /** Opens the store. One that is not there, or a domain that is not, is made only where `mayCreate`. */
  static async open(flags: GlobalFlags, mayCreate = false): Promise<Session> {
    const url = storeUrl(flags)
    const isNew = await isMissing(url)
    if (isNew && !mayCreate) throw missing(url)
    // A new store without a domain would be of no use, so it is not made before the domain is known.
    if (isNew && flags.domain === undefined) throw domainNeeded([])
    const domains = mayCreate && flags.domain !== undefined ? { [flags.domain]: {} } : {}
    const store = await openStore<Record<string, DomainOptions>>(url, {
      domains,
      deadlineMs: deadlineMs(flags),
    })
    return new Session(store, flags)
  }

  /** The name given with --domain, or the only domain there is. */
  async domainName(): Promise<string> {
    const names = await this.backend.domains()
    const { domain } = this.#flags
    if (domain === undefined && names.length !== 1) throw domainNeeded(names)
    const name = domain ?? (names[0] as string)
    if (names.includes(name)) return name
    throw new UnderpinError('invalid', `The store has no domain ${JSON.stringify(name)}`, {
      hint: names.length === 0 ? 'It has none yet.' : `It has ${names.join(', ')}.`,
    })
  }

  /** The domain given with --domain, or all. */
  async domainNames(): Promise<readonly string[]> {
    return this.#flags.domain === undefined ? this.backend.domains() : [await this.domainName()]
  }

  /** The domain, opened with its stored collections and those declared here; its events as they are stored. */
  async domain(collections: NonNullable<DomainOptions['collections']> = {}): Promise<Domain> {
    const name = await this.domainName()
    await this.#store.add(name, { collections, events: { codec: storedEvents } }, false)
    return this.#store.domain(name) as unknown as Domain
  }

  /** The names of a domain's declared collections. */
  async collections(domain: string): Promise<readonly string[]> {
    const page = await this.backend.scan(domain, {
      collection: '$collections',
      by: 'id',
      prefix: '',
      backwards: false,
      limit: 10_000,
      after: null,
    })
    return page.items.map(({ id }) => id)
  }

  /** How many streams of a domain were truncated. */
  async truncatedStreams(domain: string): Promise<number> {
    if (!(await this.collections(domain)).includes('$truncated')) return 0
    const query = { collection: '$truncated', by: 'id', prefix: '', backwards: false, limit: 1_000 } as const
    let count = 0
    for (let after: string | null = null; ; ) {
      const { items, next }: Awaited<ReturnType<Backend['scan']>> = await this.backend.scan(domain, {
        ...query,
        after,
      })
      count += items.length
      if (next === null) return count
      after = next
    }
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

export function storeUrl(flags: GlobalFlags): string {
  if (flags.store !== undefined) return checkedUrl(flags.store)
  throw new UnderpinError('invalid', 'No store was named', {
    hint: 'Give --store URL (for example sqlite:./app.db), or set UNDERPIN_STORE.',
  })
}

/** The URL, if it can name a store at all; else `invalid`, as for any other wrong argument. */
export function checkedUrl(url: string): string {
  const isKnown = /^(?:memory|sqlite|postgres|postgresql):/i.test(url)
  if (isKnown && (!isPostgres(url) || URL.canParse(url))) return url
  throw new UnderpinError('invalid', `${JSON.stringify(maskSecrets(url))} is no URL of a store`, {
    hint: 'Give one like sqlite:./app.db, postgres://user@host:5432/database or memory:',
  })
}

/** Milliseconds within which every call to the store ends. */
export function deadlineMs({ timeout = 10 }: GlobalFlags): number {
  return timeout * 1_000
}

/** The file of a URL whose store is one, or undefined. */
export function filePath(url: string): string | undefined {
  const [, rest] = /^sqlite:(.*)$/s.exec(url) ?? []
  if (rest === undefined || rest.startsWith(':memory:')) return undefined
  return rest.replace(/^\/\/(?=\/)/, '').split('?', 1)[0]
}

export function isPostgres(url: string): boolean {
  return /^postgres(?:ql)?:/i.test(url)
}

/** Reading must make neither a file nor a schema. */
function missing(url: string): UnderpinError {
  return new UnderpinError('unavailable', `There is no store at ${url}`, {
    hint: 'Look at the path or the schema. The commands append, put and import make a store when they are given --create, and migrate makes one.',
  })
}

/** Whether opening the URL would make a store: no file, an empty one, or no schema. */
export async function isMissing(url: string): Promise<boolean> {
  if (isPostgres(url)) return (await inspectPostgres(url)).applied.length === 0
  return isMissingFile(url)
}

/** Whether the URL's store is a file that is not there, or empty. */
export function isMissingFile(url: string): boolean {
  const path = filePath(url)
  return path !== undefined && (!existsSync(path) || statSync(path).size === 0)
}

export function domainNeeded(names: readonly string[]): UnderpinError {
  const found = names.length === 0 ? 'the store has none yet' : `the store has ${names.join(', ')}`
  return new UnderpinError('invalid', `Say which domain is meant: ${found}`, {
    hint: 'Give --domain NAME, or set UNDERPIN_DOMAIN.',
  })
}
