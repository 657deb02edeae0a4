/** `underpin move cutover`, `rollback`, `drill`, `go`, `reopen`, `complete`, `cancel`: who holds authority, and how a move ends. */
import type { CutOptions, CutoverReport, MoveStatus } from '../../index.ts'
import { Board } from '../move/board.ts'
import { confirm } from '../move/confirm.ts'
import {
  type Foreseen,
  foreseeCancel,
  foreseeComplete,
  foreseeCutover,
  foreseeDrill,
  foreseeGo,
  foreseeReopen,
  isThere,
  linesOf,
} from '../move/foresee.ts'
import { moveCommand, nextSteps } from '../move/next.ts'
import { type MoveFlags, Pair } from '../move/pair.ts'
import type { Output } from '../output.ts'
import { briefLines, type MoveSummary, reportLines } from './move.ts'
import { byOf, foreseen, standing } from './move-drive.ts'

export interface CutFlags extends MoveFlags {
  readonly maxPause?: number
  readonly hold?: boolean
  readonly force?: boolean
}

/** Takes the domains to the target, which somebody has to confirm. */
export async function cutOver(flags: CutFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  const foresee = (status: MoveStatus) => foreseeCutover(status, 'to', flags)
  if (flags.dryRun) return await foreseen(pair, foresee)
  await confirmed(pair, foresee, flags, output, signal)
  if (flags.hold) await tellHeld(pair, foresee, flags, output)
  return await reported(pair, flags, await cut(pair, 'cutover', optionsOf(flags, signal)))
}

/** Back to the source: nobody is asked, because it may have to be quick. */
export async function rollBack(flags: CutFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  const foresee = (status: MoveStatus) => foreseeCutover(status, 'from', flags)
  if (flags.dryRun) return await foreseen(pair, foresee)
  if (flags.hold) await tellHeld(pair, foresee, flags, output)
  return await reported(pair, flags, await cut(pair, 'rollback', optionsOf(flags, signal)))
}

/** Whoever holds waits at a terminal, and should know for what. */
async function tellHeld(
  pair: Pair,
  foresee: (status: MoveStatus) => Foreseen,
  flags: CutFlags,
  output: Output,
): Promise<void> {
  const board = new Board(flags, output)
  const held = (await pair.statuses())
    .map(foresee)
    .filter(({ steps, refusals }) => steps.length > 0 && refusals.length === 0)
  if (held.length === 0) return
  for (const { domain } of held)
    board.tell(`${domain} is held: it copies on, and waits for a go; interrupted, it is given up`)
  board.tell(`Let it go on, from any terminal:\n  ${moveCommand('go', flags)}`)
}

export async function drillMove(flags: CutFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  const foresee = (status: MoveStatus) => foreseeDrill(status, flags)
  if (flags.dryRun) return await foreseen(pair, foresee)
  await confirmed(pair, foresee, flags, output, signal)
  const { hold: _, ...options } = optionsOf(flags, signal)
  const drills = [...(await pair.all.drill(options))]
  const cutovers = drills.flatMap(([domain, { there, back }]) => [
    [domain, there] as const,
    [domain, back] as const,
  ])
  return await reported(pair, flags, cutovers)
}

export async function goMove(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun) return await foreseen(pair, foreseeGo)
  for (const move of pair.moves) await move.go()
  return {
    data: { domains: await pair.statuses() },
    lines: pair.domains.map((domain) => `${domain} goes on: whoever holds it cuts it over now`),
    warnings: pair.warnings,
    nextSteps: [{ why: 'See how it went', command: moveCommand('report', flags) }],
  }
}

export async function reopenMove(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun) return await foreseen(pair, foreseeReopen)
  for (const move of pair.moves) await move.reopen()
  return await standing(pair, flags)
}

export async function completeMove(
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  return end('complete', foreseeComplete, flags, output, signal)
}

export async function cancelMove(
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  return end('cancel', foreseeCancel, flags, output, signal)
}

async function end(
  verb: 'complete' | 'cancel',
  foresee: (status: MoveStatus) => Foreseen,
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  // A copy that is given up may be gone, with all of its store.
  await using pair = await Pair.open(flags, flags.dryRun || verb === 'cancel' ? 'look' : 'use')
  if (flags.dryRun) return await foreseen(pair, foresee)
  await confirmed(pair, foresee, flags, output, signal)
  const owed: string[] = []
  for (const move of pair.moves) {
    const ending = await move[verb]({ by: byOf(flags) })
    if (ending.owed !== null) owed.push(`${move.domain}: ${ending.owed}`)
  }
  const summary = await standing(pair, flags)
  return { ...summary, warnings: [...pair.warnings, ...owed] }
}

async function confirmed(
  pair: Pair,
  foresee: (status: MoveStatus) => Foreseen,
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const what = (await pair.statuses()).flatMap((status) => linesOf(foresee(status)))
  await confirm(what, pair.domains, flags, output, signal)
}

function optionsOf(flags: CutFlags, signal: AbortSignal): CutOptions {
  const { maxPause, hold, force } = flags
  return {
    ...{ by: byOf(flags), signal },
    ...(maxPause === undefined ? {} : { maxPauseMs: maxPause }),
    ...(hold === undefined ? {} : { hold }),
    ...(force === undefined ? {} : { force }),
  }
}

/** Domains that are where they shall be are left alone: a command that is given twice does no more than once. */
async function cut(pair: Pair, verb: 'cutover' | 'rollback', options: CutOptions): Promise<readonly Done[]> {
  const [only, ...others] = pair.moves
  if (only === undefined || others.length > 0) return [...(await pair.all[verb](options))]
  if (isThere(await only.status(), verb === 'cutover' ? 'to' : 'from')) return []
  return [[only.domain, await only[verb](options)]]
}

type Done = readonly [domain: string, report: CutoverReport]

/** The reports of what was just done, then where it stands. */
async function reported(pair: Pair, flags: MoveFlags, cutovers: readonly Done[]): Promise<MoveSummary> {
  const statuses = await pair.statuses()
  return {
    data: { domains: statuses, cutovers: cutovers.map(([domain, report]) => ({ domain, ...report })) },
    lines: [
      ...(cutovers.length === 0 ? ['Nothing to do: it is there already.'] : []),
      ...cutovers.flatMap(([domain, report]) => reportLines(domain, [report])),
      ...statuses.flatMap(briefLines),
    ],
    warnings: pair.warnings,
    nextSteps: nextSteps(statuses, flags),
  }
}
