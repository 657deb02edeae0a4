/** The fence: the domain's record in each backend, which says who may write. */
import { type Digest, emptyDigest } from './digest.ts'
import type { Position } from './position.ts'

/**
 * - `vacant`: this backend has never held the domain;
 * - `authority`: accepts commits that name its epoch;
 * - `sealed`: gave up accepting commits, the head stands still;
 * - `handed-off`: decided for `successor`, may only become a follower of it;
 * - `prepared`, `follower`: takes pages of the feed of an authority;
 * - `poisoned`: an abandoned copy; never opens again.
 */
export type Role = 'vacant' | 'authority' | 'sealed' | 'handed-off' | 'prepared' | 'follower' | 'poisoned'

export interface Fence {
  readonly role: Role
  /** Raised at every change of authority, never reused. */
  readonly epoch: number
  readonly head: Position
  readonly digest: Digest
  /** Names this copy of the domain: another copy, or the same place filled again, has another one. */
  readonly incarnation: string
  /** The incarnation that a move goes to, or null. */
  readonly successor: string | null
}

export const vacantFence: Fence = Object.freeze({
  role: 'vacant',
  epoch: 0,
  head: 0,
  digest: emptyDigest,
  incarnation: '',
  successor: null,
})

/**
 * Whether the fence found is the one that an actor saw. While the domain accepts changes its head moves without a
 * transition, so head and digest are compared only where nothing but a transition may move them on.
 */
export function sameFence(found: Fence, seen: Fence): boolean {
  const same =
    found.role === seen.role &&
    found.epoch === seen.epoch &&
    found.incarnation === seen.incarnation &&
    found.successor === seen.successor
  return same && (found.role === 'authority' || (found.head === seen.head && found.digest === seen.digest))
}
