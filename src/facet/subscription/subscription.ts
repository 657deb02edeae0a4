/** The subscription facet: a named, durable consumer of a domain's changes, shared by any number of processes. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { checkAfter, refuseBeyond } from '../feed.ts'
import { Leases, leaseCollections } from '../lease.ts'
import { holderName } from '../lock/holder.ts'
import type { Port } from '../port.ts'
import type { NewEvent } from '../shape.ts'
import type { Collections } from '../transaction.ts'
import {
  type Checkpoint,
  checkpointCollections,
  checkpointWrites,
  makeCheckpoints,
  readCheckpoints,
  type StoredCheckpoint,
} from './checkpoint.ts'
import { type ConsumerOptions, consumeAlone, lasting } from './consumer.ts'
import { consumerId, Delivery } from './delivery.ts'
import { needsStream } from './entry.ts'
import { Group } from './group.ts'
import { type Plan, type SubscriptionOptions, toPlan } from './options.ts'
import { park, parkedCollections, readParked, type StoredParked, stillParked, unpark } from './parked.ts'
import { Pulse } from './pulse.ts'
import { partitionStatuses, type SubscriptionStatus, summaryOf } from './status.ts'
import { positionAt } from './time.ts'

/** Where a subscription is set back or forward to. */
export type ResetTo = 'start' | 'now' | Position | { readonly time: number }

/** A change that was put aside. */
export type ParkedChange = Pick<
  StoredParked,
  'id' | 'position' | 'change' | 'key' | 'error' | 'attempts' | 'at' | 'blocksKey' | 'isDue'
>

const collections = { ...leaseCollections, ...checkpointCollections, ...parkedCollections }

/** Made by `domain.subscription`. Any number of processes may hold the same one; those that run it share the work. */
export class Subscription<E extends NewEvent = NewEvent, C extends Collections = Collections> {
  readonly name: string
  readonly #port: Port
  readonly #plan: Plan<E>

  constructor(port: Port, options: SubscriptionOptions<E, C>) {
    this.#port = port
    this.#plan = toPlan(options, port.limits)
    this.name = options.name
  }

