/**
 * Leases: who may do something now, among any number of processes. A lease is two documents: the grant in `$leases`,
 * whose revision is the fencing token, and its beat in `$beats`, which the holder renews. Whatever is done under a lease
 * is committed with a check on the grant, so a holder that was taken for dead and wakes up late is refused by the store.
 *
 * No clock is compared with another one: a taker must itself have seen the same grant and beat for the lease's whole
 * time, on its own monotonic clock (as in the leader election of Kubernetes' client-go). A clock that jumps takes nothing.
 */
import type { CallOptions } from '../backend/backend.ts'
import { sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Write } from '../model/change.ts'
import type { Check } from '../model/check.ts'
import { plainCollection } from '../model/collection.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import type { Document, Tombstone } from '../model/document.ts'
import { quote } from '../model/key.ts'
import type { Cursor, Page } from '../model/page.ts'
import { decodeValue, encodeValue } from '../model/value.ts'
import type { OwnCollections, Port } from './port.ts'

export const grants = '$leases'
export const beats = '$beats'
export const leaseCollections: OwnCollections = { [grants]: plainCollection, [beats]: plainCollection }

/** What a grant says of its holder. */
export interface Grant {
  readonly holder: string
  readonly ttlMs: number
  /** Tells one's own grant when nobody answered whether it was given. */
  readonly nonce: string
}

/** Somebody else has the lease. */
export interface Held {
  readonly holder: string
  /** Milliseconds after which another try may take it over, if its holder gives no sign until then. */
  readonly retryInMs: number
}

export interface AcquireOptions extends CallOptions {
  /** Milliseconds without a sign of life after which another process may take the lease over. */
  readonly ttlMs: number
  /** Milliseconds to wait for it; 0 tries once. */
  readonly waitMs: number
  /** Committed together with the taking: what the new holder writes first, and what must be so for it to take it. */
  readonly writes?: readonly Write[]
  readonly checks?: readonly Check[]
}

/** Milliseconds between two tries. */
const firstDelayMs = 2
const lastDelayMs = 25
/** Leases of others that are kept in mind: many are never asked for again. */
const defaultMostSeen = 10_000

/** The leases of a domain, as one process sees them. */
export class Leases {
  readonly #port: Port
  readonly #mostSeen: number
  /** Names this process, or this part of it, in grants. */
  readonly holder: string
  /** What was last seen of leases that others hold, and when it was first seen so, by the monotonic clock; seen last, at the end. */
  readonly #seen = new Map<string, { readonly sign: string; readonly since: number }>()

  constructor(port: Port, holder: string = port.clock.id(), mostSeen = defaultMostSeen) {
    this.#port = port
    this.holder = holder
    this.#mostSeen = mostSeen
  }

  /** Takes a lease, or waits for it; what is in the way if the time passes. Fails with `aborted` when the signal aborts. */
  async acquire(id: string, options: AcquireOptions): Promise<Lease | Held> {
    const { clock } = this.#port
    const since = clock.monotonic()
    await this.#port.ensure(leaseCollections)
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(delayMs * 2, lastDelayMs)) {
      const found = await this.attempt(id, options)
      if (found instanceof Lease) return found
      const leftMs = options.waitMs - (clock.monotonic() - since)
      if (leftMs <= 0) return found
      await sleep(clock, Math.min(leftMs, found.retryInMs, delayMs * (0.5 + clock.random())), options.signal)
      if (options.signal?.aborted) throw aborted(id, options.signal)
    }
  }

  /** The ids of leases that somebody holds, or held until he died, by their beginning. */
  async held(prefix: string): Promise<string[]> {
    await this.#port.ensure(leaseCollections)
    const limit = Math.min(1_000, this.#port.limits.pageItems)
    const query = { collection: grants, by: 'id', prefix, backwards: false, limit } as const
    const ids: string[] = []
    for (let after: Cursor | null = null; ; ) {
      const page: Page<Document, Cursor | null> = await this.#port.scan({ ...query, after })
      ids.push(...page.items.map(({ id }) => id))
      if (page.next === null) return ids
      after = page.next
    }
  }

  /** Tries once. One that was granted while the signal aborted is given back, and `aborted` thrown. */
  async attempt(id: string, options: Omit<AcquireOptions, 'waitMs'>): Promise<Lease | Held> {
    const { documents } = await this.#port.get(
      [
        { collection: grants, id },
        { collection: beats, id },
      ],
      options,
    )
    const [grant, beat] = documents.map(present)
    if (grant !== undefined) {
      const held = this.#observe(id, grant, beat)
      if (held.retryInMs > 0) return held
    }
    const since = this.#port.clock.monotonic()
    const token = await this.#take(id, grant, beat, options)
    if (token === undefined) return { holder: '', retryInMs: firstDelayMs }
    this.#seen.delete(id)
    const { holder } = this
    const { ttlMs, signal } = options
    const lease = new Lease(this.#port, { id, token, holder, ttlMs, since, beat: beat?.position ?? 0 })
    if (!signal?.aborted) return lease
    await giveBack(lease)
    throw aborted(id, signal)
  }

  /** How long this process has yet to see no sign of life before it may take a lease over. */
  #observe(id: string, grant: Document, beat: Document | undefined): Held {
    const { holder, ttlMs } = decodeValue(grant.data) as Grant
    const now = this.#port.clock.monotonic()
    const sign = `${grant.position} ${beat?.position ?? 0}`
    const seen = this.#seen.get(id)
    const since = seen?.sign === sign ? seen.since : now
    this.#seen.delete(id)
    this.#seen.set(id, { sign, since })
    // Whoever is forgotten is only waited for anew.
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= this.#mostSeen) break
      this.#seen.delete(oldest)
    }
    return { holder, retryInMs: Math.max(0, since + ttlMs - now) }
  }

  /** The token, or undefined if somebody else was quicker, or the holder lives after all. */
  async #take(
    id: string,
    grant: Document | undefined,
    beat: Document | undefined,
    { ttlMs, writes = [], checks = [] }: Omit<AcquireOptions, 'waitMs'>,
  ): Promise<number | undefined> {
    return putGrant(this.#port, { id, holder: this.holder, ttlMs }, writes, [
      { kind: 'document', collection: grants, id, expect: grant?.position ?? 'absent' },
      { kind: 'document', collection: beats, id, expect: beat?.position ?? 'absent' },
      ...checks,
    ])
  }
}

