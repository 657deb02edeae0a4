/** Two places that a domain moves between, opened as often as there are processes in a test. */
import { afterEach, type TestContext } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import {
  type Backend,
  type Domains,
  openStore,
  type Store,
  type StoreOptions,
  systemClock,
} from '../../src/index.ts'
import { cutover, giveUp, start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import {
  type Decision,
  decide,
  isStep,
  name,
  open,
  prepare,
  seal,
  type View,
} from '../../src/move/protocol.ts'
import { look, type Sides, take } from '../../src/move/sides.ts'
import type { PlacePair } from '../places.ts'

const stores: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

export interface BothSides {
  readonly targets: Readonly<Record<'a' | 'b', string | Backend>>
  /** Opens both once more, as another process. */
  open<const D extends Domains>(domains: D, options?: Omit<StoreOptions<D>, 'domains'>): Promise<Store<D>>
}

/** Skips the test where a place cannot be had, and says why. */
export function bothSides({ skip }: Pick<TestContext, 'skip'>, { a, b, missing }: PlacePair): BothSides {
  skip(missing !== '', missing)
  const targets = { a: a.make().url ?? memory(), b: b.make().url ?? memory() }
  return {
    targets,
    async open(domains, options) {
      const store = await openStore(targets, { domains, ...options })
      stores.push(store)
      return store
    },
  }
}

export function sidesOf(store: Store<Domains>, domain = 'app', [from, to] = ['a', 'b']): Sides {
  const side = (name: string | undefined) => store.backends.get(name ?? '') as Backend
  return { domain, source: side(from), target: side(to), clock: systemClock }
}

/** Copies until nothing is left. */
export async function catchUp(sides: Sides, limit?: number): Promise<void> {
  for (;;) {
    const { position, head, gap } = await mirrorPage(sides, limit)
    if (gap !== undefined) throw new Error(`${gap.code}: ${gap.message}`)
    if (position === head) return
  }
}

/** Moves a domain that nobody moved before, and leaves the reverse mirror open. */
export async function moveOver(sides: Sides): Promise<void> {
  await start(sides)
  await catchUp(sides)
  await cutover(sides)
}

/** Moves it and ends the move: nothing follows any more. */
export async function moveAndComplete(sides: Sides): Promise<void> {
  await moveOver(sides)
  await giveUp({ ...sides, source: sides.target, target: sides.source })
}

const steps = { prepare: (view: View) => prepare(view, systemClock.id()), name, seal, decide, open }

/** One step of the protocol, from where the fences stand. */
export async function step(sides: Sides, which: keyof typeof steps): Promise<void> {
  const decision: Decision = steps[which](await look(sides, undefined, 'source'))
  if (!isStep(decision)) throw new Error(`${which}: ${decision.why}`)
  if (!(await take(sides, decision))) throw new Error(`${which}: the fence moved`)
}
