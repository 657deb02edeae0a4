/** The ways that a move is driven, from its start to its end, and the one command that goes on from wherever it was left. */
import { type Backend, isUnderpinError, type Move, type Phase, systemClock } from '../../../src/index.ts'
import { mirrorPage } from '../../../src/move/mirror.ts'
import { decide, seal } from '../../../src/move/protocol.ts'
import { defaultSettings } from '../../../src/move/settings.ts'
import { look, type Sides, take } from '../../../src/move/sides.ts'

export type Verb = 'start' | 'copy' | 'verify' | 'cutover' | 'rollback' | 'complete' | 'cancel'

/** What is done to the stores themselves, between the verbs. */
export type Act = 'refuse pages behind a seal' | 'strand'

export type Way = readonly (Verb | Act)[]

/** Together they take every step of the protocol, in both directions. */
export const ways: readonly Way[] = [
  ['start', 'copy', 'verify', 'cutover', 'copy', 'rollback', 'cutover', 'complete'],
  ['start', 'copy', 'cancel', 'start', 'copy', 'cancel'],
  ['start', 'copy', 'verify', 'refuse pages behind a seal', 'cutover', 'cancel'],
  ['start', 'copy', 'verify', 'strand', 'cancel'],
]

/** The gates are not what is proven here; those without which something could be lost cannot be overridden. */
export const anyway = { by: 'the proof', force: true }

const verbs: Readonly<Record<Verb, (move: Move) => Promise<unknown>>> = {
  start: (move) =>
    // One end may answer within the call and the other over a network; and a page has few records, so that there are many.
    move.start({ settings: { pageItems: 10, gates: { ...defaultSettings.gates, latencyFactor: 1e9 } } }),
  copy: (move) => move.catchUp(),
  verify: (move) => move.verify(),
  cutover: (move) => move.cutover(anyway),
  rollback: (move) => move.rollback(anyway),
  complete: (move) => move.complete(),
  cancel: (move) => move.cancel(),
}

export const isVerb = (step: Verb | Act): step is Verb => step in verbs

export function drive(move: Move, verb: Verb): Promise<unknown> {
  return verbs[verb](move)
}

/** Where a domain may stay: everything else is between two steps. */
const restful: readonly Phase[] = ['none', 'mirroring', 'reversed', 'completed']

const goals: Readonly<Record<Verb, (phase: Phase) => boolean>> = {
  start: (phase) => phase === 'mirroring',
  copy: (phase) => restful.includes(phase),
  verify: (phase) => restful.includes(phase),
  cutover: (phase) => phase === 'reversed',
  rollback: (phase) => phase === 'mirroring',
  complete: (phase) => phase === 'completed',
  cancel: (phase) => phase === 'none',
}

/**
 * One command, given once, from wherever the move stands: the one that was interrupted, or one that takes it back. A refusal
 * counts if the goal was reached already. Says what is wrong behind it; empty if nothing is.
 */
export async function resolve(move: Move, interrupted: Verb, takesBack: boolean): Promise<string> {
  const before = await move.status()
  const verb = takesBack ? backwards(interrupted, before.phase) : interrupted
  try {
    await drive(move, verb)
  } catch (error) {
    if (!isUnderpinError(error, 'gate')) return `${verb} from ${before.phase}: ${error}`
  }
  const { phase } = await move.status()
  return goals[verb](phase) ? '' : `${verb} from ${before.phase} led to ${phase}`
}

function backwards(interrupted: Verb, phase: Phase): Verb {
  if (interrupted === 'start' || interrupted === 'copy') return phase === 'reversed' ? 'rollback' : 'cancel'
  if (interrupted !== 'cutover') return interrupted
  return phase === 'sealed' || phase === 'mirroring' ? 'cancel' : 'rollback'
}

/** What a clean-up that knew nothing of the cutover leaves: decided for a copy that was poisoned since. */
export async function strand(domain: string, source: Backend, target: Backend): Promise<void> {
  const sides: Sides = { domain, source, target, clock: systemClock }
  await take(sides, seal(await look(sides)))
  for (let isBehind = true; isBehind; ) {
    const { position, head } = await mirrorPage(sides)
    isBehind = position < head
  }
  await take(sides, decide(await look(sides)))
  const copy = await target.fence(domain)
  await target.transition(domain, copy, { ...copy, role: 'poisoned', successor: null })
}
