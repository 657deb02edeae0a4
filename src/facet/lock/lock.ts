/**
 * The lock facet: one holder of a key at a time, among any number of processes. Waiters of a process stand in line in
 * front of the lease (facet/lease.ts), which processes hold against one another; so that a process with many waiters
 * pays one commit from holder to holder, it hands the lease on to the next in line, unless another process has made
 * known in `$waits` that it waits too: then it gives the lease back, and lets the other one begin.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import { checkId, quote } from '../../model/key.ts'
import { encodeValue } from '../../model/value.ts'
import { Lease, Leases, leaseCollections, lostLease } from '../lease.ts'
import { LeasedPort } from '../leased-port.ts'
import type { OwnCollections, Port } from '../port.ts'
import { holderName } from './holder.ts'
import { type Turn, Turns } from './turns.ts'

const waits = '$waits'
export const lockCollections: OwnCollections = { ...leaseCollections, [waits]: plainCollection }

export interface LockOptions {
  /** Milliseconds without a sign of life after which another process may take the lock over; 10,000 if left out. */
  readonly ttlMs?: number
  /** Milliseconds to wait for the lock, 0 to try once; as long as a call to the store may take if left out. */
  readonly waitMs?: number
  /** Ends the waiting, not the work. */
  readonly signal?: AbortSignal
}

/** What the work under a lock is given. */
export interface Held {
  /** The domain's port, every commit of which depends on the lock. */
  readonly port: Port
  readonly token: number
  readonly signal: AbortSignal
}

/** Somebody's need of a lock, while they wait for their turn. */
interface Want {
  readonly ttlMs: number
  /** Set by the holder before, if it hands its lease on. */
  lease: Lease | undefined
  /** Set by the holder before, if another process is to have the lock first. */
  mustGiveWay: boolean
}

const defaultTtlMs = 10_000
/** Shorter ones would be lost to a pause for garbage collection or a slow disk. */
const ttlMsMin = 20
/** Milliseconds between two tries of a process that waits for another one. */
const firstDelayMs = 1
const lastDelayMs = 20
/** Milliseconds that a sign in `$waits` counts, and after which it is given again. */
const signMs = 2_000
const signAgainMs = 1_000
/** Milliseconds that a process stands back for: in that time, any other that waits has tried twice. */
const giveWayMs = 2 * lastDelayMs

export class Locks {
  readonly #port: Port
  readonly #leases: Leases
  readonly #turns: Turns<Want>
  /** The keys that the current chain of calls holds. */
  readonly #chain = new AsyncLocalStorage<Link>()

  constructor(port: Port) {
    this.#port = port
    this.#leases = new Leases(port, holderName(port.clock))
    this.#turns = new Turns(port.clock)
  }

