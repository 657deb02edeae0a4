/** Bugs as they are made in engines that move data, each planted around two backends in memory. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Backend, Found } from '../../../src/backend/backend.ts'
import type { MemoryBackend } from '../../../src/backend/memory.ts'
import { isUnderpinError } from '../../../src/error.ts'
import type { Change } from '../../../src/model/change.ts'
import type { Fence } from '../../../src/model/fence.ts'
import { Forward } from '../../../src/wrapper/forward.ts'

export type Pair = Readonly<Record<'a' | 'b', Backend>>

export interface Sabotage {
  readonly name: string
  /** The backends as the application has them. */
  readonly application?: (sides: Sides) => Pair
  /** The backends as the mover and the coordinator have them. */
  readonly operator?: (sides: Sides) => Pair
  /** What the judge must find: a count of its verdict, `differences` or `doubleAuthorities`. */
  readonly finds: string
}

export interface Sides {
  readonly a: MemoryBackend
  readonly b: MemoryBackend
}

/** Takes commits of any epoch, also when authority has been handed off: those that come at the seal are held up until then. */
class Unchecked extends Forward {
  readonly #bare: MemoryBackend

  constructor(inner: MemoryBackend) {
    super(inner)
    this.#bare = inner
  }

  override async commit(...[domain, epoch, commits]: Parameters<Backend['commit']>) {
    try {
      return await this.inner.commit(domain, epoch, commits)
    } catch (error) {
      if (!isUnderpinError(error, 'fenced')) throw error
      const { sync } = this.#bare
      // As a network holds up what was sent before the seal.
      while (sync.fence(domain).role === 'sealed') await pause(1)
      const fence = sync.fence(domain)
      if (fence.role !== 'handed-off' && fence.role !== 'follower') throw error
      sync.transition(domain, fence, { ...fence, role: 'authority', epoch })
      try {
        return sync.commit(domain, epoch, commits)
      } finally {
        const { head, digest } = sync.fence(domain)
        sync.transition(domain, sync.fence(domain), { ...fence, head, digest })
      }
    }
  }
}

/** Says of a follower that it holds what a sealed source holds, digest and all; the head too, if it is asked to. */
class Lying extends Forward {
  readonly #source: Backend
  readonly #alsoOfHead: boolean

  constructor(inner: Backend, source: Backend, alsoOfHead: boolean) {
    super(inner)
    this.#source = source
    this.#alsoOfHead = alsoOfHead
  }

  override async fence(domain: string): Promise<Fence> {
    const fence = await this.inner.fence(domain)
    const source = await this.#source.fence(domain)
    // Else there would be nothing left to drain.
    if (this.#alsoOfHead && source.role === 'authority') await pause(20)
    if (fence.role !== 'follower' || (source.role !== 'sealed' && source.role !== 'handed-off')) return fence
    const { digest, head } = source
    return { ...fence, digest, ...(this.#alsoOfHead && { head }) }
  }

  override async transition(domain: string, from: Fence, to: Fence): Promise<boolean> {
    const { head, digest } = await this.inner.fence(domain)
    return this.inner.transition(domain, { ...from, head, digest }, { ...to, head, digest })
  }
}

/** Hands out a feed without some of the changes, as if they had never been. */
class Leaving extends Forward {
  readonly #leavesOut: (change: Change) => boolean

  constructor(inner: Backend, leavesOut: (change: Change) => boolean) {
    super(inner)
    this.#leavesOut = leavesOut
  }

  override async changes(...call: Parameters<Backend['changes']>) {
    const page = await this.inner.changes(...call)
    return { ...page, items: page.items.filter((item) => !this.#leavesOut(item)) }
  }
}

const leavingOut =
  (leavesOut: (change: Change) => boolean) =>
  ({ a, b }: Sides): Pair => ({ a: new Leaving(a, leavesOut), b: new Lying(b, a, false) })

const isOf = (collection: string) => (change: Change) =>
  change.kind !== 'event' && change.collection === collection

/** Opens the target, and takes the source back: nobody had poisoned the copy. */
class Reclaiming extends Forward {
  readonly #other: MemoryBackend
  readonly #bare: MemoryBackend

  constructor(inner: MemoryBackend, other: MemoryBackend) {
    super(inner)
    this.#bare = inner
    this.#other = other
  }

  override async transition(domain: string, from: Fence, to: Fence): Promise<boolean> {
    const isDone = await this.inner.transition(domain, from, to)
    if (!isDone || to.role !== 'handed-off') return isDone
    const copy = this.#other.sync.fence(domain)
    this.#other.sync.transition(domain, copy, { ...copy, role: 'authority', epoch: to.epoch })
    this.#bare.sync.transition(domain, to, { ...to, role: 'authority', epoch: to.epoch + 1, successor: null })
    return true
  }
}

/** Answers from what was read once, also when others have written since: on the target, what was read on the source. */
class Remembering extends Forward {
  readonly #cache: Map<string, Found['documents'][number]>
  readonly #isFilled: boolean

  constructor(inner: Backend, cache: Map<string, Found['documents'][number]>, isFilled: boolean) {
    super(inner)
    this.#cache = cache
    this.#isFilled = isFilled
  }

  override async get(...call: Parameters<Backend['get']>): Promise<Found> {
    const found = await this.inner.get(...call)
    const names = call[1].map(({ collection, id }) => `${collection}/${id}`)
    if (this.#isFilled) for (const [i, name] of names.entries()) this.#cache.set(name, found.documents[i])
    const isOld = (name: string) =>
      !this.#isFilled && name.startsWith('things/document') && this.#cache.has(name)
    return {
      ...found,
      documents: names.map((name, i) => (isOld(name) ? this.#cache.get(name) : found.documents[i])),
    }
  }
}

/** Sends events once more that it has sent already. */
class Repeating extends Forward {
  override async commit(...[domain, epoch, commits]: Parameters<Backend['commit']>) {
    const outcomes = await this.inner.commit(domain, epoch, commits)
    const again = commits.filter(({ checks, writes }) => checks.length === 0 && writes[0]?.kind === 'append')
    if (again.length > 0) await this.inner.commit(domain, epoch, again)
    return outcomes
  }
}

export const sabotages: readonly Sabotage[] = [
  {
    name: 'a source that does not check the epoch of a commit',
    application: ({ a, b }) => ({ a: new Unchecked(a), b }),
    finds: 'lost',
  },
  {
    name: 'a mirror that leaves documents out, and a digest that nobody sums up',
    operator: leavingOut(isOf('things')),
    finds: 'differences',
  },
  {
    name: 'the same, as callers see it',
    operator: leavingOut(isOf('things')),
    finds: 'notLinearizable',
  },
  {
    name: 'a decision before the copy is drained',
    operator: ({ a, b }) => ({ a, b: new Lying(b, a, true) }),
    finds: 'lost',
  },
  {
    name: 'a source that is taken back from a copy that was not poisoned',
    operator: ({ a, b }) => ({ a: new Reclaiming(a, b), b }),
    finds: 'doubleAuthorities',
  },
  {
    name: 'a checkpoint that does not move along',
    operator: leavingOut(isOf('$subscriptions')),
    finds: 'unhandled',
  },
  {
    name: 'a cache of documents that outlives the cutover',
    application: ({ a, b }) => {
      const cache = new Map()
      return { a: new Remembering(a, cache, true), b: new Remembering(b, cache, false) }
    },
    finds: 'notLinearizable',
  },
  {
    name: 'commits that are sent again behind the cutover',
    application: ({ a, b }) => ({ a, b: new Repeating(b) }),
    finds: 'doubled',
  },
]
