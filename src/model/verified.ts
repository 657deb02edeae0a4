/**
 * Which lists of changes were verified where they were read, so that a follower in the same process need not compute each
 * checksum a second time. Whoever copies a list, to change it or not, has one that was not verified.
 */
import type { Change } from './change.ts'

const verified = Symbol('verified')

/** Notes that each change of the list is what its checksum was made of. Gives the list. */
export function noteVerified<L extends readonly Change[]>(changes: L): L {
  Object.defineProperty(changes, verified, { value: true })
  return changes
}

export function isVerified(changes: readonly Change[]): boolean {
  return verified in changes
}
