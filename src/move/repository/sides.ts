/** The two repositories and their fences: how either is called, and how a key is brought from one to the other. */
import { UnderpinError } from '../../error.ts'
import type { Side, State } from './control.ts'
import type { Permit } from './permit.ts'
import type { Session, StoreFence } from './store-fence.ts'

/** Fences in the stores themselves, where there are some. */
export interface StoreFences {
  readonly legacy?: StoreFence
  readonly next?: StoreFence
}

/**
 * Makes what `to` has under a key the same as what `from` has, whatever either has; a key that is gone is removed. Must
 * be harmless when done twice.
 */
export type Reconcile<R> = (key: string, from: R, to: R) => Promise<void>

export class Sides<R> {
  readonly legacy: R
  readonly next: R
  readonly fences: StoreFences
  readonly #reconcile: Reconcile<R>

  constructor(legacy: R, next: R, fences: StoreFences, reconcile: Reconcile<R>) {
    this.legacy = legacy
    this.next = next
    this.fences = fences
    this.#reconcile = reconcile
  }

  /** Calls one side; what it writes names the epoch. */
  call<T>(side: Side, state: State, work: (repository: R) => Promise<T>): Promise<T> {
    const fence = this.fences[side]
    const run = () => work(this[side])
    return fence === undefined ? run() : fence.run(sessionOf(state), run)
  }

  readonly copy = async (key: string, permit: Pick<Permit, 'state' | 'isLive'>): Promise<void> => {
    const { state } = permit
    const [from, to] = [state.lead, otherOf(state.lead)]
    const [reading, writing] = [guarded(this[from], permit), guarded(this[to], permit)]
    await this.call(from, state, () => this.call(to, state, () => this.#reconcile(key, reading, writing)))
  }

  async seal(epoch: number): Promise<void> {
    await this.fences.legacy?.seal(epoch)
    await this.fences.next?.seal(epoch)
  }

  async open(epoch: number): Promise<void> {
    await this.fences.legacy?.open(epoch)
    await this.fences.next?.open(epoch)
  }
}

/** Looks at the permit before each call: what was read under one that is over by now must not be written. */
function guarded<R>(repository: R, permit: Pick<Permit, 'isLive'>): R {
  return new Proxy(repository as object, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name, target)
      if (typeof found !== 'function') return found
      return (...args: unknown[]) => {
        if (permit.isLive) return found.apply(target, args)
        throw new UnderpinError('lost-lease', 'The permit ran out while a key was brought over')
      }
    },
  }) as R
}

export function otherOf(side: Side): Side {
  return side === 'legacy' ? 'next' : 'legacy'
}

function sessionOf({ epoch, phase }: State): Session {
  return { epoch, isMover: phase === 'sealed' }
}
