/** `underpin move plan`, `status`, `gaps`, `report`, `shadow`: what a move would meet, where it stands, how it went. */
import {
  type CutoverReport,
  type MovePlan,
  type MoveStatus,
  type Prediction,
  systemClock,
} from '../../index.ts'
import { type ExitCode, exit } from '../exit.ts'
import { Board, pause } from '../move/board.ts'
import { gateLines, showClock, statusLine } from '../move/line.ts'
import { moveCommand, nextSteps } from '../move/next.ts'
import { type MoveFlags, Pair } from '../move/pair.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { counted, escapeText, showNumber, showTime, toTable } from '../text.ts'

/** The end of a command about moves, with the exit code if it is not `ok`. */
export interface MoveSummary extends Summary {
  readonly exitCode?: ExitCode
}

export interface PlanFlags extends MoveFlags {
  readonly probe?: boolean
  readonly maxRecords?: number
}

export async function planMove(flags: PlanFlags, output: Output, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, 'look')
  const progress = new Progress('plan', flags, output)
  const plans: MovePlan[] = []
  try {
    for (const move of pair.moves)
      plans.push(
        await move.plan({
          signal,
          onProgress(read, of) {
            void progress.update(read, of)
          },
          ...(flags.probe === undefined ? {} : { probe: flags.probe }),
          ...(flags.maxRecords === undefined ? {} : { maxRecords: flags.maxRecords }),
        }),
      )
  } finally {
    progress.end()
  }
  const canStart = plans.every((plan) => plan.canStart)
  return {
    isOk: canStart,
    exitCode: exit.blocked,
    data: { domains: plans, stores: pair.stores },
    lines: [...plans.flatMap(planLines), escapeText(pair.legend)],
    warnings: [...pair.warnings, ...(await pair.statuses()).flatMap(misplaced)],
    nextSteps: canStart ? [{ why: 'Begin', command: moveCommand('start', flags) }] : [],
  }
}

function planLines({ domain, from, to, counts, copy, pause, issues, issuesLeftOut }: MovePlan): string[] {
  const about = counts?.isExact === false ? 'about ' : ''
  return [
    `${domain}  ${from} → ${to}`,
    ...(counts === undefined
      ? []
      : [
          `  ${about}${showNumber(counts.records)} records: ${showNumber(counts.events)} events in ${showNumber(counts.streams)} streams, ${showNumber(counts.documents)} documents, ${showNumber(counts.tombstones)} tombstones; ${showNumber(counts.characters)} characters of JSON`,
        ]),
    ...(copy === undefined
      ? []
      : [`  the copy would take ${predicted(copy, (ms) => showClock(ms))} (${copy.basis})`]),
    ...(pause === undefined
      ? []
      : [`  callers would wait ${predicted(pause, (ms) => `${ms.toFixed(0)} ms`)} (${pause.basis})`]),
    ...issues.map(({ kind, message, hint }) => `  ${kind.toUpperCase()}  ${message}. ${hint}`),
    ...(issuesLeftOut > 0 ? [`  and ${showNumber(issuesLeftOut)} more`] : []),
  ].map(escapeText)
}

/** A flag says where an operator wants a domain; it never changes where the domain is. */
function misplaced({ domain, authority }: MoveStatus): string[] {
  const flag = `${domain.toUpperCase().replaceAll('-', '_')}_STORE`
  const wanted = process.env[flag]
  if (wanted === undefined || wanted === '' || authority === null || wanted === authority) return []
  return [
    `${flag}=${wanted} wants ${domain} on ${wanted}; it is on ${authority}, and only a cutover changes that`,
  ]
}

function predicted({ ms, lowMs, highMs }: Prediction, show: (ms: number) => string): string {
  return `${show(ms)}, between ${show(lowMs)} and ${show(highMs)}`
}

export interface WatchFlags extends MoveFlags {
  readonly watch?: boolean
}

export async function moveStatus(
  flags: WatchFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, 'look')
  const statuses = flags.watch ? await watchStatuses(pair, flags, output, signal) : await pair.statuses()
  return {
    isOk: statuses.every(({ unreachable }) => unreachable.length === 0),
    exitCode: exit.unreachable,
    data: { domains: statuses, stores: pair.stores },
    lines: [...statuses.flatMap(statusLines), escapeText(pair.legend)],
    warnings: pair.warnings,
    nextSteps: nextSteps(statuses, flags),
  }
}

/** Where a move stands: its line, why, and every gate. */
function statusLines(status: MoveStatus): string[] {
  const isGated = status.phase === 'mirroring' || status.phase === 'reversed'
  return [...briefLines(status), ...(isGated ? gateLines(status.gates).map((line) => `  ${line}`) : [])]
}

/** The same without the gates, which its words tell of. */
export function briefLines(status: MoveStatus): string[] {
  const { explanation, unreachable, degraded } = status
  return [
    statusLine(status),
    ...[
      explanation,
      ...degraded.map(({ process: who }) => `${who} does not wait for the copy, which does not keep up`),
      ...unreachable.map(({ backend, message }) => `${backend} does not answer: ${message}`),
    ].map((line) => `  ${escapeText(line)}`),
  ]
}

