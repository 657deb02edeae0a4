/** Replay tokens and kept responses over an Underpin domain: what is kept is in the commit that has the effects. */
import type { IdempotencyToken } from 'underpin'
import type { IdempotencyStore } from '../db.ts'
import type { StreamDomain, StreamTransaction } from '../domain.ts'

export class DomainIdempotency implements IdempotencyStore {
  readonly #domain: StreamDomain

  constructor(domain: StreamDomain) {
    this.#domain = domain
  }

  once<R>(token: IdempotencyToken, request: unknown, work: (transaction: StreamTransaction) => Promise<R>) {
    return this.#domain.once(token, request, work)
  }

  get<R>(token: IdempotencyToken) {
    return this.#domain.recall<R>(token)
  }
}
