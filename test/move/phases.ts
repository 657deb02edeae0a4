/**
 * A backend whose domains are in some phase of a move: where one is created, it goes through the dance first, and stays in
 * its phase while the laws are put to it. To them it looks as if it had been created at epoch 1.
 */
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { systemClock } from '../../src/clock.ts'
import { isUnderpinError } from '../../src/index.ts'
import type { Fence } from '../../src/model/fence.ts'
import type { Served } from '../../src/model/page.ts'
import { cutover, giveUp, start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { lookFromLead, type Sides, turned } from '../../src/move/sides.ts'
import { Forward } from '../../src/wrapper/forward.ts'

/**
 * - `mirrored`: a source whose domain is being copied while it is written to;
 * - `target`: the domain came from the other backend by a cutover, and is copied back;
 * - `rolled back`: it went to the other backend and came back;
 * - `completed`: it came from the other backend, and the move is over.
 */
export const phases = ['mirrored', 'target', 'rolled back', 'completed'] as const
export type TestPhase = (typeof phases)[number]

/** What the backends opened on one place know in common: as another process, too, the domains are where they are. */
export class Dance {
  readonly #phase: TestPhase
  readonly #other = memory()
  /** By how much the epochs of danced domains are above those that are shown. */
  readonly #raised = new Map<string, number>()
  /** One page at a time: of two movers, one is refused. */
  readonly #mirrored = new Map<string, Promise<void>>()
  copied = 0

  constructor(phase: TestPhase) {
    this.#phase = phase
  }

  raised(domain: string): number {
    return this.#raised.get(domain) ?? 0
  }

  isDanced(domain: string): boolean {
    return this.#raised.has(domain)
  }

  /** The two ways that the copy can go, now. */
  #sides(domain: string, tested: Backend): Sides {
    return { domain, source: tested, target: this.#other, clock: systemClock }
  }

  /** Creates a domain and takes it through the moves of the phase; false if it is there already. */
  async create(domain: string, tested: Backend, from: Fence, to: Fence): Promise<boolean> {
    const there = this.#sides(domain, tested)
    const here = turned(there)
    const isFromOther = this.#phase === 'target' || this.#phase === 'completed'
    // What exists on the place under test refuses the second creation, wherever the first one is now.
    if ((await tested.fence(domain)).role !== 'vacant' || this.isDanced(domain)) return false
    if (!(await (isFromOther ? this.#other : tested).transition(domain, from, to))) return false
    const first = isFromOther ? here : there
    await start(first)
    if (this.#phase !== 'mirrored') await cutover(first)
    if (this.#phase === 'rolled back') await cutover(turned(first))
    if (this.#phase === 'completed') await giveUp(turned(first))
    const { stage } = await lookFromLead(there)
    const expected = this.#phase === 'completed' ? 'alone' : 'mirroring'
    if (stage !== expected) throw new Error(`${domain} is ${stage}, not ${expected}`)
    this.#raised.set(domain, (await tested.fence(domain)).epoch - to.epoch)
    return true
  }

  /** Copies what was committed, as a mover would that is never far behind. */
  mirror(domain: string, tested: Backend): Promise<void> {
    if (!this.isDanced(domain) || this.#phase === 'completed') return Promise.resolve()
    const mirrored = (this.#mirrored.get(domain) ?? Promise.resolve()).then(() =>
      this.#mirror(domain, tested),
    )
    this.#mirrored.set(domain, mirrored)
    return mirrored
  }

  async #mirror(domain: string, tested: Backend): Promise<void> {
    try {
      const { gap, records } = await mirrorPage(this.#sides(domain, tested))
      if (gap !== undefined) throw new Error(`the copy does not take ${gap.position}: ${gap.message}`)
      this.copied += records
    } catch (error) {
      // The law sealed the domain, or closed the backend: that ends the copying.
      if (!isUnderpinError(error, 'fenced') && !isUnderpinError(error, 'closed')) throw error
    }
  }

  /** What is different between the copy and what it is a copy of; empty if they are equal. */
  async difference(domain: string, tested: Backend): Promise<string> {
    if (!this.isDanced(domain) || this.#phase === 'completed') return ''
    const sides = this.#sides(domain, tested)
    const { role, head } = await tested.fence(domain)
    // A law that sealed the domain ended its copying.
    if (role !== 'authority') return ''
    for (let last = -1; last < head; ) {
      const { position } = await mirrorPage(sides)
      if (position === last) break
      last = position
    }
    const [a, b] = [await tested.fence(domain), await this.#other.fence(domain)]
    return a.head === b.head && a.digest === b.digest
      ? ''
      : `${a.head} ${a.digest} is not ${b.head} ${b.digest}`
  }
}

/** Calls of a danced domain, with the epochs that they show. */
export class Danced extends Forward {
  readonly #dance: Dance

  constructor(inner: Backend, dance: Dance) {
    super(inner)
    this.#dance = dance
  }

  /** What is danced around. */
  get tested(): Backend {
    return this.inner
  }

  override get sync() {
    return undefined
  }

  override get supports() {
    return { ...this.inner.supports, sync: false }
  }

  override async fence(...[domain, options]: Parameters<Backend['fence']>) {
    return this.#shown(domain, await this.inner.fence(domain, options))
  }

  override async commit(...[domain, epoch, commits, options]: Parameters<Backend['commit']>) {
    const named = epoch + this.#dance.raised(domain)
    const outcomes = await this.inner.commit(domain, named, commits, options)
    await this.#dance.mirror(domain, this.inner)
    return outcomes
  }

  override async read(...call: Parameters<Backend['read']>) {
    return this.#shown(call[0], await this.inner.read(...call))
  }

  override async get(...call: Parameters<Backend['get']>) {
    return this.#shown(call[0], await this.inner.get(...call))
  }

  override async scan(...call: Parameters<Backend['scan']>) {
    return this.#shown(call[0], await this.inner.scan(...call))
  }

  override async changes(...call: Parameters<Backend['changes']>) {
    return this.#shown(call[0], await this.inner.changes(...call))
  }

  override apply(...[domain, epoch, page, options]: Parameters<Backend['apply']>) {
    return this.inner.apply(domain, epoch + this.#dance.raised(domain), page, options)
  }

  override transition(...[domain, from, to, options]: Parameters<Backend['transition']>) {
    if (from.role === 'vacant' && to.role === 'authority')
      return this.#dance.create(domain, this.inner, from, to)
    const raised = this.#dance.raised(domain)
    const meant = (fence: Fence) => ({ ...fence, epoch: fence.epoch + raised })
    return this.inner.transition(domain, meant(from), meant(to), options)
  }

  #shown<S extends Pick<Served, 'epoch'>>(domain: string, served: S): S {
    return { ...served, epoch: served.epoch - this.#dance.raised(domain) }
  }
}
