/** A domain whose commits all depend on a lease: the store itself refuses them once somebody else holds it. */
import type { CallOptions } from '../backend/backend.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { ForwardPort } from './forward-port.ts'
import { type Lease, lostLease } from './lease.ts'
import type { Port } from './port.ts'

export class LeasedPort extends ForwardPort {
  readonly #lease: Lease

  constructor(inner: Port, lease: Lease) {
    super(inner)
    this.#lease = lease
  }

  /** Fails with `lost-lease`, with nothing written, if the lease was taken over or given back. */
  override async commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    const lease = this.#lease
    const outcome = await super.commit({ ...commit, checks: [...commit.checks, lease.check] }, options)
    if (lease.isRefused(outcome)) throw lostLease(lease.id)
    return outcome
  }

  protected override around(inner: Port): Port {
    return new LeasedPort(inner, this.#lease)
  }
}
