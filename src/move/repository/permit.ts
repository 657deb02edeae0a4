/**
 * Permits: whoever calls a repository does so under a lease that names the epoch. The epoch is raised first; then nobody
 * is given a permit of an earlier one any more, and those that are out are waited for until they are given back or have
 * run out, as seen by the waiting process alone: no clock is compared with another.
 */
import { Lease, Leases, leaseCollections } from '../../facet/lease.ts'
import { type Control, type FoundState, isPassing, type State } from './control.ts'

/** A call begins only if its permit lasts for so large a part of its time yet: that is what the call has to end in. */
const reserve = 1 / 3

/** What ids of permits begin with: of one repository, and of one epoch of it. */
function prefixOf(name: string): string {
  return `repository/${name}/`
}

export class Permit {
  readonly found: FoundState
  readonly #lease: Lease
  readonly #ttlMs: number
  #inUse = 0
  #isEnding = false
  #idle: () => void = () => {}

  constructor(found: FoundState, lease: Lease, ttlMs: number) {
    this.found = found
    this.#lease = lease
    this.#ttlMs = ttlMs
  }

  get state(): State {
    return this.found.state
  }

  get id(): string {
    return this.#lease.id
  }

  /** Nobody can have begun the next epoch yet. */
  get isLive(): boolean {
    return this.#lease.leftMs > 0
  }

  /** A call may begin under it. */
  get mayBegin(): boolean {
    return !this.#isEnding && this.hasTime
  }

  /** It lasts for long enough for a call to be made. */
  get hasTime(): boolean {
    return this.#lease.leftMs >= this.#ttlMs * reserve
  }

  /** The same permit, by who knows more of the state. */
  as(state: State): Permit {
    return new Permit({ ...this.found, state }, this.#lease, this.#ttlMs)
  }

  /** Aborts when it was lost. */
  get signal(): AbortSignal {
    return this.#lease.signal
  }

  /** It is in use until as many calls of {@link leave}. */
  enter(): void {
    this.#inUse++
  }

  leave(): void {
    this.#inUse--
    if (this.#inUse === 0) this.#idle()
  }

  /** Lets nothing more begin, waits for what is under way, and gives the permit back. */
  async end(): Promise<void> {
    this.#isEnding = true
    if (this.#inUse > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    try {
      await this.#lease.release()
    } catch (error) {
      // Not given back, it runs out; a store that is closed takes nothing more.
      if (!isPassing(error) && (error as { code?: string }).code !== 'closed') throw error
    }
  }
}

/** The permits of a repository, as one process gives itself and watches those of others. */
export class Permits {
  readonly #control: Control
  readonly #leases: Leases
  readonly #ttlMs: number

  constructor(control: Control, ttlMs: number) {
    this.#control = control
    this.#leases = new Leases(control.port)
    this.#ttlMs = ttlMs
  }

  /** A permit under this state; undefined if it is another one by now. */
  async take(found: FoundState): Promise<Permit | undefined> {
    const control = this.#control
    await control.port.ensure(leaseCollections)
    const id = `${prefixOf(control.name)}${found.state.epoch}/${control.clock.id()}`
    const lease = await this.#leases.attempt(id, {
      ttlMs: this.#ttlMs,
      checks: [control.isState(found)],
    })
    return lease instanceof Lease ? new Permit(found, lease, this.#ttlMs) : undefined
  }

  /**
   * Looks once at the permits up to an epoch, and ends those that have run out: how many are still out. To be called
   * again and again: only who was seen without a sign of life for its whole time is taken to have run out.
   */
  async watch(epoch: number, own?: Permit): Promise<number> {
    const ids = await this.#leases.held(prefixOf(this.#control.name))
    const others = ids.filter((id) => id !== own?.id && epochOf(id) <= epoch)
    const left = await Promise.all(others.map((id) => this.#isOut(id)))
    return left.filter((isOut) => isOut).length
  }

  async #isOut(id: string): Promise<boolean> {
    const taken = await this.#leases.attempt(id, { ttlMs: this.#ttlMs })
    if (!(taken instanceof Lease)) return true
    await taken.release()
    return false
  }
}

function epochOf(id: string): number {
  return Number(id.split('/')[2])
}
