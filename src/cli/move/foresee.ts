/** What a command would do to a move, by where it stands: for --dry-run, and for who is asked to confirm. */
import type { Gate, MoveStatus } from '../../index.ts'
import { type ExitCode, exit } from '../exit.ts'
import type { Summary } from '../output.ts'
import { escapeText, showNumber } from '../text.ts'

export interface Foreseen {
  readonly domain: string
  /** In the order in which they would be taken; empty if there is nothing to do. */
  readonly steps: readonly string[]
  /** Why it would be refused; empty if it would not. */
  readonly refusals: readonly string[]
}

export interface CutoverFlags {
  readonly force?: boolean
  readonly hold?: boolean
}

export function foreseeStart(status: MoveStatus, isDetached: boolean): Foreseen {
  const { domain, from, to, phase } = status
  const copying = isDetached ? [] : [`copy ${from} to ${to}, then go on copying until interrupted`]
  if (phase === 'unreachable') return refused(domain, silence(status))
  if (phase === 'completed') return refused(domain, `the move is completed: ${to} has it`)
  if (leads(status, 'to')) return refused(domain, `it was cut over: ${to} has it`)
  if (phase === 'sealed') return refused(domain, `it is being cut over to ${to}`)
  const taken = phase === 'none' ? whyNoCopy(status) : undefined
  if (taken !== undefined) return refused(domain, taken)
  if (phase === 'none')
    return {
      domain,
      steps: [
        `make an empty copy of ${domain} on ${to}`,
        `name that copy at ${from}, which goes on accepting commits`,
        'note the move in the domain',
        ...copying,
      ],
      refusals: [],
    }
  const isBegun = phase === 'mirroring' && status.record !== undefined
  return {
    domain,
    steps: [...(isBegun ? [] : ['go on with the start that was broken off']), ...copying],
    refusals: [],
  }
}

/** Why no copy can be made at the target, if none can. */
function whyNoCopy({ from, to, fences }: MoveStatus): string | undefined {
  const [source, target] = [fences[from], fences[to]]
  if (source?.role !== 'authority') return `${from} does not hold authority: it is ${source?.role}`
  if (source.successor !== null && source.successor !== target?.incarnation)
    return `${from} is moving to another copy already: end that move first`
  const isTaken = target?.role === 'authority' || target?.role === 'sealed' || target?.role === 'handed-off'
  return isTaken ? `${to} has a domain of that name, which was not given up: it is ${target.role}` : undefined
}

export function foreseeRun({ domain, from, to, phase, position, head }: MoveStatus): Foreseen {
  const [source, target] = phase === 'reversed' ? [to, from] : [from, to]
  if (phase === 'none') return refused(domain, 'it is in no move')
  if (phase === 'completed') return refused(domain, 'the move is completed')
  const left =
    position === null || head === null ? '' : ` ${showNumber(Math.max(0, head - position))} positions`
  return {
    domain,
    steps: [`copy${left} from ${source} to ${target}, and what comes, until interrupted`],
    refusals: [],
  }
}

/** A cutover to the target, or back from it. */
export function foreseeCutover(status: MoveStatus, goal: 'to' | 'from', flags: CutoverFlags): Foreseen {
  const { domain, phase } = status
  const [source, target] = goal === 'to' ? [status.from, status.to] : [status.to, status.from]
  if (phase === 'none') return refused(domain, 'it is in no move')
  if (isThere(status, goal)) return { domain, steps: [], refusals: [] }
  if (phase === 'completed') return refused(domain, 'the move is completed')
  const fence = status.fences[source]
  return {
    domain,
    steps: [
      ...(flags.hold ? ['wait, ready, until underpin move go'] : []),
      `seal ${domain} on ${source}${fence === undefined ? '' : ` at epoch ${fence.epoch + 1}`}: commits wait inside their calls`,
      `copy what is left, and compare head and digest of ${source} and ${target}`,
      `decide for ${target}; if that takes too long, open ${source} again`,
      `open ${target}: the commits that wait go there`,
      `let ${source} follow ${target}, so that it can be undone`,
    ],
    refusals: inTheWay(status.gates, flags).map(({ name, found, clears }) => `${name}: ${found}. ${clears}`),
  }
}

/** Whether a domain is on one of its sides, with nothing left to be done for that. */
export function isThere({ authority, phase, from, to }: MoveStatus, goal: 'to' | 'from'): boolean {
  return authority === (goal === 'to' ? to : from) && phase !== 'turning' && phase !== 'none'
}

export function foreseeDrill(status: MoveStatus, flags: CutoverFlags): Foreseen {
  if (isThere(status, 'to')) return refused(status.domain, `it is on ${status.to} already`)
  const there = foreseeCutover(status, 'to', flags)
  if (there.steps.length === 0) return there
  return { ...there, steps: [...there.steps, `the same back to ${status.from}`] }
}

