/**
 * The reads of a domain, whichever way its route goes: each counts only if it was served by the backend that holds
 * authority, under its epoch. One that is sealed serves them, too: until something else is decided, nobody else accepts
 * commits, so what it holds is what the last acknowledged commit left.
 */
import type { Backend, CallOptions, Found } from './backend/backend.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import type { DocumentKey } from './model/document.ts'
import type { Fence, Role } from './model/fence.ts'
import type { Query, Range, Served } from './model/page.ts'
import type { Position } from './model/position.ts'
import { noHooks, type RouteHooks } from './move/hooks.ts'
import type { Authority } from './search.ts'

/** The roles under which a backend's reads count. */
export const servingRoles: readonly Role[] = ['authority', 'sealed']

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

  /** The fence of the backend that serves the domain's reads now. */
  fence(options?: CallOptions): Promise<Fence> {
    return this.#served(options, (backend) => backend.fence(this.domain, options))
  }

  #served<R extends Served>(
    options: CallOptions | undefined,
    call: (backend: Backend) => Promise<R>,
  ): Promise<R> {
    return this.withAuthority(options, async ({ backend, epoch }) => {
      let result: R
      try {
        result = await call(backend)
      } catch (error) {
        if (!mayLack(error) || isServing(await backend.fence(this.domain, options), epoch)) throw error
        throw this.#elsewhere(error)
      }
      if (isServing(result, epoch)) return result
      throw this.#elsewhere()
    })
  }

  #elsewhere(cause?: unknown): UnderpinError {
    const message = `Domain ${this.domain} is held by another backend or under another epoch by now`
    return new UnderpinError('fenced', message, cause === undefined ? {} : { cause })
  }
}

function isServing({ role, epoch }: Pick<Served, 'role' | 'epoch'>, expected: number): boolean {
  return epoch === expected && servingRoles.includes(role)
}

/** Whether a read may have failed for what an abandoned copy lacks, and not for what was asked: such a copy refuses nobody. */
function mayLack(error: unknown): boolean {
  if (!isUnderpinError(error)) return true
  return error.code === 'damaged' || (error.code === 'invalid' && 'collection' in error.details)
}
