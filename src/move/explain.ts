/** Where a move stands, in words, and what can be done from there: pure. */
import type { Fence } from '../model/fence.ts'
import { isLeftOver } from './cutover.ts'
import { type Gate, gatesInTheWay } from './gates.ts'
import type { MoveRecord } from './record.ts'
import type { NextStep, Phase } from './status.ts'

export interface Explained {
  readonly explanation: string
  readonly next: readonly NextStep[]
}

export interface Known {
  readonly domain: string
  /** The leading side and the other one, by name. */
  readonly lead: string
  readonly other: string
  readonly phase: Phase
  readonly isTurned: boolean
  /** Undefined where a side does not answer. */
  readonly source: Fence | undefined
  readonly target: Fence | undefined
  /** Positions that the copy lacks. */
  readonly behind: number
  readonly record: MoveRecord | undefined
  readonly unnoted: string | null
  readonly gates: readonly Gate[]
}

export function explain(known: Known): Explained {
  const { phase, source, target } = known
  if (source === undefined || target === undefined) return explainUnreachable(known)
  if (source.role === 'handed-off' && source.successor !== target.incarnation) return explainLost(known)
  switch (phase) {
    case 'none':
    case 'completed':
      return explainAlone(known, source, target)
    case 'prepared':
    case 'named':
      return {
        explanation: `A start was broken off: ${known.other} has an empty copy that does not follow yet. ${known.lead} accepts commits.`,
        next: [
          { verb: 'start', why: 'goes on with it' },
          { verb: 'cancel', why: 'gives it up' },
        ],
      }
    case 'mirroring':
    case 'reversed':
      return explainMirroring(known)
    case 'sealed':
      return explainSealed(known)
    case 'decided':
      return {
        explanation: `A cutover to ${known.other} was decided, and broken off before ${known.other} was opened: nobody accepts commits, callers wait. It can only go forwards; whoever looks may open it.`,
        next: [{ verb: goal(known), why: `opens ${known.other}` }],
      }
    case 'turning':
      return {
        explanation: `${known.lead} was just opened and accepts commits. ${known.other} does not follow it yet.`,
        next: [
          { verb: known.isTurned ? 'cutover' : 'rollback', why: 'finishes it, and notes its report' },
          { verb: 'run', why: 'the same, and mirrors' },
        ],
      }
    case 'stranded':
      return {
        explanation: `${known.lead} handed off to a copy on ${known.other} that was given up before it could open: nobody accepts commits, callers wait. Nothing was lost: ${known.lead} can take it back.`,
        next: [{ verb: 'cancel', why: `${known.lead} accepts commits again` }],
      }
    case 'unreachable':
      return explainUnreachable(known)
  }
}

/** Whether that copy accepted commits cannot be told, so nobody may take its place. */
function explainLost({ lead, other, source, target }: Known): Explained {
  return {
    explanation: `${lead} handed off to the copy ${source?.successor}, which is not on ${other} (${target?.role}): nobody accepts commits that can be seen from here. ${lead} holds everything up to position ${source?.head}, but that copy may have been opened since.`,
    next: [{ verb: 'status', why: `when the store that held the copy is back in place of ${other}` }],
  }
}

/** The verb that goes on with a cutover from the leading side to the other. */
function goal({ isTurned }: Known): 'cutover' | 'rollback' {
  return isTurned ? 'rollback' : 'cutover'
}

function explainAlone(known: Known, source: Fence, target: Fence): Explained {
  const { domain, lead, other, isTurned } = known
  const end = isTurned ? 'complete' : 'cancel'
  if (source.role !== 'authority')
    return {
      explanation: `Neither ${lead} (${source.role}) nor ${other} (${target.role}) holds authority over ${domain}.`,
      next: [{ verb: 'status', why: 'with the backends that hold the domain' }],
    }
  if (source.successor !== null && source.successor !== target.incarnation && known.record !== undefined)
    return {
      explanation: `${lead} accepts commits. It names a copy on ${other} that is not there any more: ${target.role === 'vacant' ? 'its place is empty' : 'another one stands there'}.`,
      next: [{ verb: end, why: 'gives the lost copy up' }],
    }
  if (source.successor !== null && source.successor !== target.incarnation)
    return {
      explanation: `${lead} accepts commits, and is moving to another copy (${source.successor}), which ${other} does not hold.`,
      next: [{ verb: 'status', why: 'with the backend that it moves to' }],
    }
  if (isLeftOver({ source, target }))
    return {
      explanation: `${lead} accepts commits. A copy that was given up is left on ${other}, not poisoned yet: nobody names it, so it can never open.`,
      next: [
        { verb: end, why: 'poisons it' },
        ...(isTurned ? [] : [{ verb: 'start', why: 'throws it away and begins anew' } as const]),
      ],
    }
  if (known.record !== undefined)
    return {
      explanation: `${lead} accepts commits. The move has ended, but its record was not put aside yet.`,
      next: [{ verb: end, why: 'puts it aside' }],
    }
  if (isTurned)
    return {
      explanation: `${lead} accepts commits. The move is completed; ${other} is of the past.`,
      next: [],
    }
  return {
    explanation: `${lead} accepts commits. No move to ${other} is under way.`,
    next: [{ verb: 'start', why: `begins to copy to ${other}` }],
  }
}