export function foreseeComplete(status: MoveStatus): Foreseen {
  const { domain, from, to, phase } = status
  if (phase === 'completed') return { domain, steps: [], refusals: [] }
  const unknown = whoLeadsIsUnknown(status)
  if (unknown !== undefined) return refused(domain, unknown)
  if (!leads(status, 'to')) return refused(domain, `it is not cut over: the move is ${phase}`)
  return {
    domain,
    steps: [
      `${to} follows nobody and names nobody any more`,
      `the copy on ${from} is poisoned: it never opens again, and there is no way back`,
    ],
    refusals: [],
  }
}

export function foreseeCancel(status: MoveStatus): Foreseen {
  const { domain, from, to, phase } = status
  if (phase === 'none' && status.record === undefined) return { domain, steps: [], refusals: [] }
  const unknown = whoLeadsIsUnknown(status)
  if (unknown !== undefined) return refused(domain, unknown)
  if (leads(status, 'to')) return refused(domain, `it is on ${to}: roll back first`)
  return {
    domain,
    steps: [
      `${from} names nobody any more, and goes on accepting commits`,
      `the copy on ${to} is poisoned: another move begins with an empty one`,
    ],
    refusals: [],
  }
}

export function foreseeReopen({ domain, from, to, phase, fences }: MoveStatus): Foreseen {
  if (phase === 'decided') return refused(domain, 'the cutover is decided: it can only go forwards')
  const sealed = [from, to].find((name) => fences[name]?.role === 'sealed')
  if (sealed === undefined) return refused(domain, 'it is not sealed')
  return { domain, steps: [`open ${sealed} again: it accepts commits, the move goes on`], refusals: [] }
}

export function foreseeGo(status: MoveStatus): Foreseen {
  const { domain, record } = status
  if (record !== undefined && !record.isHeld) return refused(domain, 'it has no cutover that is held')
  return foreseeNote(status, 'let the cutover that is held go on', () => true)
}

/** A note in the domain that all processes heed. */
export function foreseeNote(
  status: MoveStatus,
  what: string,
  isNewIn: (record: NonNullable<MoveStatus['record']>) => boolean,
): Foreseen {
  const { domain, record, phase } = status
  if (phase === 'unreachable') return refused(domain, silence(status))
  if (record === undefined || phase === 'none' || phase === 'completed')
    return refused(domain, 'it is in no move')
  return { domain, steps: isNewIn(record) ? [what] : [], refusals: [] }
}

/** Whether a side leads, once what was broken off behind a decision is gone on with, as every command does first. */
function leads({ phase, from, to, authority, fences }: MoveStatus, side: 'from' | 'to'): boolean {
  const [name, other] = side === 'to' ? [to, from] : [from, to]
  if (phase === 'decided') return fences[other]?.role === 'handed-off'
  const role = phase === 'stranded' ? 'handed-off' : 'sealed'
  return authority === name || fences[name]?.role === role
}

/** Why the move cannot be ended while a side does not answer, if the other one does not say who leads. */
function whoLeadsIsUnknown(status: MoveStatus): string | undefined {
  const { phase, fences } = status
  const isKnown = Object.values(fences).some(({ role }) => role === 'authority' || role === 'sealed')
  return phase === 'unreachable' && !isKnown ? silence(status) : undefined
}

function silence({ unreachable }: MoveStatus): string {
  return unreachable.map(({ backend, message }) => `${backend} does not answer: ${message}`).join('; ')
}

/** The end of a dry run: exit code 3 if there is something to do, 7 if it would be refused. */
export function summaryOf(domains: readonly Foreseen[]): Summary & { readonly exitCode: ExitCode } {
  const isRefused = domains.some(({ refusals }) => refusals.length > 0)
  return {
    isOk: domains.every(({ steps, refusals }) => steps.length === 0 && refusals.length === 0),
    exitCode: isRefused ? exit.blocked : exit.pending,
    data: { isDryRun: true, domains },
    lines: domains.flatMap(linesOf),
  }
}

export function linesOf({ domain, steps, refusals }: Foreseen): string[] {
  if (steps.length === 0 && refusals.length === 0) return [`${domain}: nothing to do`]
  return [
    ...steps.map((step, i) => `${domain}: step ${i + 1}: ${step}`),
    ...refusals.map((why) => `${domain}: REFUSED  ${why}`),
  ].map(escapeText)
}

function inTheWay(gates: readonly Gate[], { force = false }: CutoverFlags): readonly Gate[] {
  return gates.filter(({ holds, canForce }) => !holds && !(force && canForce))
}

function refused(domain: string, why: string): Foreseen {
  return { domain, steps: [], refusals: [why] }
}
