/** Commits: atomic groups of writes and checks in one domain. All or nothing. */
import type { Write } from './change.ts'
import type { Check, FailedCheck } from './check.ts'
import type { Position } from './position.ts'

export interface Commit {
  /** Milliseconds since 1970: the time its records carry, and the one by which expiry is judged. */
  readonly at: number
  readonly writes: readonly Write[]
  readonly checks: readonly Check[]
  /** Writes tables of the application's own in the same transaction, where `supports.tables` is true. */
  readonly tables?: TableHandler
}

/**
 * Runs in the database transaction of a commit, after its records were written and only if its checks held; what it
 * throws undoes the commit. `client` is the driver's own. May run more than once, when a session is lost, but takes
 * effect once.
 */
export type TableHandler<Client = unknown> = (client: Client, committed: StoredCommit) => void | Promise<void>

/** What a table handler is told: where its commit stands, and the time that its records carry. */
export interface StoredCommit extends Pick<Committed, 'positions' | 'seqs'> {
  /** Milliseconds since 1970: `at` of every record of the commit, so that a table made again from the feed is the same. */
  readonly at: number
}

export type Outcome = Committed | CheckFailed | Refused

export interface Committed {
  readonly kind: 'committed'
  /** The position of each write, in the order of the commit. */
  readonly positions: readonly Position[]
  /** The seq of each append, in the order of the commit. */
  readonly seqs: readonly number[]
}

/** A failed check is a result, not an error: nothing was written. */
export interface CheckFailed {
  readonly kind: 'failed'
  readonly failed: readonly FailedCheck[]
}

/** The commit could never be taken (an undeclared collection, say); its neighbours in the group were not touched. */
export interface Refused {
  readonly kind: 'refused'
  /** An `UnderpinError`, or what a table handler threw. */
  readonly error: unknown
}