/**
 * Commits a grant: its token, or undefined if a check failed. An unknown outcome is found out by reading the grant. No
 * signal cuts it short: a grant that nobody awaited would keep everybody waiting for its whole time.
 */
async function putGrant(
  port: Port,
  { id, holder, ttlMs }: { readonly id: string; readonly holder: string; readonly ttlMs: number },
  writes: readonly Write[],
  checks: readonly Check[],
): Promise<number | undefined> {
  const nonce = port.clock.id()
  const data = encodeValue({ holder, ttlMs, nonce } satisfies Grant)
  const put: Write = { kind: 'put', collection: grants, id, data, expiresAt: null }
  try {
    const outcome = await port.commit({ at: port.clock.now(), writes: [put, ...writes], checks })
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed' ? outcome.positions[0] : undefined
  } catch (error) {
    if (!isUnderpinError(error, 'unknown')) throw error
    const { documents } = await port.get([{ collection: grants, id }])
    const found = present(documents[0])
    return found !== undefined && (decodeValue(found.data) as Grant).nonce === nonce
      ? found.position
      : undefined
  }
}

function present(record: Document | Tombstone | undefined): Document | undefined {
  return record?.kind === 'document' ? record : undefined
}

interface Taken {
  readonly id: string
  readonly token: number
  readonly holder: string
  readonly ttlMs: number
  /** When the commit that gave it was begun, by the monotonic clock: nobody can have seen the grant before. */
  readonly since: number
  /** The revision of its beat; 0 if there is none. */
  readonly beat: number
}

/** A lease that this process took. It is renewed until it is released or lost. */
export class Lease {
  readonly id: string
  /** Higher than that of every holder before: give it to systems that can refuse lower ones. */
  readonly token: number
  readonly #port: Port
  readonly #holder: string
  readonly #ttlMs: number
  readonly #lost = new AbortController()
  #beat: number
  #renewing: Promise<void> = Promise.resolve()
  #cancelRenewal = () => {}
  #cancelExpiry = () => {}
  #isOver = false
  #until = 0

  constructor(port: Port, { id, token, holder, ttlMs, since, beat }: Taken) {
    this.#port = port
    this.id = id
    this.token = token
    this.#holder = holder
    this.#ttlMs = ttlMs
    this.#beat = beat
    this.#expireAt(since + ttlMs)
    this.#schedule()
  }

  /**
   * Milliseconds for which nobody else can have it, by this process's own clock and without waiting for a timer: for what
   * no store can check. 0 if it is over.
   */
  get leftMs(): number {
    return this.#isOver ? 0 : Math.max(0, this.#until - this.#port.clock.monotonic())
  }

  /** Aborts, with `lost-lease` for a reason (`closed` if the store was), when the lease was lost or could not be renewed in its time. */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  /** What a commit under the lease depends on. */
  get check(): Check {
    return { kind: 'document', collection: grants, id: this.id, expect: this.token }
  }

