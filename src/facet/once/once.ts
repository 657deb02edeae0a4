/**
 * The once facet: work that a request asks for, done once however often the request comes. The result stands in `$once`,
 * put by the very commit that has the effects, on condition that it was not there: so none is without the other, and
 * no second commit can follow. A lease keeps others from doing the work at the same time; nothing depends on it.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { FailedCheck } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import { quote } from '../../model/key.ts'
import { Documents } from '../documents.ts'
import { failedChecksOf } from '../draft.ts'
import { giveBack, type Held, Lease, Leases, leaseCollections } from '../lease.ts'
import { LeasedPort } from '../leased-port.ts'
import { holderName } from '../lock/holder.ts'
import { Turns } from '../lock/turns.ts'
import type { OwnCollections, Port } from '../port.ts'
import { type NewEvent, toStoredDocument } from '../shape.ts'
import { type Collections, draftOf, type Transaction, transact } from '../transaction.ts'
import { fingerprintOf } from './canonical.ts'
import type { IdempotencyToken } from './token.ts'

const results = '$once'
export const onceCollections: OwnCollections = { ...leaseCollections, [results]: plainCollection }

export interface OnceOptions extends CallOptions {
  /** Milliseconds that the result is kept; 24 hours if left out. After that the token is as new. */
  readonly expiresInMs?: number
  /** Milliseconds to wait for somebody who is at the same work, 0 not to wait; as long as a call to the store may take if left out. */
  readonly waitMs?: number
  /** Milliseconds without a sign of life after which another process may do the work; 10,000 if left out. */
  readonly ttlMs?: number
}

export interface OnceResult<R> {
  /** What the work returned, now or the first time. */
  readonly value: R
  /** Whether it was done before; nothing was written now. */
  readonly isReplay: boolean
  /** Of the commit's last change: what a reader has to have reached to see the effects. */
  readonly position: number
}

/** What is kept for a token. */
export interface RecalledResult<R> {
  /** What the work returned. */
  readonly value: R
  /** Of the result itself: a reader who has reached it sees the effects. */
  readonly position: number
  /** Milliseconds since 1970 from which on the token is as new. */
  readonly expiresAt: number
}

interface Asked<E extends NewEvent, C extends Collections, R> {
  readonly token: IdempotencyToken
  readonly request: unknown
  readonly work: (transaction: Transaction<E, C>) => R | Promise<R>
  readonly options: OnceOptions
}

/** What is kept of work that was done. */
interface Kept {
  readonly fingerprint: string
  /** Left out if the work returned undefined. */
  readonly value?: unknown
  /** Of the lease under which it was done. */
  readonly lease: number
}
type Found = Kept & { readonly position: number; readonly expiresAt: number }

const dayMs = 24 * 3_600_000
const defaultTtlMs = 10_000
const firstDelayMs = 1
const lastDelayMs = 20
/** Expired results are deleted behind every so many pieces of work, at most so many at a time. */
const sweepEvery = 128
const sweepLimit = 500

export class Once {
  readonly #port: Port
  readonly #leases: Leases
  readonly #turns: Turns
  #done = 0

  constructor(port: Port) {
    this.#port = port
    this.#leases = new Leases(port, holderName(port.clock))
    this.#turns = new Turns(port.clock)
  }

