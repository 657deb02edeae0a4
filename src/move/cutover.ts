/**
 * The cutover: seal, drain, compare, decide, open, turn. Each step is a compare-and-set that anybody may take from where
 * the fences stand, so a coordinator that dies is replaced by the next one to call this. While nothing is decided the
 * source can be opened again; from the decision on the only way is forwards.
 */
import { sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Digest } from '../model/digest.ts'
import { type Fence, vacantFence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import { isAway, untilDone, within } from './again.ts'
import { mirrorPage } from './mirror.ts'
import {
  abort,
  cancel,
  decide,
  follow,
  isStep,
  name,
  open,
  poison,
  prepare,
  reclaim,
  seal,
  turn,
  type View,
} from './protocol.ts'
import { noteCutover } from './report.ts'
import { look, lookAtOnce, lookFromLead, type Sides, stageOf, take, turned, turnedView } from './sides.ts'

/**
 * Makes the target an empty copy that the source names, so that it can be mirrored into; goes on where it was left. A
 * copy that an earlier move left behind without a name is poisoned first.
 */
export function start(sides: Sides): Promise<true> {
  const { clock } = sides
  return untilDone(clock, async () => {
    // The source is read last: a poisoned copy is only thrown away for a source that is known not to need it.
    const view = await look(sides, undefined, 'source')
    const stage = stageOf(view)
    if (stage === 'prepared') {
      const named = name(view)
      const isOfEarlierEpoch = view.source.successor === null && view.target.epoch !== view.source.epoch
      await take(sides, isOfEarlierEpoch ? poison(view) : named)
    } else if (stage === 'named') await take(sides, follow(view))
    else if (stage !== 'alone') return true
    else if (isLeftOver(view)) await take(sides, poison(view))
    else await take(sides, prepare(view, clock.id()))
    return undefined
  })
}

/** Whether the target holds a copy that the source names no more, and that was not poisoned yet. */
export function isLeftOver({ source, target }: { readonly source: Fence; readonly target: Fence }): boolean {
  return source.successor === null && isStep(poison({ source, target, last: 'target' }))
}

export interface CutoverOptions {
  /** Milliseconds that writers may be held up before the source is opened again; 2,000 if left out. */
  readonly maxPauseMs?: number
  /** Gives the cutover up while nothing is decided. */
  readonly signal?: AbortSignal
}

export interface Cutover {
  /** The epoch that it opened. */
  readonly epoch: number
  /** The last position of the old side. */
  readonly head: Position
  /** Of both sides there. */
  readonly digest: Digest
  /** Milliseconds from before the seal until the target was open. */
  readonly pauseMs: number
  /** Records that were copied behind the seal. */
  readonly drained: number
}

/**
 * Takes authority over to the target, which must follow. What it lacks is copied until little is left, so that the pause
 * is short; a source that is sealed already is gone on with. If it cannot be done within `maxPauseMs`, the source is
 * opened again and the call fails with `gate`; nothing is lost either way.
 */
export async function cutover(
  sides: Sides,
  { maxPauseMs = 2_000, signal }: CutoverOptions = {},
): Promise<Cutover> {
  const { clock } = sides
  if (stageOf(await look(sides)) === 'mirroring') await catchUpNearly(sides, maxPauseMs, signal)
  const since = clock.monotonic()
  let decided: Decided
  try {
    decided = await within(clock, maxPauseMs, signal, (over) => sealAndDecide(sides, over))
  } catch (error) {
    const pauseMs = clock.monotonic() - since
    if (await reopenAfter(sides, error)) throw givenUp(sides, error, pauseMs, signal)
    // Somebody else went on with it, and decided.
    decided = { view: await look(sides), drained: 0 }
  }
  const { epoch, head, digest } = decided.view.source
  const pauseMs = await goForwards(sides, decided.view, since)
  return { epoch, head, digest, drained: decided.drained, pauseMs }
}

/** Both sides as they were seen at the decision. */
interface Decided {
  readonly view: View
  readonly drained: number
}

/** What is left behind the decision. Whoever looks goes on with it, if this one cannot. */
async function goForwards(sides: Sides, decided: View, since: number): Promise<number> {
  const { clock, domain, target } = sides
  let pauseMs: number | undefined
  try {
    await openDecided(sides, decided)
    pauseMs = clock.monotonic() - since
    await settle(sides)
    return pauseMs
  } catch (cause) {
    if (!isAway(cause)) throw cause
    throw new UnderpinError(
      'unavailable',
      pauseMs === undefined
        ? `The cutover of ${domain} was decided, but ${target.name} could not be opened`
        : `${domain} is cut over and ${target.name} accepts commits, but the old side does not follow yet`,
      {
        hint: 'Nothing was lost, and it can only go forwards: any mover, or the same call again, goes on with it.',
        details: { domain },
        cause,
      },
    )
  }
}

/** Reopens, and says so if that cannot be done: then the source stays sealed until somebody can. */
async function reopenAfter(sides: Sides, cause: unknown): Promise<boolean> {
  try {
    return await reopen(sides)
  } catch (error) {
    throw new UnderpinError(
      'unavailable',
      `The cutover of ${sides.domain} failed, and its source could not be opened again: it may be sealed still`,
      {
        hint: 'Nothing was lost. When the source answers, any mover opens it, or move.reopen().',
        details: { domain: sides.domain },
        cause: new AggregateError([cause, error]),
      },
    )
  }
}

function givenUp(
  sides: Sides,
  cause: unknown,
  pauseMs: number,
  signal: AbortSignal | undefined,
): UnderpinError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new UnderpinError(
    signal?.aborted ? 'aborted' : 'gate',
    `The cutover of ${sides.domain} was given up: ${why}`,
    {
      hint: 'Nothing was lost: the source accepts commits again. Try when the copy lags less and both sides answer, or allow a longer pause.',
      details: {
        domain: sides.domain,
        pauseMs,
        ...(cause instanceof UnderpinError && cause.details.gap !== undefined && { gap: cause.details.gap }),
      },
      cause,
    },
  )
}

