/**
 * The reads of a domain, whichever way its route goes: each counts only if it was served by the backend that holds
 * authority, under its epoch.
 */
import type { Backend, CallOptions, Found } from './backend/backend.ts'
import { UnderpinError } from './error.ts'
import type { DocumentKey } from './model/document.ts'
import type { Fence } from './model/fence.ts'
import type { Query, Range, Served } from './model/page.ts'
import type { Position } from './model/position.ts'
import { noHooks, type RouteHooks } from './move/hooks.ts'

export interface Authority {
  readonly backend: Backend
  readonly epoch: number
}

export abstract class AuthorityReads {
  abstract readonly domain: string
  protected readonly hooks: RouteHooks = noHooks

  /** Makes a call of who holds authority; looks again when the call is refused as `fenced`. */
  protected abstract withAuthority<R>(
    options: CallOptions | undefined,
    call: (authority: Authority) => Promise<R>,
  ): Promise<R>

  read(stream: string, range: Range, options?: CallOptions) {
    const page = this.#served(options, (backend) => backend.read(this.domain, stream, range, options))
    this.hooks.onRead?.({ kind: 'read', stream, range }, page)
    return page
  }

  get(keys: readonly DocumentKey[], options?: CallOptions): Promise<Found> {
    const found = this.#served(options, (backend) => backend.get(this.domain, keys, options))
    this.hooks.onRead?.({ kind: 'get', keys }, found)
    return found
  }

  scan(query: Query, options?: CallOptions) {
    const page = this.#served(options, (backend) => backend.scan(this.domain, query, options))
    this.hooks.onRead?.({ kind: 'scan', query }, page)
    return page
  }

  changes(after: Position, limit: number, options?: CallOptions) {
    return this.#served(options, (backend) => backend.changes(this.domain, after, limit, options))
  }

  async head(options?: CallOptions): Promise<Position> {
    return (await this.fence(options)).head
  }

  /** The fence under which the domain accepts commits now. */
  fence(options?: CallOptions): Promise<Fence> {
    return this.#served(options, (backend) => backend.fence(this.domain, options))
  }

  #served<R extends Served>(
    options: CallOptions | undefined,
    call: (backend: Backend) => Promise<R>,
  ): Promise<R> {
    return this.withAuthority(options, async ({ backend, epoch }) => {
      const result = await call(backend)
      if (result.role === 'authority' && result.epoch === epoch) return result
      throw new UnderpinError(
        'fenced',
        `Domain ${this.domain} is held by another backend or under another epoch by now`,
      )
    })
  }
}