  /**
   * Takes part in the work until the signal aborts or the store is closed; then it finishes the change it is at, saves
   * its checkpoint, gives its leases back and resolves. While others do all the work, it stands by. A store that is out
   * of reach is waited for. Rejects only with what waiting cannot mend: events `truncated` before they were handled (unless
   * it says `compacted: 'skip'`), `damaged` records, a checkpoint `invalid` in this store (beyond its head), a number of partitions that is another one than stored (`mismatch`), a clash of collections.
   *
   * Abort the signal and await this before you close the store: else others take over only after `ttlMs`.
   */
  async run(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (options instanceof AbortSignal)
      throw new TypeError('A subscription is given its signal by name: run({ signal })')
    const { signal = new AbortController().signal } = options
    const pulse = new Pulse(this.#port, signal)
    const { name, partitions, ttlMs, limit, saveEveryMs } = this.#plan
    const leases = new Leases(this.#port, holderName(this.#port.clock))
    const common = { leases, pulse, ttlMs, limit, saveEveryMs }
    const consumer = (partition: number) => this.#consumer(partition)
    try {
      await lasting(this.#port, pulse.over, () => this.#prepare())
      if (partitions === 1) await consumeAlone(this.#port, { ...common, ...consumer(0) })
      else await new Group(this.#port, { ...common, name, partitions, consumer }).run()
    } finally {
      pulse.end()
    }
  }

  /** How far it is, who is at work, and why it waits if it does. */
  async status(options?: CallOptions): Promise<SubscriptionStatus> {
    await this.#port.ensure(collections)
    const statuses = await partitionStatuses(this.#port, this.#plan, options)
    const isReachable = statuses.every(({ why }) => why.code !== 'unavailable')
    const parked = isReachable ? await readParked(this.#port, `${this.name}/`) : []
    return summaryOf(this.name, statuses, parked.length)
  }

  /**
   * Goes on behind another position, in all partitions at once: at the start, at the head, at a position (the changes
   * behind it come next), or at the first change committed at or after a time (milliseconds since 1970). Whoever is at
   * work drops what it is at. What was parked behind that position is parked no more: it comes again.
   */
  async reset({ to }: { readonly to: ResetTo }): Promise<void> {
    await this.#prepare()
    const position = await this.#positionOf(to)
    await this.#change(
      (checkpoint) => ({ ...checkpoint, position, resets: checkpoint.resets + 1, trouble: null }),
      (parked) => (parked.position > position ? unpark(parked.id) : undefined),
    )
  }

  /** Nothing more is handled, by any process, until {@link resume}; what is under way is finished. */
  async pause(): Promise<void> {
    await this.#prepare()
    await this.#change((checkpoint) => ({ ...checkpoint, isPaused: true }))
  }

  async resume(): Promise<void> {
    await this.#prepare()
    await this.#change((checkpoint) => ({ ...checkpoint, isPaused: false }))
  }

  /** What was put aside because it could not be handled, by partition and position. */
  async parked(): Promise<readonly ParkedChange[]> {
    await this.#port.ensure(collections)
    return (await readParked(this.#port, `${this.name}/`)).map(({ revision: _, ...parked }) => parked)
  }

  /**
   * Asks that a parked change be handled again, or all of them: by whoever runs the subscription, now or later. One that
   * blocks its key is replayed together with those behind it, in order. What fails again stays parked, with the new
   * reason. `invalid` if nothing is parked under the id.
   */
  async replay(id?: string): Promise<void> {
    await this.#prepare()
    const all = await readParked(this.#port, `${this.name}/`)
    const asked = all.find((parked) => parked.id === id)
    if (id !== undefined && asked === undefined)
      throw new UnderpinError('invalid', `Nothing is parked under ${quote(id)} in ${this.name}`, {
        hint: 'Was it replayed meanwhile? parked() lists what there is.',
      })
    const isMeant = (parked: StoredParked) =>
      id === undefined ||
      parked.id === id ||
      (asked?.blocksKey && parked.blocksKey && parked.key === asked.key)
    await this.#change(
      (checkpoint) => ({ ...checkpoint, replays: checkpoint.replays + 1 }),
      (parked) =>
        isMeant(parked) && !parked.isDue ? park(parked.id, { ...parked, isDue: true }) : undefined,
    )
  }

  #consumer(partition: number): Pick<ConsumerOptions, 'id' | 'begin' | 'needs' | 'take'> {
    const delivery = new Delivery(this.#port, this.#plan, partition)
    return {
      id: consumerId(this.name, partition),
      begin: (session) => delivery.begin(session),
      needs: (stream) => needsStream(stream, this.#plan, partition),
      take: (page, session) => delivery.take(page, session),
    }
  }

  get #ids(): readonly string[] {
    return Array.from({ length: this.#plan.partitions }, (_, i) => consumerId(this.name, i))
  }

  /** Makes the checkpoints when it is used for the first time. */
  async #prepare(): Promise<void> {
    await this.#port.ensure(collections)
    const [first] = await readCheckpoints(this.#port, [consumerId(this.name, 0)])
    if (first === undefined) {
      const { from } = this.#plan
      await makeCheckpoints(this.#port, this.#ids, await this.#positionOf(from))
      return this.#prepare()
    }
    if (first.partitions === this.#plan.partitions) return
    throw new UnderpinError(
      'mismatch',
      `The subscription ${this.name} has ${first.partitions} partition(s), not ${this.#plan.partitions}`,
      {
        hint: 'The number cannot be changed. Begin a subscription under another name, from where this one is.',
      },
    )
  }

  async #positionOf(to: ResetTo): Promise<Position> {
    if (to === 'start') return 0
    if (to === 'now') return this.#port.head()
    if (typeof to === 'object') return positionAt(this.#port, to.time)
    checkAfter(to)
    refuseBeyond(to, await this.#port.head())
    return to
  }

  /** Changes all checkpoints, and what is parked, in one commit; again if they moved meanwhile. */
  async #change(
    next: (checkpoint: Checkpoint) => Checkpoint,
    writeOf: (parked: StoredParked) => ReturnType<typeof unpark> | undefined = () => undefined,
  ): Promise<void> {
    for (;;) {
      const ids = this.#ids
      const found = (await readCheckpoints(this.#port, ids)) as readonly StoredCheckpoint[]
      const parked = (await readParked(this.#port, `${this.name}/`)).filter(
        (each) => writeOf(each) !== undefined,
      )
      const made = found.map((each, i) => checkpointWrites(ids[i] as string, each.revision, next(each)))
      const outcome = await this.#port.commit({
        at: this.#port.clock.now(),
        writes: [...parked.flatMap((each) => writeOf(each) ?? []), ...made.map(({ write }) => write)],
        checks: [...parked.map(stillParked), ...made.map(({ check }) => check)],
      })
      if (outcome.kind === 'refused') throw outcome.error
      if (outcome.kind === 'committed') return
    }
  }
}
