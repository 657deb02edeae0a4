/**
 * The protocol of a move, pure: what may be done to the fences of two backends, by whoever has seen what. Every step is
 * one compare-and-set of one fence, taken from the view that the actor acts on; views may be stale, and their two halves
 * were not read at one moment. `test/move/model.ts` runs this very code through every order of events.
 *
 *     source  authority(N) ─name─▶ authority(N, → i) ─seal─▶ sealed(N+1) ─decide─▶ handed-off(N+1 → i) ─turn─▶ follower
 *                                       │                     └─abort─▶ authority(N+2, → i)   └─reclaim─▶ authority(N+2)
 *                                       └─cancel─▶ authority(N+1)
 *     target  vacant ─prepare─▶ prepared(i) ─follow─▶ follower(i) ─open─▶ authority(N+1, → source's copy)
 *                                   └───────────poison────┴─▶ poisoned(i)
 *
 * After `open` the two have changed places: a rollback is the same steps the other way round, and `complete` is `cancel`.
 */
import { emptyDigest } from '../model/digest.ts'
import type { Fence } from '../model/fence.ts'

/** What an actor saw of both backends' fences. */
export interface View {
  readonly source: Fence
  readonly target: Fence
  /** Which of the two was read after the other. */
  readonly last: 'source' | 'target'
}

/** A change of one fence, to be made by compare-and-set. */
export interface Step {
  readonly at: 'source' | 'target'
  readonly from: Fence
  readonly to: Fence
}

/** Why a step may not be taken, by what was seen. */
export interface Refusal {
  readonly why: string
}

export type Decision = Step | Refusal

export function isStep(decision: Decision): decision is Step {
  return 'at' in decision
}

/** The target becomes an empty copy with an incarnation of its own. What it held before is thrown away. */
export function prepare({ source, target, last }: View, incarnation: string): Decision {
  if (source.role !== 'authority') return refuse(`the source is ${source.role}, not authority`)
  if (source.successor !== null) return refuse(`the source is moving to ${source.successor} already`)
  if (target.role !== 'vacant' && target.role !== 'poisoned')
    return refuse(`the target is ${target.role}: it holds a copy that was not given up`)
  // Else the source might meanwhile have handed off to the copy that was poisoned, and could not be told so any more.
  if (target.role === 'poisoned' && last !== 'source')
    return refuse('the source must be looked at after the poisoned target')
  const { epoch } = source
  return step('target', target, {
    ...{ role: 'prepared', epoch, incarnation, successor: null, head: 0, digest: emptyDigest },
  })
}

/** The source names the copy that it moves to. */
export function name({ source, target }: View): Decision {
  if (source.role !== 'authority') return refuse(`the source is ${source.role}, not authority`)
  if (source.successor !== null) return refuse(`the source is moving to ${source.successor} already`)
  if (target.role !== 'prepared') return refuse(`the target is ${target.role}, not prepared`)
  // The epoch that pages are applied under tells the pages of one move from those of another.
  if (target.epoch !== source.epoch) return refuse('the target was prepared under another epoch')
  return step('source', source, { ...source, successor: target.incarnation })
}

/** The target begins to take the feed. */
export function follow({ source, target }: View): Decision {
  if (target.role !== 'prepared') return refuse(`the target is ${target.role}, not prepared`)
  if (source.role !== 'authority' || source.successor !== target.incarnation)
    return refuse('the source does not name this copy')
  return step('target', target, { ...target, role: 'follower' })
}

/** The source gives up accepting commits: its head stands still. */
export function seal({ source, target }: View): Decision {
  if (source.role !== 'authority') return refuse(`the source is ${source.role}, not authority`)
  if (target.role !== 'follower' || source.successor !== target.incarnation)
    return refuse('the target is not a follower that the source names')
  return step('source', source, { ...source, role: 'sealed', epoch: source.epoch + 1 })
}

/** The source accepts commits again, under a new epoch. Anybody may do so while nothing is decided. */
export function abort({ source }: View): Decision {
  if (source.role !== 'sealed') return refuse(`the source is ${source.role}, not sealed`)
  return step('source', source, { ...source, role: 'authority', epoch: source.epoch + 1 })
}

/** The point of no return: the source hands off to the copy that holds all of it. */
export function decide({ source, target }: View): Decision {
  if (source.role !== 'sealed') return refuse(`the source is ${source.role}, not sealed`)
  if (target.role !== 'follower' || source.successor !== target.incarnation)
    return refuse('the target is not a follower that the source names')
  if (!isDrained(source, target)) return refuse('the target does not hold all of the source yet')
  return step('source', source, { ...source, role: 'handed-off' })
}

/** The target accepts commits. Anybody may do so when it is decided. It names the old side, which may follow it. */
export function open({ source, target }: View): Decision {
  if (source.role !== 'handed-off') return refuse(`the source is ${source.role}, not handed-off`)
  if (target.role !== 'follower' || source.successor !== target.incarnation)
    return refuse('the target is not the follower that was decided for')
  // A decision of an earlier cutover, seen long ago: the two have changed places since, and back.
  if (target.epoch >= source.epoch) return refuse('the decision is older than the target is')
  if (!isDrained(source, target)) return refuse('the target does not hold all of the source')
  const { epoch, incarnation: successor } = source
  return step('target', target, { ...target, role: 'authority', epoch, successor })
}

/** The reverse mirror: the old side, which stands at the head that it handed off, follows the new one. */
export function turn({ source, target }: View): Decision {
  if (source.role !== 'handed-off') return refuse(`the source is ${source.role}, not handed-off`)
  if (target.role !== 'authority' || target.incarnation !== source.successor)
    return refuse('the copy that was decided for is not open')
  if (target.epoch < source.epoch) return refuse('the target was seen before it was decided for')
  if (target.successor !== source.incarnation) return refuse('the new authority does not name this copy')
  return step('source', source, { ...source, role: 'follower', successor: null })
}

/** The source names nobody any more: the end of a move before its cutover, and of its reverse mirror after (complete). */
export function cancel({ source }: View): Decision {
  if (source.role !== 'authority') return refuse(`the source is ${source.role}, not authority`)
  if (source.successor === null) return refuse('the source names no copy')
  return step('source', source, { ...source, epoch: source.epoch + 1, successor: null })
}

/** A copy that nobody names never opens again. Only behind {@link cancel}. */
export function poison({ source, target }: View): Decision {
  if (source.role !== 'authority') return refuse(`the source is ${source.role}, not authority`)
  if (source.successor === target.incarnation) return refuse('the source names this copy')
  const isOpened =
    target.role === 'handed-off' && target.successor === source.incarnation && source.epoch > target.epoch
  if (target.role !== 'prepared' && target.role !== 'follower' && !isOpened)
    return refuse(`the target is ${target.role}: there is no copy to give up`)
  return step('target', target, { ...target, role: 'poisoned', successor: null })
}

/** The source takes back what it handed off to a copy that was poisoned before it could open. */
export function reclaim({ source, target }: View): Decision {
  if (source.role !== 'handed-off') return refuse(`the source is ${source.role}, not handed-off`)
  if (target.role !== 'poisoned' || target.incarnation !== source.successor)
    return refuse('the copy that was decided for is not poisoned: it may open yet')
  return step('source', source, { ...source, role: 'authority', epoch: source.epoch + 1, successor: null })
}

function isDrained(source: Fence, target: Fence): boolean {
  return source.head === target.head && source.digest === target.digest
}

function step(at: Step['at'], from: Fence, to: Fence): Step {
  return { at, from, to }
}

function refuse(why: string): Refusal {
  return { why }
}
