/**
 * The core of everything that consumes the feed durably: one active consumer for each id by lease, a checkpoint that is
 * committed together with its effect, catch-up and live without a seam. Subscriptions and asynchronous projections are
 * made of it:
 *
 *     const pulse = new Pulse(port, signal)                     // one for each process and domain
 *     await port.ensure({ ...leaseCollections, ...checkpointCollections })
 *     await makeCheckpoints(port, [id], 0)                      // if `readCheckpoints` finds none
 *     await consumeAlone(port, { id, leases, pulse, ttlMs: 5_000, limit: 500, saveEveryMs: 100,
 *       async take(page, session) {                             // whole commits, in order
 *         …
 *         await session.save(page.next, { writes, checks, tables })  // effect and checkpoint: one commit, under the lease
 *       } })                                                    // resolves when stopped
 *
 * `take` may call `session.save` several times (at most once for each change), not at all for a page that does not
 * concern it, or `session.done` for work whose checkpoint may come later. It must pass on what `session.save` throws,
 * and end soon when `session.signal` aborts. A holder that was taken for dead is refused by the store (`lost-lease`).
 */
import { sleep } from '../../clock.ts'
import { isUnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { isOwnCollection } from '../../model/collection.ts'
import type { Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { isOwnStream } from '../event/codec.ts'
import { refuseBeyond } from '../feed.ts'
import { Lease, type Leases } from '../lease.ts'
import type { Port } from '../port.ts'
import { UnseenFinder, unseenError } from '../unseen.ts'
import type { Listener, Pulse } from './pulse.ts'
import { Moved, Session } from './session.ts'

export type ChangePage = Page<Change, Position>

export interface ConsumerOptions {
  /** Of its checkpoint, which must be there, and of its lease. */
  readonly id: string
  readonly leases: Leases
  /** Wakes it, and stops it when it is over: it finishes what it is at, saves its checkpoint and gives the lease back. */
  readonly pulse: Pulse
  readonly ttlMs: number
  /** Changes in a page; more if a commit has more. */
  readonly limit: number
  /** Milliseconds after which what was done without a checkpoint gets one. */
  readonly saveEveryMs: number
  /** Before the pages, and again whenever somebody asked for a reset or a replay. */
  readonly begin?: (session: Session) => Promise<void>
  /** Streams of which no event may be missing: `truncated` if some were removed before it came to them. None if left out. */
  readonly needs?: (stream: string) => boolean
  readonly take: (page: ChangePage, session: Session) => Promise<void>
  /** Told of what it does, for those who ask. */
  readonly tell?: (state: ConsumerState) => void
}

export type ConsumerState =
  | { readonly kind: 'waiting'; readonly holder: string }
  | { readonly kind: 'consuming'; readonly position: Position }
  | { readonly kind: 'unavailable'; readonly error: unknown; readonly retryInMs: number }

const firstRetryMs = 50
const lastRetryMs = 5_000

/** Waits for the lease and consumes under it, again whenever it was lost, until stopped. */
export async function consumeAlone(port: Port, options: ConsumerOptions): Promise<void> {
  const { id, leases, ttlMs, tell, pulse } = options
  const signal = pulse.over
  while (!signal.aborted) {
    const found = await lasting(port, signal, () => leases.attempt(leaseOf(id), { ttlMs, signal }), tell)
    if (found === undefined) return
    if (found instanceof Lease) {
      await consume(port, found, options)
      continue
    }
    tell?.({ kind: 'waiting', holder: found.holder })
    const waitMs = Math.min(found.retryInMs, lookEveryMs(ttlMs)) * (0.75 + 0.5 * port.clock.random())
    await sleep(port.clock, waitMs, signal)
  }
}

/** The lease of a consumer. */
export function leaseOf(id: string): string {
  return `consumer:${id}`
}

/** Milliseconds between looks whether a lease was given back. */
export function lookEveryMs(ttlMs: number): number {
  return Math.min(250, Math.max(5, ttlMs / 10))
}

/** Consumes under a lease, until `stop` aborts or the lease is lost; then the lease is given back. */
export async function consume(
  port: Port,
  lease: Lease,
  options: ConsumerOptions,
  stop: AbortSignal = options.pulse.over,
): Promise<void> {
  const session = new Session(port, options.id, lease, stop, options)
  const listener = options.pulse.listen(port)
  const consumer = new Consumer(port, session, listener, options)
  try {
    await lasting(port, session.signal, () => consumer.run(), options.tell)
    if (session.unsaved > 0 && !lease.signal.aborted)
      await lasting(port, session.signal, () => session.save(session.position))
  } finally {
    listener.close()
    // A lease that cannot be given back ends by itself when its time is over: others only wait longer.
    await lease.release().catch(() => false)
  }
}

/** Does something again for as long as the store is out of reach; undefined when it was ended. */
export async function lasting<T>(
  port: Port,
  signal: AbortSignal,
  work: () => Promise<T>,
  tell?: ConsumerOptions['tell'],
): Promise<T | undefined> {
  for (let retryInMs = firstRetryMs; ; retryInMs = Math.min(retryInMs * 2, lastRetryMs)) {
    const since = port.clock.monotonic()
    try {
      return await work()
    } catch (error) {
      if (signal.aborted || endsTurn(error)) return undefined
      if (error instanceof Moved) continue
      if (!isOutage(error)) throw error
      if (port.clock.monotonic() - since > 10 * lastRetryMs) retryInMs = firstRetryMs
      tell?.({ kind: 'unavailable', error, retryInMs })
      await sleep(port.clock, retryInMs * (0.5 + port.clock.random()), signal)
      if (signal.aborted) return undefined
    }
  }
}

function endsTurn(error: unknown): boolean {
  return isUnderpinError(error, 'lost-lease') || isUnderpinError(error, 'closed')
}

/** Whether an error says that the store is out of reach, and nothing of what was asked of it. */
export function isOutage(error: unknown): boolean {
  return (
    isUnderpinError(error) &&
    (error.code === 'unknown' || (error.retryable && error.code !== 'locked' && error.code !== 'in-flight'))
  )
}

class Consumer {
  readonly #port: Port
  readonly #session: Session
  readonly #listener: Listener
  readonly #options: ConsumerOptions
  readonly #unseen: UnseenFinder
  /** What was asked for when it last began. */
  #begun: string | undefined
  /** Changes that were passed over since the checkpoint was saved. */
  #passed = 0

  constructor(port: Port, session: Session, listener: Listener, options: ConsumerOptions) {
    this.#port = port
    this.#session = session
    this.#listener = listener
    this.#options = options
    this.#unseen = new UnseenFinder(port, options.needs ?? (() => false))
  }

  async run(): Promise<void> {
    const session = this.#session
    await session.load()
    this.#begun = undefined
    while (!session.signal.aborted) {
      this.#listener.clear()
      if (session.stored.isPaused) await this.#pause()
      else if (this.#begun !== toAsk(session)) await this.#begin()
      else if (await this.#step()) await this.#rest()
    }
  }

  /** Whatever made it read its checkpoint again: what was asked for there is never overlooked. */
  async #begin(): Promise<void> {
    const asked = toAsk(this.#session)
    await this.#options.begin?.(this.#session)
    this.#begun = asked
  }

  /** Takes a page; whether it was the last for now. */
  async #step(): Promise<boolean> {
    const session = this.#session
    const { limit, take, tell } = this.#options
    const page = await this.#port.changes(session.position, limit, { signal: session.signal })
    refuseBeyond(session.position, page.head)
    if (page.items.some((change) => session.isForeign(change))) {
      await session.load()
      return false
    }
    await this.#refuseUnseen(page)
    const before = session.stored.revision
    await take(page, session)
    if (session.signal.aborted) return true
    if (session.stored.revision !== before) this.#passed = 0
    this.#passed += page.items.filter(isForApplications).length
    session.done(page.next, 0)
    tell?.({ kind: 'consuming', position: page.next })
    await this.#saveWhenDue()
    return page.next >= page.head && this.#begun === toAsk(session) && !session.stored.isPaused
  }

  /** Nothing is taken from behind events that are missing. What was done before is not to be done again. */
  async #refuseUnseen(page: ChangePage): Promise<void> {
    const session = this.#session
    if (this.#options.needs === undefined) return
    const unseen = await this.#unseen.find(session.position, page, { signal: session.signal })
    if (unseen === undefined) return
    if (session.unsaved > 0) await session.save(session.position)
    throw unseenError(`The consumer ${this.#options.id}`, unseen, unseenHint)
  }

  /** Changes that concern nobody are not worth a commit each; but after a restart not all are passed over again. */
  async #saveWhenDue(): Promise<void> {
    const session = this.#session
    await session.saveWhenDue()
    if (this.#passed < passedAtMost) return
    await session.save(session.position)
    this.#passed = 0
  }

  async #rest(): Promise<void> {
    const session = this.#session
    await this.#listener.next(session.signal, session.saveInMs)
    if (session.signal.aborted) return
    await this.#saveWhenDue()
  }

  /** A pause is noticed in the feed or by a commit that it overtook; so is its end, by looking whenever something moved. */
  async #pause(): Promise<void> {
    const session = this.#session
    if (session.unsaved > 0) await session.save(session.position)
    await this.#listener.next(session.signal)
    if (session.signal.aborted) return
    await session.load()
  }
}

/** How often others asked for a reset or a replay. */
function toAsk({ stored }: Session): string {
  return `${stored.resets} ${stored.replays}`
}

const unseenHint =
  "domain.history gives the archived events of a stream. Then go on without them: compacted: 'skip', or reset({ to }) behind the last of them."

const passedAtMost = 5_000

function isForApplications(change: Change): boolean {
  return change.kind === 'event' ? !isOwnStream(change.stream) : !isOwnCollection(change.collection)
}
