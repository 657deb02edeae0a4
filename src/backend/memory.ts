/** The memory backend: the reference. What it does is what the laws say; every other backend is compared with it. */
import { UnderpinError } from '../error.ts'
import type { Change, RecordKey } from '../model/change.ts'
import { type Fence, sameFence, vacantFence } from '../model/fence.ts'
import type { FeedPart } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { EmbeddedBackend } from './async.ts'
import type { Supports, SyncBackend } from './backend.ts'
import { DomainState } from './domain-state.ts'
import { checkAuthority, checkFollower, inParts, planCommits } from './plan.ts'
import { inFeedParts, planApply } from './plan-apply.ts'
import { planRepair } from './plan-repair.ts'

/** Keeps domains in the memory of this process: for tests, caches, and state that may be lost. */
export function memory(): MemoryBackend {
  return new MemoryBackend()
}

export class MemoryBackend extends EmbeddedBackend {
  readonly name: string = 'memory'
  readonly supports: Supports = {
    durability: 'none',
    sync: true,
    shared: false,
    tables: false,
    watch: 'push',
    limits: {},
  }
  readonly sync: MemoryVerbs = new MemoryVerbs((domain) => this.heads.moved(domain))
}

class MemoryVerbs implements SyncBackend {
  readonly #domains = new Map<string, DomainState>()
  readonly #moved: (domain: string) => void
  #isClosed = false

  constructor(moved: (domain: string) => void) {
    this.#moved = moved
  }

  open(): void {
    this.#isClosed = false
  }

  close(): void {
    this.#isClosed = true
  }

  domains(): readonly string[] {
    this.#refuseClosed()
    return [...this.#domains.keys()].sort()
  }

  fence(domain: string): Fence {
    this.#refuseClosed()
    return this.#domains.get(domain)?.fence ?? vacantFence
  }

  commit(...[domain, epoch, commits]: Parameters<SyncBackend['commit']>): ReturnType<SyncBackend['commit']> {
    const state = this.#state(domain)
    checkAuthority(domain, state.rights, epoch)
    return inParts(commits, (part) => {
      const plan = planCommits(state, state, part)
      state.install(plan)
      this.#moved(domain)
      return plan.outcomes
    })
  }

  read(...[domain, stream, range]: Parameters<SyncBackend['read']>): ReturnType<SyncBackend['read']> {
    return this.#state(domain).read(stream, range)
  }

  get(...[domain, keys]: Parameters<SyncBackend['get']>): ReturnType<SyncBackend['get']> {
    return this.#state(domain).get(keys)
  }

  scan(...[domain, query]: Parameters<SyncBackend['scan']>): ReturnType<SyncBackend['scan']> {
    return this.#state(domain).scan(query)
  }

  changes(domain: string, after: Position, limit: number): FeedPart {
    return this.#state(domain).changes(after, limit)
  }

  apply(domain: string, epoch: number, page: FeedPart): void {
    const state = this.#state(domain)
    checkFollower(domain, state.rights, epoch)
    if (page.repair !== undefined) state.repair(planRepair(state, state.head, page))
    else for (const part of inFeedParts(page)) state.install(planApply(state, state, part))
    this.#moved(domain)
  }

  transition(domain: string, from: Fence, to: Fence): boolean {
    const found = this.fence(domain)
    if (!sameFence(found, from)) return false
    const isNewCopy = to.role === 'prepared' || found.role === 'vacant'
    const state = isNewCopy ? new DomainState() : this.#state(domain)
    state.rights = to
    this.#domains.set(domain, state)
    this.#moved(domain)
    return true
  }

  /** Replaces a stored record as it is, checksum and all: how a test plants damage. */
  plant(domain: string, change: Change): void {
    this.#state(domain).plant(change)
  }

  /** Removes a stored record without a trace: how a test plants its loss. */
  uproot(domain: string, key: RecordKey): void {
    this.#state(domain).uproot(key)
  }

  #state(domain: string): DomainState {
    this.#refuseClosed()
    return this.#domains.get(domain) ?? new DomainState()
  }

  #refuseClosed(): void {
    if (this.#isClosed) throw new UnderpinError('closed', 'The memory backend was closed')
  }
}