/** A tail that is copied in so many milliseconds is short enough for any pause. */
const shortTailMs = 15
/** Pages in a row that bring no shorter tail: it is as short as it gets, or only gets longer. */
const pagesInVain = { enough: 3, most: 30 } as const
/**
 * How much faster a copy may be behind the seal, where writers leave the stores, and the process, to it. If that is hoped
 * for in vain, the cutover gives itself up when its time is over.
 */
const crowding = 10

/**
 * Copies until little is left, before the seal. Refuses if too much would be left for the pause: then writers are faster
 * than the copy.
 */
async function catchUpNearly(
  sides: Sides,
  maxPauseMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clock, domain } = sides
  for (let shortestMs = Number.POSITIVE_INFINITY, inVain = 0; ; ) {
    const since = clock.monotonic()
    const { position, head, records, gap } = await mirrorPage(sides, undefined, signal && { signal })
    if (gap !== undefined) throw gapInTheWay(gap)
    const pageMs = clock.monotonic() - since
    // What was written while this page was copied takes as long again; and what was behind it already, at the same rate.
    const tailMs = pageMs * (1 + Math.max(0, head - position) / Math.max(1, records))
    inVain = tailMs < shortestMs ? 0 : inVain + 1
    shortestMs = Math.min(shortestMs, tailMs)
    if (tailMs <= shortTailMs || (inVain >= pagesInVain.enough && tailMs <= (crowding * maxPauseMs) / 2))
      return
    if (inVain >= pagesInVain.most)
      throw new UnderpinError(
        'gate',
        `Domain ${domain} is written to faster than it is copied: what is left would take ${Math.round(tailMs)} ms of a pause of ${maxPauseMs} ms`,
        {
          hint: "Allow a longer pause, or set mirror: 'await', by which writers wait for the copy.",
          details: { domain, tailMs },
        },
      )
  }
}

/** The part of a cutover that writers wait for and that can be undone: as few round trips as can be. */
async function sealAndDecide(sides: Sides, signal: AbortSignal): Promise<Decided> {
  let [drained, wasSealed] = [0, false]
  return untilDone(sides.clock, async () => {
    signal.throwIfAborted()
    const view = await lookAtOnce(sides, { signal })
    const stage = stageOf(view)
    // Somebody opened it again: sealing it once more would undo what they asked for.
    if (stage === 'mirroring' && wasSealed) throw goneOnWith(sides)
    wasSealed = stage === 'sealed' || (stage === 'mirroring' && (await take(sides, seal(view), { signal })))
    if (stage === 'mirroring' || stage === 'sealed') drained += await drain(sides, signal)
    const after = await lookAtOnce(sides, { signal })
    if (after.source.role === 'sealed') {
      const isDecided = await take(sides, decide(after), { signal })
      const source = { ...after.source, role: 'handed-off' } as const
      return isDecided ? { view: { ...after, source }, drained } : undefined
    }
    if (after.source.role === 'handed-off') return { view: after, drained }
    throw goneOnWith(sides)
  })
}

function goneOnWith({ domain }: Sides): UnderpinError {
  return new UnderpinError('gate', 'somebody else gave it up, or went on with it', { details: { domain } })
}

