/** What every command begins with: the store that was named, opened, and the domain that is meant. */
import { existsSync } from 'node:fs'
import type { Backend, Domain, DomainOptions, Store } from '../index.ts'
import { openStore, UnderpinError } from '../index.ts'

/** The flags that all commands share. */
export interface GlobalFlags {
  readonly store?: string
  readonly domain?: string
  readonly json?: boolean
  readonly quiet?: boolean
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

  /** Opens the store. One that is not there is made only where a command may create it. */
  static async open(flags: GlobalFlags, mayCreate = false): Promise<Session> {
    const url = storeUrl(flags)
    if (!mayCreate) refuseMissing(url)
    const deadline = flags.timeout === undefined ? {} : { deadlineMs: flags.timeout * 1_000 }
    const store: AnyStore = await openStore(url, { domains: {}, ...deadline })
    return new Session(store, flags)
  }

  /** The name given with --domain, or the only domain there is. */
  async domainName(): Promise<string> {
    if (this.#flags.domain !== undefined) return this.#flags.domain
    const names = await this.backend.domains()
    const [only] = names
    if (only !== undefined && names.length === 1) return only
    const found = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`
    throw new UnderpinError('invalid', `Say which domain of the store is meant: ${found}`, {
      hint: 'Give --domain NAME, or set UNDERPIN_DOMAIN.',
    })
  }

  /** The domain, opened with its stored collections and those declared here. */
  async domain(
    options: { create?: boolean; collections?: DomainOptions['collections'] } = {},
  ): Promise<Domain> {
    const name = await this.domainName()
    const { create = false, collections } = options
    await this.#store.add(name, collections === undefined ? {} : { collections }, create)
    return this.#store.domain(name) as unknown as Domain
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}

export function storeUrl(flags: GlobalFlags): string {
  if (flags.store !== undefined) return flags.store
  throw new UnderpinError('invalid', 'No store was named', {
    hint: 'Give --store URL (for example sqlite:./app.db), or set UNDERPIN_STORE.',
  })
}

/** Reading must not make a file. */
function refuseMissing(url: string): void {
  const path = filePath(url)
  if (path === undefined || existsSync(path)) return
  throw new UnderpinError('unavailable', `There is no store at ${url}`, {
    hint: 'Look at the path. The commands append, put and import make a store when they are given --create.',
  })
}

/** The file of a URL whose store is one, or undefined. */
export function filePath(url: string): string | undefined {
  const [, rest] = /^sqlite:(.*)$/s.exec(url) ?? []
  if (rest === undefined || rest.startsWith(':memory:')) return undefined
  return rest.replace(/^\/\/(?=\/)/, '').split('?', 1)[0]
}
