/** `underpin move start`, `run`, `pause`, `resume`, `set`, `soak`: what goes on while a move is under way. */
import { hostname } from 'node:os'
import type { SoakProgress } from '../../index.ts'
import { exit } from '../exit.ts'
import { Board } from '../move/board.ts'
import { type Foreseen, foreseeNote, foreseeRun, foreseeStart, summaryOf } from '../move/foresee.ts'
import { showClock } from '../move/line.ts'
import { type Copied, type MoverFlags, mirrorAll } from '../move/mover.ts'
import { moveCommand, nextSteps } from '../move/next.ts'
import { type MoveFlags, Pair } from '../move/pair.ts'
import { changeOf, type Setting, settingLines } from '../move/setting.ts'
import type { Output } from '../output.ts'
import { showNumber } from '../text.ts'
import { briefLines, type MoveSummary } from './move.ts'

export interface StartFlags extends MoverFlags {
  readonly detach?: boolean
  readonly set?: readonly Setting[]
}

export async function startMove(
  flags: StartFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  const settings = changeOf(flags.set ?? [])
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'make')
  if (flags.dryRun) return await foreseen(pair, (status) => foreseeStart(status, flags.detach ?? false))
  for (const move of pair.moves) await move.start({ by: byOf(flags), settings })
  if (flags.detach) return await standing(pair, flags)
  return await copied(pair, flags, await mirrorAll(pair, flags, output, signal), signal)
}

export async function runMove(flags: MoverFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun) return await foreseen(pair, foreseeRun)
  return await copied(pair, flags, await mirrorAll(pair, flags, output, signal), signal)
}

export async function pauseMove(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun)
    return await foreseen(pair, (status) =>
      foreseeNote(status, 'tell movers in every process to stop', ({ isPaused }) => !isPaused),
    )
  for (const move of pair.moves) await move.pause()
  return await standing(pair, flags)
}

export async function resumeMove(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun)
    return await foreseen(pair, (status) =>
      foreseeNote(status, 'let movers in every process go on', ({ isPaused }) => isPaused),
    )
  for (const move of pair.moves) await move.resume()
  return await standing(pair, flags)
}

/** Without a setting, says what they are. */
export async function setMove(given: readonly Setting[], flags: MoveFlags): Promise<MoveSummary> {
  const change = changeOf(given)
  await using pair = await Pair.open(flags, flags.dryRun || given.length === 0 ? 'look' : 'use')
  if (flags.dryRun)
    return await foreseen(pair, (status) =>
      foreseeNote(
        status,
        `set ${given.map(([name, value]) => `${name}=${value}`).join(', ')}`,
        ({ settings }) => given.some(([name, value]) => !settingLines(settings).includes(`${name}=${value}`)),
      ),
    )
  if (given.length > 0) for (const move of pair.moves) await move.set(change)
  const statuses = await pair.statuses()
  return {
    data: { domains: statuses.map(({ domain, record }) => ({ domain, settings: record?.settings ?? null })) },
    lines: statuses.flatMap(({ domain, record }) =>
      record === undefined
        ? [`${domain} is in no move`]
        : [domain, ...settingLines(record.settings).map((line) => `  ${line}`)],
    ),
    warnings: pair.warnings,
  }
}

export interface SoakFlags extends MoveFlags {
  readonly for?: number
}

/** Ends when the gates have held for the time; `gates.soakMs` of the settings if none is given. */
export async function soakMove(flags: SoakFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, flags.dryRun ? 'look' : 'use')
  if (flags.dryRun)
    return await foreseen(pair, (status) =>
      foreseeNote(status, 'watch the gates, and note since when they hold', () => true),
    )
  const latest = new Map<string, SoakProgress>()
  const statuses = await pair.statuses()
  const soaking = pair.moves.map((move, i) => {
    const wanted = statuses[i]?.record?.settings.gates.soakMs ?? 0
    const forMs = flags.for === undefined ? wanted : flags.for * 1_000
    return move.soak({ forMs, signal, onProgress: (progress) => latest.set(move.domain, progress) })
  })
  await new Board(flags, output).during(Promise.all(soaking), () => ({
    lines: [...latest].map(([name, now]) => soakLine(name, now)),
    records: [...latest].map(([name, now]) => ({ kind: 'progress', verb: 'soak', domain: name, ...now })),
  }))
  return await standing(pair, flags)
}

function soakLine(domain: string, { soakedMs, forMs, failing }: SoakProgress): string {
  const why = failing.map(({ name }) => name).join(', ')
  const held = `${domain}  all gates held for ${showClock(soakedMs)} of ${showClock(forMs)}`
  return failing.length === 0 ? held : `${held}; in the way: ${why}`
}

/** Where the moves stand behind a mover, and what it copied. */
async function copied(
  pair: Pair,
  flags: MoveFlags,
  done: readonly Copied[],
  signal: AbortSignal,
): Promise<MoveSummary> {
  const { data, lines = [], nextSteps: steps = [], ...rest } = await standing(pair, flags)
  const goOn = { why: 'Go on with it', command: moveCommand('run', flags) }
  const others = steps.filter(({ command }) => command !== goOn.command)
  return {
    ...rest,
    data: { ...(data as object), copied: done },
    lines: [
      ...done.map(({ domain, records }) => `${domain}: this mover copied ${showNumber(records)} records`),
      ...lines,
    ],
    nextSteps: signal.aborted ? [goOn, ...others] : steps,
  }
}

/** Where the moves stand at the end of a command. */
export async function standing(pair: Pair, flags: MoveFlags): Promise<MoveSummary> {
  const statuses = await pair.statuses()
  return {
    data: { domains: statuses },
    lines: statuses.flatMap(briefLines),
    warnings: pair.warnings,
    nextSteps: nextSteps(statuses, flags),
  }
}

/** The end of a dry run: `pending` if there is something to do, `blocked` if it would be refused. */
export async function foreseen(
  pair: Pair,
  foresee: (status: Awaited<ReturnType<Pair['statuses']>>[number]) => Foreseen,
): Promise<MoveSummary> {
  const statuses = await pair.statuses()
  const summary = summaryOf(statuses.map(foresee))
  const isRefused = summary.exitCode === exit.blocked
  return {
    ...summary,
    warnings: pair.warnings,
    nextSteps: isRefused ? nextSteps(statuses, pair.flags) : [],
  }
}

/** Who does it, for the record: as given, else who is logged in where. */
export function byOf({ by }: MoveFlags): string {
  const { USER, USERNAME } = process.env
  return by ?? `${USER ?? USERNAME ?? `uid-${process.getuid?.()}`}@${hostname()}`
}
