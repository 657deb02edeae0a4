/** What can be done from where a move stands: the commands to copy. */
import { isUnderpinError, type MoveStatus, maskSecrets } from '../../index.ts'
import type { NextStep } from '../output.ts'
import { quoteForShell } from '../text.ts'
import { type MoveFlags, Pair } from './pair.ts'

/** What each move says can be done, as commands; for several domains, each command once. */
export function nextSteps(statuses: readonly MoveStatus[], flags: MoveFlags): readonly NextStep[] {
  const byVerb = new Map(statuses.flatMap(({ next }) => next).map((step) => [step.verb, step]))
  return [...byVerb.values()].map(({ why, verb }) => ({ why, command: moveCommand(verb, flags) }))
}

/** What can be done where a command was refused, by where the move stands now. */
export async function stepsAfterRefusal(error: unknown, flags: MoveFlags): Promise<readonly NextStep[]> {
  if (!isUnderpinError(error, 'gate')) return []
  try {
    await using pair = await Pair.open(flags, 'look')
    const statuses = await pair.statuses()
    const steps = nextSteps(statuses, flags)
    if (steps.length > 0) return steps
    return statuses.map(({ explanation }) => ({ why: explanation, command: moveCommand('status', flags) }))
  } catch (failure) {
    // The refusal is what is told; why no advice can be given, the next command tells.
    if (isUnderpinError(failure)) return []
    throw failure
  }
}

/** `underpin move VERB` for the same stores and domains; what the environment says is left out. */
export function moveCommand(verb: string, flags: MoveFlags, ...more: readonly string[]): string {
  const { UNDERPIN_STORE, UNDERPIN_TO, UNDERPIN_DOMAIN } = process.env
  const given = [
    ...option('-s', flags.store, UNDERPIN_STORE),
    ...option('--to', flags.to, UNDERPIN_TO),
    ...option('-d', flags.domain, UNDERPIN_DOMAIN),
    ...option('--names', flags.names, undefined),
    ...more,
  ]
  return ['underpin', 'move', verb, ...given.map(quoteForShell).map(maskSecrets)].join(' ')
}

function option(name: string, value: string | undefined, fromEnvironment: string | undefined) {
  return value === undefined || value === fromEnvironment ? [] : [name, value]
}