/** Copies what is left behind the seal. */
async function drain(sides: Sides, signal: AbortSignal): Promise<number> {
  for (let records = 0, gapAt: Position | undefined; ; ) {
    signal.throwIfAborted()
    const progress = await mirrorPage(sides, undefined, { signal })
    records += progress.records
    if (progress.gap === undefined && progress.position === progress.head) return records
    if (progress.gap === undefined) continue
    // A page that another mover was faster with is refused as well: it counts when it is refused twice.
    if (gapAt === progress.position) throw gapInTheWay(progress.gap)
    gapAt = progress.position
  }
}

export function gapInTheWay(gap: { readonly position: Position; readonly message: string }): UnderpinError {
  return new UnderpinError('gate', `The copy refuses position ${gap.position}: ${gap.message}`, {
    hint: 'Change or delete the record, or raise the limit of the other side.',
    details: { gap },
  })
}

/**
 * Undoes a seal that nothing was decided after; the target need not answer. True if the source accepts commits now,
 * false if it was decided by then, by whomever.
 */
export function reopen({ domain, source, clock }: Sides): Promise<boolean> {
  return untilDone(clock, async () => {
    const seen = await source.fence(domain)
    // A seal whose answer was lost may land late: a change of nothing waits for it, or is refused behind it.
    if (seen.role === 'authority') return (await source.transition(domain, seen, seen)) ? true : undefined
    if (seen.role !== 'sealed') return false
    const sides = { domain, source, target: source, clock }
    await take(sides, abort({ source: seen, target: vacantFence, last: 'source' }))
    return undefined
  })
}

/** Opens a target that was decided for, by what was seen then. Nothing if it was opened by now. */
function openDecided(sides: Sides, seen: View): Promise<true> {
  let view: View | undefined = seen
  return untilDone(sides.clock, async () => {
    const known = view ?? (await look(sides))
    view = undefined
    if (stageOf(known) !== 'decided' || (await take(sides, open(known)))) return true
    return undefined
  })
}

/**
 * Goes on from wherever a cutover, of either direction, was broken off behind its decision: opens, notes its report,
 * turns, or reclaims. The old side follows only when the report is there, or cannot be made: until then it stands at the
 * head that it handed off.
 */
export function settle(sides: Sides): Promise<true> {
  const { clock } = sides
  return untilDone(clock, async () => {
    const { sides: led, view, stage } = await lookFromLead(sides)
    if (stage === 'decided') await take(led, open(view))
    else if (stage === 'stranded') await take(led, reclaim(view))
    else if (stage === 'turning') {
      await noteIfPossible(led, view)
      await take(turned(led), turn(turnedView(view)))
    } else return true
    return undefined
  })
}

/** Tries of a note before the old side follows without it. */
const noteTries = 4

/**
 * A note only tells, the fences decide: one that cannot be read or written is left out, and `status` says so. Where the
 * new side does not answer at all, whoever comes next has to find it first, and may note it then.
 */
async function noteIfPossible(led: Sides, view: View): Promise<void> {
  const { clock, domain, source } = led
  for (let failures = 1; ; failures++) {
    try {
      return await noteCutover(led, view)
    } catch (error) {
      if (!isUnderpinError(error) || isUnderpinError(error, 'fenced')) throw error
      await source.fence(domain)
      if (!isAway(error) || failures === noteTries) return
      await sleep(clock, 10 * 2 ** failures)
    }
  }
}

/**
 * Ends a move before its cutover, or (with the sides turned) its reverse mirror: names the copy no more, then poisons it.
 * The copy need not answer: one that is named no more can never open. True if it was poisoned, false if that is owed.
 * With `successor`, a source that names another copy goes on naming it.
 */
export async function giveUp(sides: Sides, successor?: string): Promise<boolean> {
  const { clock, domain, source } = sides
  await untilDone(clock, async () => {
    const seen = await source.fence(domain)
    if (seen.role !== 'authority' || seen.successor === null) return true
    if (successor !== undefined && seen.successor !== successor) return true
    await take(sides, cancel({ source: seen, target: vacantFence, last: 'source' }))
    return undefined
  })
  return poisonLeftOver(sides)
}

/** Poisons a copy that is named no more. False if it does not answer. */
async function poisonLeftOver(sides: Sides): Promise<boolean> {
  try {
    return await untilDone(sides.clock, async () => {
      const view = await look(sides)
      if (!isLeftOver(view)) return true
      await take(sides, poison(view))
      return undefined
    })
  } catch (error) {
    if (isAway(error)) return false
    throw error
  }
}