  /** `port` is what the work commits through. */
  async run<E extends NewEvent, C extends Collections, R>(
    port: Port,
    { token, request, work, options }: Asked<E, C, R>,
  ): Promise<OnceResult<R>> {
    const { waitMs = this.#port.deadlineMs, expiresInMs = dayMs, signal } = options
    if (typeof token?.id !== 'string')
      throw new TypeError('The token must be made with idempotencyToken(scope, key)')
    if (!(expiresInMs > 0)) throw new TypeError(`expiresInMs must be above 0, not ${expiresInMs}`)
    const fingerprint = fingerprintOf(request, this.#port.limits)
    await this.#port.ensure(onceCollections)
    const known = await this.#recall(token, fingerprint, options)
    if (known !== undefined) return replayOf<R>(known)
    const { clock } = this.#port
    const until = clock.monotonic() + waitMs
    const turn = await this.#turns.enter(token.id, undefined, { waitMs, ...(signal && { signal }) })
    if (turn === undefined) throw inFlight(token, this.#leases.holder)
    try {
      const found = await this.#begin(token, fingerprint, until, options)
      if (!(found instanceof Lease)) return replayOf<R>(found)
      const result = await this.#perform(port, found, fingerprint, { token, request, work, options })
      if (this.#done++ % sweepEvery === 0) await this.#sweep()
      return result
    } finally {
      turn.leave()
    }
  }

  /** What is kept for a token, whatever the request was. */
  async recall<R>(token: IdempotencyToken, options: CallOptions): Promise<RecalledResult<R> | undefined> {
    await this.#port.ensure(onceCollections)
    const kept = await this.#find(token, options)
    return kept && { value: kept.value as R, position: kept.position, expiresAt: kept.expiresAt }
  }

  /** The lease under which to do the work, or what was kept of it meanwhile. */
  async #begin(
    token: IdempotencyToken,
    fingerprint: string,
    until: number,
    options: OnceOptions,
  ): Promise<Lease | Found> {
    const { clock } = this.#port
    const { ttlMs = defaultTtlMs, signal } = options
    let racesLeft = 3
    let held: Held | undefined
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, lastDelayMs)) {
      const kept = await this.#recall(token, fingerprint, options)
      if (kept !== undefined) return kept
      const leftMs = until - clock.monotonic()
      if (held !== undefined) {
        if (signal?.aborted) throw aborted(token, signal)
        // Whoever was quicker at the same moment is seen by the next try.
        if (leftMs <= 0 && (held.holder !== '' || racesLeft-- === 0)) throw inFlight(token, held.holder)
        const pauseMs = Math.max(firstDelayMs, delayMs * (0.5 + clock.random() / 2))
        await sleep(clock, Math.max(0, Math.min(leftMs, held.retryInMs, pauseMs)), signal)
      }
      const checks = [{ kind: 'document', collection: results, id: token.id, expect: 'absent' }] as const
      const found = await this.#leases.attempt(leaseId(token), { ttlMs, checks, ...(signal && { signal }) })
      if (found instanceof Lease) return found
      held = found
    }
  }

  /** Does the work and keeps its result: effects, result and the end of the lease are one commit. */
  async #perform<E extends NewEvent, C extends Collections, R>(
    port: Port,
    lease: Lease,
    fingerprint: string,
    { token, work, options }: Asked<E, C, R>,
  ): Promise<OnceResult<R>> {
    const { expiresInMs = dayMs, signal } = options
    const complete = async (transaction: Transaction<E, C>) => {
      const value = await work(transaction)
      const kept: Kept = { fingerprint, ...(value === undefined ? {} : { value }), lease: lease.token }
      const expiresAt = this.#port.clock.now() + expiresInMs
      const draft = draftOf(transaction as unknown as Transaction)
      draft.put(results, this.#port.collection(results), token.id, kept, { expect: 'absent', expiresAt })
      return value
    }
    try {
      const { value, position } = await transact<E, C, R>(
        new LastPort(port, lease),
        complete,
        signal === undefined ? {} : { signal },
      )
      await lease.released()
      return { value: value as R, isReplay: false, position }
    } catch (error) {
      return await this.#conclude<R>(token, fingerprint, lease, error)
    }
  }

  /** What a failure means: a result that is there after all, or the error, with the lease given back. */
  async #conclude<R>(
    token: IdempotencyToken,
    fingerprint: string,
    lease: Lease,
    error: unknown,
  ): Promise<OnceResult<R>> {
    const isReleased = await giveBack(lease)
    const isUnknown = isUnderpinError(error, 'unknown')
    // A lock around the work may be lost, too: then nobody else need be at it.
    const isTakenOver = isUnderpinError(error, 'lost-lease') && error.details.id === lease.id
    if (!isUnknown && !isTakenOver && !isOvertaken(error, token)) throw error
    if (isUnknown && isReleased === undefined) throw error
    const kept = await this.#recall(token, fingerprint, {})
    if (kept !== undefined) return { ...replayOf<R>(kept), isReplay: kept.lease !== lease.token }
    if (!isUnknown) throw inFlight(token, '', error)
    // The commit depends on the lease, which is gone: it cannot arrive any more.
    throw new UnderpinError(
      'unavailable',
      `The commit of ${quote(token.id)} did not arrive; nothing was written`,
      {
        hint: 'Ask again with the same token.',
        cause: error,
      },
    )
  }

  /** What was kept; `mismatch` if it was for another request. */
  async #recall(
    token: IdempotencyToken,
    fingerprint: string,
    options: CallOptions,
  ): Promise<Found | undefined> {
    const kept = await this.#find(token, options)
    if (kept === undefined || kept.fingerprint === fingerprint) return kept
    throw new UnderpinError(
      'mismatch',
      `The idempotency token ${quote(token.id)} was used before for another request`,
      {
        hint: 'Give each request a key of its own, and retry it unchanged.',
        details: { token: token.id },
      },
    )
  }

  async #find({ id }: IdempotencyToken, { signal }: CallOptions): Promise<Found | undefined> {
    const { documents } = await this.#port.get([{ collection: results, id }], signal && { signal })
    const found = toStoredDocument<Kept>(documents[0], this.#port.clock.now())
    return found && { ...found.value, position: found.revision, expiresAt: found.expiresAt as number }
  }

  async #sweep(): Promise<void> {
    try {
      await new Documents(this.#port, results).sweep(sweepLimit)
    } catch (error) {
      // The work is done; what has expired counts as absent all the same, and is swept another time.
      if (!isUnderpinError(error)) throw error
    }
  }
}

/** The port of the last commit under a lease: it gives the lease back. */
class LastPort extends LeasedPort {
  readonly #last: Lease

  constructor(inner: Port, lease: Lease) {
    super(inner, lease)
    this.#last = lease
  }

  override commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    return super.commit({ ...commit, writes: [...commit.writes, ...this.#last.releaseWrites] }, options)
  }
}

function leaseId({ id }: IdempotencyToken): string {
  return `once/${id}`
}

/** Whether a commit failed because the result is there already. */
function isOvertaken(error: unknown, { id }: IdempotencyToken): boolean {
  const isResult = (check: FailedCheck) =>
    check.kind === 'document' && check.collection === results && check.id === id
  return failedChecksOf(error)?.some(isResult) ?? false
}

function replayOf<R>({ value, position }: Found): OnceResult<R> {
  return { value: value as R, isReplay: true, position }
}

function inFlight(token: IdempotencyToken, holder: string, cause?: unknown): UnderpinError {
  const by = holder === '' ? 'somebody else' : holder
  return new UnderpinError('in-flight', `${quote(token.id)} is being worked on by ${by}`, {
    hint: 'Ask again in a moment, or wait longer: waitMs.',
    details: { token: token.id, holder },
    ...(cause === undefined ? {} : { cause }),
  })
}

function aborted(token: IdempotencyToken, signal: AbortSignal): UnderpinError {
  return new UnderpinError('aborted', `Waiting for ${quote(token.id)} was aborted`, { cause: signal.reason })
}
