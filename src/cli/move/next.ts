/** What can be done from where a move stands: the commands to copy. */
import { type MoveStatus, maskSecrets } from '../../index.ts'
import type { NextStep } from '../output.ts'
import { quoteForShell } from '../text.ts'
import type { MoveFlags } from './pair.ts'

/** What each move says can be done, as commands; for several domains, each command once. */
export function nextSteps(statuses: readonly MoveStatus[], flags: MoveFlags): readonly NextStep[] {
  const byVerb = new Map(statuses.flatMap(({ next }) => next).map((step) => [step.verb, step]))
  return [...byVerb.values()].map(({ why, verb }) => ({ why, command: moveCommand(verb, flags) }))
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
