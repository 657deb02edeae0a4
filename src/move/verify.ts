/**
 * Compares two copies of a domain, by contents, while both are written to. The feeds are read side by side by positions,
 * the streams and collections by their keys; every record's checksum is recomputed from its content where it is read
 * (law 13). What seems to differ is looked at again by its key, so that what has only not arrived yet (lag) is told from
 * what will never be right (divergence). docs/verify.md says what each of these can find, and what it cannot.
 */
import { UnderpinError } from '../error.ts'
import type { Digest } from '../model/digest.ts'
import type { Fence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import type { OpenDifference } from './record.ts'
import { look, type Sides } from './sides.ts'
import { Comparing } from './verify/comparing.ts'
import type { Difference } from './verify/difference.ts'
import type { Checkpoint, CompareProgress } from './verify/pace.ts'

export interface Digests {
  /** Of both. */
  readonly head: Position
  readonly source: Digest
  readonly target: Digest
}

export interface Comparison {
  /** Up to where the feeds were compared: the head of the copy when it began. */
  readonly head: Position
  /** Records of the source that were compared, those read again by key not counted. */
  readonly compared: number
  /** Positions of the source that the copy did not have yet when it began: they differ in nothing. */
  readonly lag: number
  /** The first ones; `count` is of all, up to 100,000, from where on no more are looked for. */
  readonly differences: readonly Difference[]
  readonly count: number
  /** The running digests, if both sides were seen at one head; else undefined. */
  readonly digests: Digests | undefined
  /**
   * The digest that the fence of the copy names, and that of its contents at the same head. Undefined where it cannot be
   * told: a record is damaged, the comparison was resumed, or something gave way meanwhile without a trace in the feed.
   */
  readonly content: { readonly fence: Digest; readonly found: Digest } | undefined
  /** Whether anything of what was found proves that something other than the mover wrote to the copy. */
  readonly isForeign: boolean
  /** No differences, of records or of digests. */
  readonly isEqual: boolean
}

export interface CompareOptions {
  /** Ends it with `aborted`; `details.checkpoint` is where to go on. */
  readonly signal?: AbortSignal
  /** Records read at a time; 5,000 if left out. */
  readonly pageItems?: number
  /** Records of the source a second, at most; as fast as can be if left out. */
  readonly maxRate?: number
  /** Differences that are listed; 100 if left out. All are counted. */
  readonly listed?: number
  /**
   * What is compared: the feeds by positions, streams and collections by keys, or both, which is what counts as a full
   * comparison and what is done if it is left out.
   */
  readonly by?: 'positions' | 'keys' | 'both'
  /** Differences of an earlier comparison: one that is found again keeps the time at which it was first seen. */
  readonly known?: readonly OpenDifference[]
  /** Goes on where an earlier comparison of the same copy was; `invalid` if it was of another one. */
  readonly resume?: Checkpoint
  readonly onProgress?: (progress: CompareProgress) => void | Promise<void>
}

/**
 * Compares the copy with its source up to the copy's head. Only reads, in short calls: no writer waits for it. Fails with
 * `fenced` if the sides change places meanwhile, `aborted` by the signal, `gate` if there is no copy to compare.
 */
export async function compareSides(sides: Sides, options: CompareOptions = {}): Promise<Comparison> {
  // The source is read last: a copy can be ahead of what the source was, but not of what it is.
  const { source, target } = await look(sides, undefined, 'source')
  checkComparable(sides, source, target)
  const { by = 'both', resume } = options
  if (resume !== undefined && resume.incarnation !== target.incarnation)
    throw new UnderpinError('invalid', 'The comparison to go on with was of another copy', {
      hint: 'Compare from the beginning.',
      details: { found: target.incarnation, expected: resume.incarnation },
    })
  const comparing = new Comparing(sides, target, options)
  if (target.head > source.head)
    comparing.addDigest(
      `The copy's fence names position ${target.head}, the source is at ${source.head}`,
      'sum',
    )
  if (by !== 'keys') await comparing.byPositions(by === 'both')
  if (by !== 'positions') await comparing.byKeys(by === 'keys')
  const content = by === 'keys' ? undefined : await comparing.end()
  const digests = await compareDigests(sides)
  const { differences, compared } = comparing
  if (digests !== undefined && digests.source !== digests.target && differences.count === 0)
    comparing.addDigest('The digest of the copy is not that of the source at the same head', null)
  const { list, count } = differences
  return {
    ...{ head: target.head, compared, lag: Math.max(0, source.head - target.head) },
    ...{ differences: list, count, digests, content },
    isForeign: list.some(({ foreign }) => foreign !== null),
    isEqual: count === 0,
  }
}

/** Whether there is a copy that follows, also behind a seal or a decision; `gate` if not. */
export function checkComparable({ domain }: Sides, source: Fence, target: Fence): void {
  const isCopy = target.role === 'follower' && source.successor === target.incarnation
  const leads = ['authority', 'sealed', 'handed-off'].includes(source.role)
  if (isCopy && leads) return
  throw new UnderpinError(
    'gate',
    `Domain ${domain} has no copy that follows: nothing can be compared or repaired`,
    {
      hint: 'underpin move status tells where it stands.',
      details: { domain, source: source.role, target: target.role },
    },
  )
}

/**
 * Both running digests, if the copy stands at the source's head; undefined while it lags. Three looks at fences, no
 * record is read: a mirror may ask whenever it has caught up. Equal digests say that the mover applied what the source
 * has; what was written behind the backend's back they do not show.
 */
export async function compareDigests({ domain, source, target }: Sides): Promise<Digests | undefined> {
  const before = await source.fence(domain)
  const copy = await target.fence(domain)
  const after = await source.fence(domain)
  const stood = before.head === after.head && before.epoch === after.epoch
  if (!stood || copy.role !== 'follower' || before.head !== copy.head) return undefined
  return { head: copy.head, source: after.digest, target: copy.digest }
}
