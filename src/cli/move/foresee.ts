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
  if (phase === 'completed') return refused(domain, `the move is completed: ${to} has it`)
  if (phase === 'reversed') return refused(domain, `it was cut over: ${to} has it`)
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
  if (isThere(status, goal)) return { domain, steps: [], refusals: [] }
  if (phase === 'none') return refused(domain, 'it is in no move')
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
  return authority === (goal === 'to' ? to : from) && phase !== 'turning'
}

export function foreseeDrill(status: MoveStatus, flags: CutoverFlags): Foreseen {
  const there = foreseeCutover(status, 'to', flags)
  if (there.steps.length === 0) return there
  return { ...there, steps: [...there.steps, `the same back to ${status.from}`] }
}

export function foreseeComplete({ domain, from, to, phase }: MoveStatus): Foreseen {
  if (phase === 'completed') return { domain, steps: [], refusals: [] }
  if (phase !== 'reversed' && phase !== 'decided' && phase !== 'turning')
    return refused(domain, `it is not cut over: the move is ${phase}`)
  return {
    domain,
    steps: [
      `${to} follows nobody and names nobody any more`,
      `the copy on ${from} is poisoned: it never opens again, and there is no way back`,
    ],
    refusals: [],
  }
}

export function foreseeCancel({ domain, from, to, phase }: MoveStatus): Foreseen {
  if (phase === 'none') return { domain, steps: [], refusals: [] }
  if (phase === 'reversed' || phase === 'completed') return refused(domain, `it is on ${to}: roll back first`)
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
  const steps = sealed === undefined ? [] : [`open ${sealed} again: it accepts commits, the move goes on`]
  return { domain, steps, refusals: [] }
}

/** A note in the domain that all processes heed. */
export function foreseeNote(
  { domain, record }: MoveStatus,
  what: string,
  isNewIn: (record: NonNullable<MoveStatus['record']>) => boolean,
): Foreseen {
  if (record === undefined) return refused(domain, 'it is in no move')
  return { domain, steps: isNewIn(record) ? [what] : [], refusals: [] }
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
