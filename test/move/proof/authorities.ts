/** Watches that no two backends hold authority over a domain: at any moment, and in what they accepted. */
import type { Backend } from '../../../src/backend/backend.ts'
import { isUnderpinError } from '../../../src/error.ts'
import { Forward } from '../../../src/wrapper/forward.ts'

/** How often both were seen to hold authority at once, until the signal aborts. */
export async function watchAuthorities(
  { a, b }: { a: Backend; b: Backend },
  domain: string,
  signal: AbortSignal,
  rest: () => Promise<unknown>,
): Promise<{ looks: number; doubles: number }> {
  const found = { looks: 0, doubles: 0 }
  while (!signal.aborted) {
    try {
      if (await areBothHeld(a, b, domain)) found.doubles++
      found.looks++
    } catch (error) {
      // A server that is down shows nothing.
      if (!isUnderpinError(error) || !error.retryable) throw error
    }
    await rest()
  }
  return found
}

async function areBothHeld(a: Backend, b: Backend, domain: string): Promise<boolean> {
  const before = await a.fence(domain)
  const other = await b.fence(domain)
  const after = await a.fence(domain)
  // An epoch is never used again: what is the same before and behind was the same in between.
  const isHeld = before.role === 'authority' && after.role === 'authority' && before.epoch === after.epoch
  return isHeld && other.role === 'authority'
}

export interface Accepted {
  readonly side: string
  readonly epoch: number
  readonly positions: readonly number[]
}

/** A backend that notes what it accepted of callers. */
export class Noting extends Forward {
  readonly #side: string
  readonly #accepted: Accepted[]

  constructor(inner: Backend, side: string, accepted: Accepted[]) {
    super(inner)
    this.#side = side
    this.#accepted = accepted
  }

  override async commit(...call: Parameters<Backend['commit']>) {
    const outcomes = await this.inner.commit(...call)
    for (const outcome of outcomes)
      if (outcome.kind === 'committed' && outcome.positions.length > 0)
        this.#accepted.push({ side: this.#side, epoch: call[1], positions: outcome.positions })
    return outcomes
  }
}

/** Epochs under which both sides accepted something, and positions that were given twice. */
export function forksIn(accepted: readonly Accepted[]): number {
  const sides = new Map<number, string>()
  const given = new Set<number>()
  let forks = 0
  for (const { side, epoch, positions } of accepted) {
    if ((sides.get(epoch) ?? side) !== side) forks++
    sides.set(epoch, side)
    for (const position of positions) {
      if (given.has(position)) forks++
      given.add(position)
    }
  }
  return forks
}