function explainMirroring(known: Known): Explained {
  const { lead, other, isTurned, record, unnoted, behind, gates } = known
  const before = isTurned ? `The domain is cut over: ${lead}` : lead
  const inTheWay = gatesInTheWay(gates)
  const ends: NextStep[] = isTurned
    ? [{ verb: 'complete', why: `ends the move for good: ${other} can never take it back` }]
    : [{ verb: 'cancel', why: 'gives the move up' }]
  const held: NextStep[] = record?.isHeld ? [{ verb: 'go', why: 'lets the cutover that is held go on' }] : []
  const clearing = inTheWay.flatMap(({ name, found }) => stepFor(name, found))
  const flip: NextStep[] =
    inTheWay.length > 0
      ? []
      : [{ verb: goal(known), why: `${other} takes over from ${lead}; no gate is in the way` }]
  const attempt = record?.attempt
  const last =
    attempt?.givenUp == null || attempt.to !== other
      ? ''
      : ` The last cutover was given up: ${attempt.givenUp.why}.`
  const gap =
    record?.gap == null
      ? ''
      : ` It stands still before position ${record.gap.position}: ${record.gap.message}.`
  const missing = unnoted === null ? '' : ` ${unnoted}`
  return {
    explanation: `${before} accepts commits, ${other} follows${behindWords(behind)}.${gap}${last}${missing} ${gateWords(inTheWay)}`,
    next: unique([
      ...(record === undefined && !isTurned ? [{ verb: 'start', why: 'notes the move' } as const] : []),
      ...held,
      ...clearing,
      ...flip,
      ...ends,
    ]),
  }
}

function gateWords(inTheWay: readonly Gate[]): string {
  if (inTheWay.length === 0) return 'No gate is in the way of a cutover.'
  if (inTheWay.every(({ name }) => name === 'not-held')) return 'A cutover is held, and waits for a go.'
  return `In the way of a cutover: ${inTheWay.map(({ name }) => name).join(', ')}.`
}

function behindWords(behind: number): string {
  if (behind === 0) return ' and lacks nothing'
  return behind === 1 ? ', 1 position behind' : `, ${behind} positions behind`
}

function stepFor(name: Gate['name'], found: string): NextStep[] {
  switch (name) {
    case 'lag':
    case 'mover':
    case 'no-gap':
      return [{ verb: 'run', why: found }]
    case 'verified':
      return [{ verb: 'verify', why: found }]
    case 'no-divergence':
      return [{ verb: 'repair', why: found }]
    case 'soak':
      return [{ verb: 'soak', why: found }]
    case 'not-paused':
      return [{ verb: 'resume', why: found }]
    case 'not-held':
      return [{ verb: 'go', why: found }]
    case 'following':
    case 'latency':
    case 'processes':
      return []
  }
}

function unique(steps: readonly NextStep[]): NextStep[] {
  return steps.filter(({ verb }, i) => steps.findIndex((step) => step.verb === verb) === i)
}

function explainSealed(known: Known): Explained {
  const { lead, other, record } = known
  const attempt = record?.attempt?.givenUp === null ? record.attempt : undefined
  const who =
    attempt === undefined ? '' : ` by ${attempt.by ?? 'somebody'}, for ${attempt.maxPauseMs} ms at most`
  return {
    explanation: `${lead} is sealed for a cutover to ${other}${who}: nobody accepts commits, callers wait. Nothing is decided; if whoever does it has died, anybody may go on with it or give it up.`,
    next: [
      { verb: goal(known), why: 'goes on with it' },
      { verb: 'reopen', why: `gives it up: ${lead} accepts commits again, the move goes on` },
      ...(known.isTurned ? [] : [{ verb: 'cancel', why: 'gives the whole move up' } as const]),
    ],
  }
}

function explainUnreachable(known: Known): Explained {
  const { lead, other, source, target, isTurned } = known
  if (source === undefined && target === undefined)
    return {
      explanation: `Neither ${lead} nor ${other} answers.`,
      next: [{ verb: 'status', why: 'when they answer' }],
    }
  const [name, fence, away] = source !== undefined ? [lead, source, other] : [other, target, lead]
  const end = isTurned ? 'complete' : 'cancel'
  switch (fence?.role) {
    case 'authority':
      return {
        explanation: `${away} does not answer. ${name} accepts commits${fence.successor === null ? ' and names no copy' : ', and names the copy that it moves to'}: the application goes on.`,
        next: [
          { verb: 'status', why: `when ${away} answers` },
          ...(fence.successor === null
            ? []
            : [
                {
                  verb: end,
                  why: `if ${away} is gone for good: ${name} names it no more, so it can never open`,
                } as const,
              ]),
        ],
      }
    case 'sealed':
      return {
        explanation: `${away} does not answer. ${name} is sealed for a cutover to it: nobody accepts commits, callers wait. Nothing is decided.`,
        next: [
          { verb: 'reopen', why: `gives the cutover up: ${name} accepts commits again` },
          ...(isTurned ? [] : [{ verb: 'cancel', why: 'gives the whole move up' } as const]),
        ],
      }
    case 'handed-off':
      return {
        explanation: `${away} does not answer. ${name} handed off to the copy there, which alone may accept commits: nothing is lost, but nothing goes on before it answers.`,
        next: [{ verb: 'status', why: `when ${away} answers` }],
      }
    default:
      return {
        explanation: `${away} does not answer. ${name} is ${fence?.role}: who accepts commits cannot be told from it.`,
        next: [{ verb: 'status', why: `when ${away} answers` }],
      }
  }
}
