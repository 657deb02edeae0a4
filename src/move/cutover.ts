/**
 * The cutover: seal, drain, compare, decide, open, turn. Each step is a compare-and-set that anybody may take from where
 * the fences stand, so a coordinator that dies is replaced by the next one to call this. While nothing is decided the
 * source can be opened again; from the decision on the only way is forwards.
 */
import { UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import { mirrorPage } from './mirror.ts'
import {
  abort,
  cancel,
  decide,
  follow,
  name,
  open,
  poison,
  prepare,
  reclaim,
  seal,
  turn,
} from './protocol.ts'
import { look, lookFromLead, type Sides, stageOf, take, turned, turnedView } from './sides.ts'

/** Makes the target an empty copy that the source names, so that it can be mirrored into; goes on where it was left. */
export async function start(sides: Sides): Promise<void> {
  for (;;) {
    // The source is read last: a poisoned copy is only thrown away for a source that is known not to need it.
    const view = await look(sides, undefined, 'source')
    switch (stageOf(view)) {
      case 'alone':
        await take(sides, prepare(view, sides.clock.id()))
        break
      case 'prepared':
        await take(sides, name(view))
        break
      case 'named':
        await take(sides, follow(view))
        break
      default:
        return
    }
  }
}

export interface CutoverOptions {
  /** Milliseconds that writers may be held up before the source is opened again; 2,000 if left out. */
  readonly maxPauseMs?: number
}

export interface Cutover {
  /** The last position of the old side. */
  readonly head: Position
  /** Milliseconds from before the seal until the target was open. */
  readonly pauseMs: number
  /** Records that were copied behind the seal. */
  readonly drained: number
}

/**
 * Takes authority over to the target, which must follow and hold almost everything already. If it cannot be done within
 * `maxPauseMs`, the source is opened again and the call fails with `gate`; nothing is lost either way.
 */
export async function cutover(sides: Sides, { maxPauseMs = 2_000 }: CutoverOptions = {}): Promise<Cutover> {
  const { clock, domain, source } = sides
  await mirrorPage(sides)
  const since = clock.monotonic()
  await take(sides, seal(await look(sides)))
  let drained = 0
  try {
    drained = await drain(sides, since + maxPauseMs)
    const view = await look(sides)
    if (view.source.role === 'sealed') await take(sides, decide(view))
  } catch (error) {
    await reopen(sides)
    throw error
  }
  await settle(sides)
  const { head, role } = await source.fence(domain)
  if (role === 'authority')
    throw new UnderpinError('gate', `Domain ${domain}: somebody else gave up the cutover`, {
      hint: 'Nothing was lost: the source accepts commits again.',
    })
  return { head, drained, pauseMs: clock.monotonic() - since }
}

/** Copies what is left behind the seal. */
async function drain(sides: Sides, until: number): Promise<number> {
  for (let records = 0; ; ) {
    const progress = await mirrorPage(sides)
    records += progress.records
    if (progress.gap !== undefined)
      throw new UnderpinError('gate', progress.gap.message, { details: { gap: progress.gap } })
    if (progress.position === progress.head) return records
    if (sides.clock.monotonic() > until)
      throw new UnderpinError(
        'gate',
        `The copy could not be completed in time: ${progress.position} of ${progress.head}`,
        {
          hint: 'Nothing was lost: the source accepts commits again. Try when the copy lags less, or allow a longer pause.',
        },
      )
  }
}

/** Undoes a seal that nothing was decided after. False if it was decided by then, by whomever. */
export async function reopen(sides: Sides): Promise<boolean> {
  for (;;) {
    const view = await look(sides)
    if (view.source.role !== 'sealed') return view.source.role === 'authority'
    if (await take(sides, abort(view))) return true
  }
}

/** Goes on from wherever a cutover, of either direction, was broken off behind its decision: opens, turns, or reclaims. */
export async function settle(sides: Sides): Promise<void> {
  for (;;) {
    const { sides: led, view, stage } = await lookFromLead(sides)
    if (stage === 'decided') await take(led, open(view))
    else if (stage === 'turning') await take(turned(led), turn(turnedView(view)))
    else if (stage === 'stranded') await take(led, reclaim(view))
    else return
  }
}

/** Ends a move before its cutover, or (with the sides turned) its reverse mirror: names nobody, then poisons the copy. */
export async function giveUp(sides: Sides): Promise<void> {
  for (;;) {
    const view = await look(sides)
    if (view.source.role === 'authority' && view.source.successor !== null) await take(sides, cancel(view))
    else if (['prepared', 'follower', 'handed-off'].includes(view.target.role))
      await take(sides, poison(view))
    else return
  }
}
