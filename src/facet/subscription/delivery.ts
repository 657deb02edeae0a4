/** How changes reach the handler of a subscription: in order, again when it fails, aside when it fails for good. */
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import { Draft } from '../draft.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import { Transaction } from '../transaction.ts'
import { type ChangePage, isOutage } from './consumer.ts'
import { type Entry, entriesOf, partitionOf, toEntry } from './entry.ts'
import { callHandler, HandlerFailed } from './handler.ts'
import type { HandlerContext, Plan } from './options.ts'
import {
  isAboutParked,
  type Parked,
  park,
  parkedId,
  readParked,
  type StoredParked,
  stillParked,
  unpark,
} from './parked.ts'
import { type Effect, Moved, type Session } from './session.ts'

/** Tries of a handler's transaction that was overtaken, before that counts as a failed attempt. */
const overtakenAtMost = 20

/** The deliveries of one partition. */
export class Delivery<E extends NewEvent = NewEvent> {
  readonly #port: Port
  readonly #plan: Plan<E>
  readonly #partition: number
  readonly #id: string
  #blocked = new Set<string>()

  constructor(port: Port, plan: Plan<E>, partition: number) {
    this.#port = port
    this.#plan = plan
    this.#partition = partition
    this.#id = consumerId(plan.name, partition)
  }

