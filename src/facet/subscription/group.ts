/**
 * Several processes that share the partitions of a subscription. Each member has a lease of its own, by which the others
 * know that it lives, and one for each partition it consumes. Every member computes its fair share from the members it
 * sees: who has fewer takes what is free, who has more gives back. Nobody leads.
 */
import { setMaxListeners } from 'node:events'
import { sleep } from '../../clock.ts'
import { isUnderpinError } from '../../error.ts'
import { Lease } from '../lease.ts'
import type { Port } from '../port.ts'
import { type ConsumerOptions, consume, isOutage, leaseOf, lookEveryMs } from './consumer.ts'
import { grantsUnder } from './grants.ts'

export interface GroupOptions extends Omit<ConsumerOptions, 'id' | 'begin' | 'needs' | 'take' | 'tell'> {
  readonly name: string
  readonly partitions: number
  /** What is done for one partition. */
  consumer(partition: number): Pick<ConsumerOptions, 'id' | 'begin' | 'needs' | 'take' | 'tell'>
}

interface Held {
  readonly stop: AbortController
  readonly done: Promise<void>
}

export class Group {
  readonly #port: Port
  readonly #options: GroupOptions
  readonly #held = new Map<number, Held>()
  readonly #failed = new AbortController()
  readonly #over: AbortSignal
  #member: Lease | undefined

  constructor(port: Port, options: GroupOptions) {
    this.#port = port
    this.#options = options
    this.#over = AbortSignal.any([options.pulse.over, this.#failed.signal])
    // Each partition listens to it: many are no leak.
    setMaxListeners(0, this.#over)
  }

  /** Consumes its share until stopped; fails with what a consumer fails with. */
  async run(): Promise<void> {
    try {
      while (!this.#over.aborted) {
        const isContent = await this.#turn().catch((error: unknown) => this.#passOutage(error))
        const { ttlMs } = this.#options
        const waitMs = isContent ? Math.min(1_000, ttlMs / 3) : lookEveryMs(ttlMs)
        await sleep(this.#port.clock, waitMs * (0.75 + 0.5 * this.#port.clock.random()), this.#over)
      }
    } finally {
      await Promise.all([...this.#held.keys()].map((partition) => this.#giveBack(partition)))
      // It ends by itself when its time is over: the others only wait longer.
      await this.#member?.release().catch(() => false)
    }
    if (this.#failed.signal.aborted) throw this.#failed.signal.reason
  }

  /** Takes or gives back partitions; whether it has its share. */
  async #turn(): Promise<boolean> {
    const { name, leases, partitions, ttlMs } = this.#options
    if (this.#member === undefined || this.#member.signal.aborted) {
      const found = await leases.attempt(memberOf(name, leases.holder), { ttlMs, signal: this.#over })
      if (!(found instanceof Lease)) return false
      this.#member = found
    }
    const members = await this.#livingMembers()
    const rank = members.indexOf(memberOf(name, leases.holder))
    const share = Math.floor(partitions / members.length) + (rank < partitions % members.length ? 1 : 0)
    const surplus = [...this.#held.keys()].slice(share)
    await Promise.all(surplus.map((partition) => this.#giveBack(partition)))
    for (let i = 0; i < partitions && this.#held.size < share; i++) {
      const partition = (i + Math.floor((rank * partitions) / members.length)) % partitions
      if (!this.#held.has(partition)) await this.#take(partition)
    }
    return this.#held.size === share
  }

  /** In order of their ids, itself among them. Those without a sign of life for their time are no members any more. */
  async #livingMembers(): Promise<readonly string[]> {
    const { name, leases, ttlMs } = this.#options
    const own = memberOf(name, leases.holder)
    const living: string[] = []
    for (const id of await grantsUnder(this.#port, memberOf(name, ''))) {
      if (id !== own) {
        const found = await leases.attempt(id, { ttlMs, signal: this.#over })
        if (found instanceof Lease) {
          await found.release()
          continue
        }
      }
      living.push(id)
    }
    return living.includes(own) ? living : [...living, own].sort()
  }

  async #take(partition: number): Promise<void> {
    const { leases, ttlMs } = this.#options
    const consumer = this.#options.consumer(partition)
    const lease = await leases.attempt(leaseOf(consumer.id), { ttlMs, signal: this.#over })
    if (!(lease instanceof Lease)) {
      consumer.tell?.({ kind: 'waiting', holder: lease.holder })
      return
    }
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#over, stop.signal])
    const done = consume(this.#port, lease, { ...this.#options, ...consumer }, signal)
      .catch((error: unknown) => this.#failed.abort(error))
      .finally(() => this.#held.delete(partition))
    this.#held.set(partition, { stop, done })
  }

  async #giveBack(partition: number): Promise<void> {
    const held = this.#held.get(partition)
    held?.stop.abort()
    await held?.done
  }

  /** While the store is out of reach, nothing changes: consumers that can go on do. */
  #passOutage(error: unknown): boolean {
    if (this.#over.aborted || isOutage(error) || isUnderpinError(error, 'closed')) return false
    throw error
  }
}

function memberOf(name: string, holder: string): string {
  return `member:${name}/${holder}`
}