  /** Runs `work` while this process holds the lock. `port` is what the commits of the work go through. */
  async hold<R>(
    key: string,
    port: Port,
    work: (held: Held) => R | Promise<R>,
    options: LockOptions,
  ): Promise<R> {
    const { ttlMs = defaultTtlMs, waitMs = this.#port.deadlineMs, signal } = options
    checkMs('ttlMs', ttlMs, ttlMsMin)
    checkMs('waitMs', waitMs, 0)
    const id = `lock/${key}`
    checkId(key, 'The key of a lock', { ...this.#port.limits, idBytes: this.#port.limits.idBytes - 5 })
    this.#refuseOwn(key)
    const { clock } = this.#port
    const since = clock.monotonic()
    const want: Want = { ttlMs, lease: undefined, mustGiveWay: false }
    const turn = await this.#turns.enter(key, want, { waitMs, ...(signal && { signal }) })
    if (turn === undefined) throw locked(key, this.#leases.holder)
    try {
      const leftMs = waitMs - (clock.monotonic() - since)
      const lease = want.lease ?? (await this.#acquire(key, id, want, { leftMs, signal }))
      return await this.#run(key, lease, turn, port, work)
    } finally {
      turn.leave()
    }
  }

  /** The work's own error goes before all others; then that the lock was lost. */
  async #run<R>(
    key: string,
    lease: Lease,
    turn: Turn<Want>,
    port: Port,
    work: (held: Held) => R | Promise<R>,
  ): Promise<R> {
    // Others of this process need not wait for work that is refused everything by the store.
    const onLost = () => turn.leave()
    const { signal } = lease
    signal.addEventListener('abort', onLost, { once: true })
    const link: Link = { key, outer: this.#chain.getStore(), isOver: false }
    const held = { port: new LeasedPort(port, lease), token: lease.token, signal }
    const end = () => {
      link.isOver = true
      signal.removeEventListener('abort', onLost)
      return this.#end(lease, turn)
    }
    let value: R
    try {
      value = await this.#chain.run(link, () => work(held))
    } catch (error) {
      await end()
      throw error
    }
    if ((await end()) === 'lost') throw signal.reason ?? lostLease(lease.id)
    return value
  }

  /** Hands the lease on, or gives it back. What cannot be told for want of the store ends by itself when its time is over. */
  async #end(lease: Lease, turn: Turn<Want>): Promise<'lost' | 'over'> {
    try {
      if (lease.signal.aborted) {
        await lease.released()
        return 'lost'
      }
      const { next } = turn
      if (next !== undefined) {
        // On a backend that answers within the call, callers without end would let nothing else run.
        await new Promise<void>((resolve) => setImmediate(resolve))
        next.lease = await lease.handOn(next.ttlMs, [notWaited(lease.id)])
        if (next.lease !== undefined) return await this.#handedOn(next, turn)
        next.mustGiveWay = true
        const mark: Write = { kind: 'delete', collection: waits, id: lease.id }
        return (await lease.release(undefined, [mark])) ? 'over' : 'lost'
      }
      return (await lease.release()) ? 'over' : 'lost'
    } catch (error) {
      if (!isUnderpinError(error)) throw error
      return 'over'
    }
  }

  /** The next one may have ceased to wait meanwhile. */
  async #handedOn(next: Want, turn: Turn<Want>): Promise<'over'> {
    if (turn.next === next) turn.leave()
    else await next.lease?.release()
    return 'over'
  }

  /** Waits for other processes. */
  async #acquire(
    key: string,
    id: string,
    { ttlMs, mustGiveWay }: Want,
    { leftMs, signal }: { readonly leftMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<Lease> {
    const { clock } = this.#port
    const call = signal && { signal }
    await this.#port.ensure(lockCollections)
    const until = clock.monotonic() + leftMs
    if (mustGiveWay) await sleep(clock, Math.min(leftMs, giveWayMs), signal)
    let racesLeft = 3
    let signedAt = Number.NEGATIVE_INFINITY
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, lastDelayMs)) {
      if (signal?.aborted) throw aborted(key, signal)
      const hasSigned = signedAt > Number.NEGATIVE_INFINITY
      const writes = hasSigned ? [{ kind: 'delete', collection: waits, id } as const] : []
      const found = await this.#leases.attempt(id, { ttlMs, writes, ...call })
      if (found instanceof Lease) return found
      const now = clock.monotonic()
      // Whoever was quicker at the same moment is seen by the next try.
      if (now >= until && (found.holder !== '' || racesLeft-- === 0)) throw locked(key, found.holder)
      if (now - signedAt > signAgainMs) {
        await this.#sign(id)
        signedAt = now
      }
      const pauseMs = Math.max(firstDelayMs, Math.min(delayMs * (0.5 + clock.random() / 2), found.retryInMs))
      await sleep(clock, Math.max(0, Math.min(until - now, pauseMs)), signal)
    }
  }

  /** Makes known that this process waits. */
  async #sign(id: string): Promise<void> {
    const at = this.#port.clock.now()
    const data = encodeValue(this.#leases.holder)
    const put: Write = { kind: 'put', collection: waits, id, data, expiresAt: at + signMs }
    try {
      await this.#port.commit({ at, writes: [put], checks: [] })
    } catch (error) {
      // Only fairness depends on it, and it is given again; what ails the store is told by the next try for the lease.
      if (!isUnderpinError(error)) throw error
    }
  }

  #refuseOwn(key: string): void {
    for (let link = this.#chain.getStore(); link !== undefined; link = link.outer) {
      if (link.key !== key || link.isOver) continue
      throw new TypeError(
        `The lock ${quote(key)} is taken within its own work, which would wait for itself: pass on what the callback was given instead.`,
      )
    }
  }
}

/** The locks around a piece of work, the innermost first. */
interface Link {
  readonly key: string
  readonly outer: Link | undefined
  isOver: boolean
}

function notWaited(id: string): Check {
  return { kind: 'document', collection: waits, id, expect: 'absent' }
}

function checkMs(name: string, ms: number, min: number): void {
  if (typeof ms === 'number' && ms >= min && ms <= 2 ** 31 - 1) return
  throw new TypeError(`${name} must be a number of milliseconds from ${min} on, not ${ms}`)
}

function locked(key: string, holder: string): UnderpinError {
  const by = holder === '' ? 'somebody else' : holder
  return new UnderpinError('locked', `The lock ${quote(key)} is held by ${by}`, {
    hint: 'Try again later, or wait longer: waitMs.',
    details: { key, holder },
  })
}

function aborted(key: string, signal: AbortSignal): UnderpinError {
  return new UnderpinError('aborted', `Waiting for the lock ${quote(key)} was aborted`, {
    cause: signal.reason,
  })
}