/** Looks once a second, until it is interrupted or nothing moves any more. */
async function watchStatuses(
  pair: Pair,
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<readonly MoveStatus[]> {
  let statuses = await pair.statuses()
  const isOver = () => statuses.every(({ phase }) => phase === 'none' || phase === 'completed')
  const watching = async () => {
    for (; !isOver() && !signal.aborted; statuses = await pair.statuses()) await pause(1_000, signal)
  }
  await new Board(flags, output).during(watching(), () => ({
    lines: statuses.flatMap(statusLines),
    records: statuses.map((status) => ({ kind: 'status', ...status })),
  }))
  return statuses
}

/** What the target does not take. None is the good news; one is a gate in the way. */
export async function moveGaps(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, 'look')
  const statuses = await pair.statuses()
  const domains = statuses.map(({ domain, record }) => ({ domain, gaps: record?.gap ? [record.gap] : [] }))
  const unknown = statuses.filter(isUnknown)
  const unbegun = statuses.filter((status) => status.record === undefined && !isUnknown(status))
  const rows = domains.flatMap(({ domain, gaps }) =>
    gaps.map(({ position, code, message }) => [domain, position, code, message]),
  )
  const isSilent = unknown.some(({ unreachable }) => unreachable.length > 0)
  const hasNone = rows.length === 0 && unknown.length === 0 && unbegun.length < statuses.length
  return {
    isOk: rows.length === 0 && unknown.length === 0,
    exitCode: rows.length > 0 ? exit.blocked : isSilent ? exit.unreachable : exit.failure,
    data: { domains },
    lines: [
      ...unbegun.map(({ domain }) => `${domain} is in no move`),
      ...unknown.flatMap(unknownLines),
      ...(rows.length > 0 ? toTable(['domain', 'position', 'code', ''], rows) : []),
      ...(hasNone ? [noGaps] : []),
    ],
    warnings: pair.warnings,
    nextSteps: nextSteps([...unbegun, ...unknown], flags),
  }
}

/** Gaps are noted at the source alone, in the record: without either, nobody can tell. */
function isUnknown({ record, unnoted, unreachable }: MoveStatus): boolean {
  return unreachable.length > 0 || (record === undefined && unnoted !== null)
}

function unknownLines(status: MoveStatus): string[] {
  return [`${status.domain}: whether there are gaps cannot be told`, ...briefLines(status).slice(1)]
}

const noGaps = 'No gaps: the target took everything so far.'

export async function moveReport(flags: MoveFlags): Promise<MoveSummary> {
  await using pair = await Pair.open(flags, 'look')
  const domains = await Promise.all(
    pair.moves.map(async (move) => ({ domain: move.domain, cutovers: await move.report() })),
  )
  return {
    data: { domains },
    lines: domains.flatMap(({ domain, cutovers }) => reportLines(domain, cutovers)),
    warnings: pair.warnings,
  }
}

/** Each cutover of a domain, and how its callers took it. */
export function reportLines(domain: string, cutovers: readonly CutoverReport[]): string[] {
  if (cutovers.length === 0) return [`${domain}: it was never cut over`]
  return cutovers.flatMap((cutover) => cutoverLines(domain, cutover)).map(escapeText)
}

/** Processes note how long their callers waited when nobody has waited for a moment. */
const notedWithinMs = 5_000

function unnoted(at: number): string {
  const isRecent = systemClock.now() - at < notedWithinMs
  return isRecent
    ? 'how long callers waited, their processes note in a moment: underpin move report'
    : 'no process noted that its callers waited'
}

function cutoverLines(domain: string, report: CutoverReport): string[] {
  const { at, from, to, by, head, digest, isForced, pauseMs, drained, callers, verified } = report
  const who = `${by === null ? '' : `  by ${by}`}${isForced ? '  FORCED' : ''}`
  const paused =
    pauseMs === null
      ? 'the pause is not known: whoever began it did not live to tell'
      : `${pauseMs.toFixed(1)} ms without authority, ${showNumber(drained ?? 0)} records copied meanwhile`
  const ms = (value: number) => `${value.toFixed(0)} ms`
  const waited =
    callers === null
      ? unnoted(at)
      : `${counted(callers.count, 'caller', 'callers')} in ${counted(callers.processes, 'process', 'processes')} waited: half of them up to ${ms(callers.p50Ms)}, 99 of 100 up to ${ms(callers.p99Ms)}, the longest ${ms(callers.maxMs)}`
  const compared = verified === null ? 'never verified' : `${showNumber(verified.compared)} records verified`
  return [
    `${domain}  ${showTime(at)}  ${from} → ${to}  at position ${showNumber(head)}  digest ${digest.slice(0, 12)}${who}`,
    `  ${paused}`,
    `  ${waited}`,
    `  before it: ${compared}, ${showNumber(report.gaps)} gaps, ${showNumber(report.repaired)} repairs`,
  ]
}