  /** Whether a commit failed because the lease is somebody else's by now; then the signal aborts too. */
  isRefused(outcome: Outcome): boolean {
    if (outcome.kind !== 'failed') return false
    const isOurs = outcome.failed.some(
      (failed) => failed.kind === 'document' && failed.collection === grants && failed.id === this.id,
    )
    if (isOurs) this.#lose(lostLease(this.id))
    return isOurs
  }

  /** The writes that give the lease back, for a commit that does so with its last change; then call {@link released}. */
  get releaseWrites(): readonly Write[] {
    const grant: Write = { kind: 'delete', collection: grants, id: this.id }
    return this.#beat === 0 ? [grant] : [grant, { kind: 'delete', collection: beats, id: this.id }]
  }

  /** Gives the lease back, and writes what is committed with that; false if it was lost before. */
  async release(options?: CallOptions, writes: readonly Write[] = []): Promise<boolean> {
    await this.released()
    const at = this.#port.clock.now()
    const commit = { at, writes: [...this.releaseWrites, ...writes], checks: [this.check] }
    const outcome = await this.#port.commit(commit, options)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed'
  }

  /**
   * Hands it on to the next of the same process, under a higher token and in one commit, if `checks` hold: the new
   * lease, or undefined if it was lost or a check failed. This one is not renewed any more in either case.
   */
  async handOn(ttlMs: number, checks: readonly Check[]): Promise<Lease | undefined> {
    await this.released()
    const { id } = this
    const holder = this.#holder
    const since = this.#port.clock.monotonic()
    const token = await putGrant(this.#port, { id, holder, ttlMs }, [], [this.check, ...checks])
    return token === undefined
      ? undefined
      : new Lease(this.#port, { id, token, holder, ttlMs, since, beat: this.#beat })
  }

  /** Stops renewing, and waits for a renewal under way: to be called before a commit with {@link releaseWrites}. */
  async released(): Promise<void> {
    this.#end()
    await this.#renewing
  }

  #schedule(): void {
    if (this.#isOver) return
    this.#cancelRenewal = this.#port.clock.timer(this.#ttlMs / 3, () => {
      this.#renewing = this.#renew().then(() => this.#schedule())
    })
  }

  async #renew(): Promise<void> {
    const { id } = this
    const since = this.#port.clock.monotonic()
    const commit: Commit = {
      at: this.#port.clock.now(),
      writes: [{ kind: 'put', collection: beats, id, data: encodeValue(this.token), expiresAt: null }],
      checks: [this.check],
    }
    try {
      const outcome = await this.#port.commit(commit, { signal: this.signal })
      // Given back while this was under way, it is not lost.
      if (outcome.kind !== 'committed') return this.#isOver ? undefined : this.#lose(lostLease(id))
      this.#beat = outcome.positions[0] ?? this.#beat
      if (!this.#isOver) this.#expireAt(since + this.#ttlMs)
    } catch (error) {
      // Tried again at the next turn, while the lease's time lasts; a closed store renews nothing any more.
      if (!this.#isOver && (!isUnderpinError(error) || error.code === 'closed')) this.#lose(error)
    }
  }

  /** Others wait for the whole time from when they saw the beat, which is later: who is not heard until now is lost in time. */
  #expireAt(until: number): void {
    this.#until = until
    this.#cancelExpiry()
    const ms = Math.max(0, until - this.#port.clock.monotonic())
    this.#cancelExpiry = this.#port.clock.timer(ms, () => this.#lose(lostLease(this.id)))
  }

  #lose(reason: unknown): void {
    this.#end()
    this.#lost.abort(reason)
  }

  #end(): void {
    this.#isOver = true
    this.#cancelRenewal()
    this.#cancelExpiry()
  }
}

/** False if it was lost before; undefined if the store does not tell: then the lease ends when its time is over. */
export async function giveBack(lease: Lease): Promise<boolean | undefined> {
  try {
    return await lease.release()
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    return undefined
  }
}

function aborted(id: string, signal: AbortSignal): UnderpinError {
  return new UnderpinError('aborted', `Waiting for the lease ${quote(id)} was aborted`, {
    cause: signal.reason,
  })
}

export function lostLease(id: string): UnderpinError {
  return new UnderpinError(
    'lost-lease',
    `The lease ${quote(id)} is over: its work has ended, or somebody else holds it by now`,
    {
      hint: 'Nothing of this was written. Await everything within the work. If it had not ended, it was taken for dead: give it a longer ttl, or make its steps shorter.',
      details: { id },
    },
  )
}