  /** What was parked is looked at when the consumer begins, and when a replay was asked for. */
  async begin(session: Session): Promise<void> {
    const parked = await readParked(this.#port, `${this.#id}/`)
    const stuck = new Set<string>()
    for (const each of parked) {
      if (session.signal.aborted) return
      if (!each.isDue) {
        if (each.blocksKey) stuck.add(each.key)
      } else if (stuck.has(each.key) || !(await this.#replay(each, session))) {
        if (each.blocksKey) stuck.add(each.key)
      }
    }
    this.#blocked = stuck
  }

  async take(page: ChangePage, session: Session): Promise<void> {
    const { filter, key, partitions, isBatched, parallel } = this.#plan
    const entries = entriesOf(this.#port, page.items, filter, key).filter(
      (entry) => partitionOf(entry.key, partitions) === this.#partition,
    )
    if (entries.length === 0) return
    const isPlain = this.#blocked.size === 0 && entries.every(({ error }) => error === undefined)
    if (isBatched && isPlain) await this.#deliver(entries, session)
    else if (parallel > 1) await this.#deliverByKey(entries, session)
    else await this.#oneByOne(entries, session)
  }

  async #oneByOne(entries: readonly Entry<E>[], session: Session): Promise<void> {
    for (const entry of entries) {
      if (session.signal.aborted) return
      await this.#deliver([entry], session)
    }
  }

  /** Each key in order, several keys at a time; the checkpoint moves when the whole page is done. */
  async #deliverByKey(entries: readonly Entry<E>[], session: Session): Promise<void> {
    const lanes = lanesOf(entries)
    const aside: Parked[] = []
    const work = async () => {
      for (let lane = lanes.shift(); lane !== undefined; lane = lanes.shift()) {
        for (const entry of lane) {
          if (session.signal.aborted) return
          const parked = await this.#handleOrPark(entry, session)
          if (parked !== undefined) aside.push(parked)
        }
      }
    }
    const workers = Array.from({ length: this.#plan.parallel }, () =>
      work().catch((error: unknown) => {
        lanes.length = 0
        throw error
      }),
    )
    for (const result of await Promise.allSettled(workers))
      if (result.status === 'rejected') throw result.reason
    if (session.signal.aborted) return
    const { position } = entries.at(-1) as Entry
    if (aside.length === 0) session.done(position, entries.length)
    else await session.save(position, { writes: aside.map((parked) => this.#park(parked)) })
  }

  /** Handles some entries as one; what fails is tried again, alone if there are several. */
  async #deliver(entries: readonly Entry<E>[], session: Session): Promise<void> {
    const [first] = entries as [Entry<E>]
    const { position } = entries.at(-1) as Entry
    if (entries.length === 1) {
      const commit = (effect: Effect) => this.#finish(position, 1, effect, session)
      const parked = await this.#handleOrPark(first, session, commit)
      if (parked !== undefined) await session.save(position, { writes: [this.#park(parked)] })
      return
    }
    try {
      await this.#attempt(entries, session, { attempt: 1, isReplay: false }, (effect) =>
        this.#finish(position, entries.length, effect, session),
      )
    } catch (error) {
      failureOf(error, session)
      await this.#oneByOne(entries, session)
    }
  }

  /** Exactly once, the checkpoint is saved with the effect; at least once, when it is time. */
  async #finish(position: Position, count: number, effect: Effect, session: Session): Promise<void> {
    if (this.#plan.isOnce) return session.save(position, effect)
    session.done(position, count)
    await session.saveWhenDue()
  }

  /** Tries until it is handled; undefined, or as what it is to be parked. */
  async #handleOrPark(
    entry: Entry<E>,
    session: Session,
    commit: (effect: Effect) => Promise<void> = async () => {},
  ): Promise<Parked | undefined> {
    if (this.#blocked.has(entry.key)) return toParked(entry, 'Stands behind another one of its key', 0, true)
    const { trouble } = session.stored
    const attempted = trouble?.position === entry.position ? trouble.attempt : 0
    for (let attempt = attempted + 1; ; attempt++) {
      const failure = await this.#try(entry, session, attempt, commit)
      if (failure === undefined) return undefined
      const isHopeless = entry.error !== undefined || attempt >= this.#plan.attempts
      if (this.#plan.mayPark && isHopeless) {
        if (this.#plan.blocksKeys) this.#blocked.add(entry.key)
        return toParked(entry, describe(failure.cause), attempt, this.#plan.blocksKeys)
      }
      await this.#backOff(entry, session, attempt, failure)
    }
  }

  /** Undefined if it succeeded; fails only with what is not the handler's fault. */
  async #try(
    entry: Entry<E>,
    session: Session,
    attempt: number,
    commit: (effect: Effect) => Promise<void>,
    isReplay = false,
  ): Promise<HandlerFailed | undefined> {
    if (entry.error !== undefined) return new HandlerFailed(entry.error)
    try {
      await this.#attempt([entry], session, { attempt, isReplay }, commit)
      return undefined
    } catch (error) {
      return failureOf(error, session)
    }
  }

  /** The wait is in the store, so that everybody can see why it waits, and a restart does not begin to count anew. */
  async #backOff(entry: Entry<E>, session: Session, attempt: number, failure: HandlerFailed): Promise<void> {
    const { clock } = this.#port
    const { firstMs, lastMs } = this.#plan
    const ms = Math.min(lastMs, firstMs * 2 ** Math.min(attempt - 1, 40)) * (0.5 + clock.random())
    const trouble = {
      position: entry.position,
      attempt,
      untilMs: clock.now() + ms,
      error: describe(failure.cause),
    }
    await session.save(session.position, { trouble })
    await sleep(clock, ms, session.signal)
    if (session.signal.aborted) throw new Moved()
    if ((await session.load()) || session.stored.isPaused) throw new Moved()
  }

  async #attempt(
    entries: readonly Entry<E>[],
    session: Session,
    { attempt, isReplay }: Pick<HandlerContext, 'attempt' | 'isReplay'>,
    commit: (effect: Effect) => Promise<void>,
  ): Promise<void> {
    const items = entries.flatMap(({ items }) => items)
    const { run, handlerMs, isOnce } = this.#plan
    for (let triesLeft = overtakenAtMost; ; triesLeft--) {
      const draft = new Draft(this.#port)
      await callHandler(this.#port.clock, handlerMs, session.signal, (signal) => {
        const context = { signal, attempt, partition: this.#partition, isReplay }
        if (!isOnce) return run(items, context)
        const tx = new Transaction(this.#port, { signal }, draft, new Map())
        return run(items, { ...context, tx } as HandlerContext)
      }).finally(() => draft.end())
      try {
        return await commit(isOnce ? draft.toEffect() : {})
      } catch (error) {
        if (!isUnderpinError(error, 'conflict') || triesLeft === 0) throw error
        if (isAboutParked(error)) throw new Moved()
        await sleep(this.#port.clock, 5 * this.#port.clock.random(), session.signal)
      }
    }
  }

  /** Whether a parked change could be handled now; then it is parked no more. */
  async #replay(parked: StoredParked, session: Session): Promise<boolean> {
    const entry = (await this.#find(parked)) ?? gone(parked)
    const attempt = parked.attempts + 1
    const done = { writes: [unpark(parked.id)], checks: [stillParked(parked)] }
    const commit = (effect: Effect) =>
      session.save(session.position, {
        ...effect,
        writes: [...(effect.writes ?? []), ...done.writes],
        checks: [...(effect.checks ?? []), ...done.checks],
      })
    const failure = await this.#try(entry, session, attempt, commit, true)
    if (failure === undefined) return true
    const again = { ...parked, attempts: attempt, error: describe(failure.cause), isDue: false }
    await session.save(session.position, { writes: [park(parked.id, again)], checks: done.checks })
    return false
  }

  /** The change as it is stored: an event never changes, of a document the latest state is replayed. */
  async #find({ change, position }: StoredParked): Promise<Entry<E> | undefined> {
    if (change.kind === 'event') {
      const range = { after: change.seq - 1, before: change.seq + 1, backwards: false, limit: 1 }
      const [event] = (await this.#port.read(change.stream, range)).items
      return event === undefined || event.position !== position
        ? undefined
        : toEntry(this.#port, event, {}, this.#plan.key)
    }
    const { collection, documentId } = change
    const { documents } = await this.#port.get([{ collection, id: documentId }])
    return documents[0] === undefined ? undefined : toEntry(this.#port, documents[0], {}, this.#plan.key)
  }

  #park(parked: Parked) {
    return park(parkedId(this.#id, parked.position), parked)
  }
}

/** Names the checkpoint of one partition. */
export function consumerId(name: string, partition: number): string {
  return `${name}/${partition}`
}

/** The entries of each key, in order. */
function lanesOf<T extends { readonly key: string }>(entries: readonly T[]): T[][] {
  const lanes = new Map<string, T[]>()
  for (const entry of entries) {
    const lane = lanes.get(entry.key)
    if (lane === undefined) lanes.set(entry.key, [entry])
    else lane.push(entry)
  }
  return [...lanes.values()]
}

/** An error that is the handler's fault; any other is thrown on: it says nothing about the change. */
function failureOf(error: unknown, session: Session): HandlerFailed {
  if (error instanceof Moved || session.signal.aborted) throw error
  const cause = error instanceof HandlerFailed ? error.cause : error
  if (isOutage(cause) || isUnderpinError(cause, 'closed') || isUnderpinError(cause, 'lost-lease')) throw cause
  return error instanceof HandlerFailed ? error : new HandlerFailed(error)
}

function toParked(entry: Entry, error: string, attempts: number, blocksKey: boolean): Parked {
  const { position, reference: change, key } = entry
  return { position, change, key, error, attempts, blocksKey, isDue: false }
}

function gone({ position, change, key }: StoredParked): Entry<never> {
  const error = new UnderpinError('invalid', 'The parked change is not in the store any more', {
    hint: 'Was its stream compacted?',
  })
  return { position, at: 0, reference: change, key, items: [], error }
}

/** An error as it is kept: its name, code and message, made to fit. */
function describe(error: unknown): string {
  const text = isUnderpinError(error) ? `${error.code}: ${error.message}` : String(error)
  const fit = text.toWellFormed().replaceAll('\0', '')
  return fit.length > 2_000 ? `${fit.slice(0, 1_999).toWellFormed()}…` : fit
}
