/**
 * When something dies: at a call by which whoever drives a move changes what stays. Such a call has a name, after the step
 * of the protocol that it is, or `page` (of the copy), or `record` (of what is noted of the move).
 */
import type { Backend } from '../../../src/backend/backend.ts'
import type { Fence } from '../../../src/model/fence.ts'
import { Forward } from '../../../src/wrapper/forward.ts'

/** The how-manieth call, from 1, and whether it was made by then. */
export interface Moment {
  readonly nth: number
  readonly when: 'before' | 'after'
}

/** What becomes of whoever drives the move: it ends there, or goes on when something else has died. */
export type Strike = () => Promise<'ends' | 'goes on'>

export class Fate {
  /** The names of the calls so far: what was driven, and the step. */
  readonly calls: string[] = []
  /** What is driven now. */
  verb = ''
  /** Settles when whoever drives has ended. */
  readonly ended: Promise<void>
  readonly #moment: Moment | undefined
  readonly #strike: Strike
  #end = () => {}
  #isOver = false

  /** Without a moment nothing dies: how the calls of a way are learned. */
  constructor(moment?: Moment, strike: Strike = async () => 'ends') {
    this.#moment = moment
    this.#strike = strike
    this.ended = new Promise((resolve) => (this.#end = resolve))
  }

  /** Whether the moment came. */
  get hasStruck(): boolean {
    return this.#moment !== undefined && this.calls.length >= this.#moment.nth
  }

  /** A backend as whoever drives the move has it. */
  over(backend: Backend): Backend {
    return new Fated(backend, this)
  }

  /** A call that changes what stays. */
  async change<T>(name: string, call: () => Promise<T>): Promise<T> {
    if (this.#isOver) return silence()
    const nth = this.calls.push(`${this.verb}: ${name}`)
    await this.#meet(nth, 'before')
    if (this.#isOver) return silence()
    const result = await this.look(call)
    await this.#meet(nth, 'after')
    return this.#isOver ? silence() : result
  }

  /** Any other call. */
  async look<T>(call: () => Promise<T>): Promise<T> {
    if (this.#isOver) return silence()
    try {
      return await call()
    } finally {
      // Who is dead hears nothing, also of what failed.
      if (this.#isOver) await silence()
    }
  }

  async #meet(nth: number, when: Moment['when']): Promise<void> {
    if (nth !== this.#moment?.nth || when !== this.#moment.when) return
    if ((await this.#strike()) === 'goes on') return
    this.#isOver = true
    this.#end()
  }
}

function silence(): Promise<never> {
  return new Promise(() => {})
}

class Fated extends Forward {
  readonly #fate: Fate

  constructor(inner: Backend, fate: Fate) {
    super(inner)
    this.#fate = fate
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#fate.look(() => this.inner.fence(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#fate.look(() => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#fate.look(() => this.inner.scan(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#fate.look(() => this.inner.read(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#fate.look(() => this.inner.changes(...call))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    return this.#fate.change('record', () => this.inner.commit(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#fate.change('page', () => this.inner.apply(...call))
  }

  override transition(...[domain, from, to, options]: Parameters<Backend['transition']>) {
    return this.#fate.change(stepOf(from, to), () => this.inner.transition(domain, from, to, options))
  }
}

/** The step of the protocol that a change of a fence is. */
export function stepOf(from: Fence, to: Fence): string {
  if (to.role === 'poisoned') return 'poison'
  if (to.role === 'prepared') return 'prepare'
  if (to.role === 'sealed') return 'seal'
  if (to.role === 'handed-off') return 'decide'
  if (to.role === 'follower') return from.role === 'handed-off' ? 'turn' : 'follow'
  if (from.role === 'follower') return 'open'
  if (from.role === 'sealed') return 'abort'
  if (from.role === 'handed-off') return 'reclaim'
  return to.successor === null ? 'cancel' : 'name'
}
