/** `underpin move verify`, `repair`, `shadow`: whether both sides are the same, and making them so. */
import type { CompareOptions, Comparison, Difference, RepairReport, ShadowReport } from '../../index.ts'
import { exit } from '../exit.ts'
import { nextSteps } from '../move/next.ts'
import { type MoveFlags, Pair } from '../move/pair.ts'
import type { Output } from '../output.ts'
import { Progress } from '../progress.ts'
import { counted, escapeText, showNumber } from '../text.ts'
import type { MoveSummary } from './move.ts'

export interface VerifyFlags extends MoveFlags {
  readonly comparing?: 'positions' | 'keys' | 'both'
  readonly maxRate?: number
  readonly listed?: number
}

/** A difference is not an error of the command: it is its result, and exit code 4. */
export async function verifyMove(
  flags: VerifyFlags,
  output: Output,
  signal: AbortSignal,
): Promise<MoveSummary> {
  await using pair = await Pair.open(flags)
  const progress = new Progress('verify', flags, output)
  const options: CompareOptions = {
    signal,
    onProgress: ({ position, head }) => progress.update(position, head),
    ...(flags.comparing === undefined ? {} : { by: flags.comparing }),
    ...(flags.maxRate === undefined ? {} : { maxRate: flags.maxRate }),
    ...(flags.listed === undefined ? {} : { listed: flags.listed }),
  }
  const found: [string, Comparison][] = []
  try {
    for (const move of pair.moves) found.push([move.domain, await move.verify(options)])
  } finally {
    progress.end()
  }
  return {
    isOk: found.every(([, { isEqual }]) => isEqual),
    exitCode: exit.mismatch,
    data: { domains: found.map(([domain, comparison]) => ({ domain, ...comparison })) },
    lines: found.flatMap(([domain, comparison]) => comparisonLines(domain, comparison, pair)),
    warnings: pair.warnings,
    nextSteps: nextSteps(await pair.statuses(), flags),
  }
}

function comparisonLines(domain: string, found: Comparison, { names }: Pair): string[] {
  const { head, compared, count, differences, digests, lag, isForeign } = found
  const looked = `${showNumber(compared)} records compared up to position ${showNumber(head)}`
  const digest =
    digests === undefined ? '' : `, digests ${digests.source === digests.target ? 'equal' : 'DIFFERENT'}`
  const behind = lag === 0 ? '' : `, ${showNumber(lag)} positions had not arrived yet`
  if (found.isEqual) return [escapeText(`${domain}  EQUAL  ${looked}${digest}${behind}`)]
  const foreign = isForeign ? '; something other than the mover wrote to the copy' : ''
  return [
    `${domain}  DIFFERENT  ${counted(count, 'difference', 'differences')}, ${looked}${digest}${behind}${foreign}`,
    ...differences.flatMap((difference) => differenceLines(difference, names)),
    ...(count > differences.length ? [`  and ${showNumber(count - differences.length)} more`] : []),
  ].map(escapeText)
}

/** Both sides of a record, one above the other. */
function differenceLines(difference: Difference, { from, to }: Pair['names']): string[] {
  const { kind, record, position, source, target, fields, foreign } = difference
  const where = `${kind}  ${record}  at position ${showNumber(position)}`
  const what = fields.length === 0 ? '' : `  in ${fields.join(', ')}`
  const side = (name: string, shown: Difference['source']) =>
    shown === undefined ? [] : [`    ${name}  ${shown.text ?? shown.kind}`]
  return [
    `  ${where}${what}${foreign === null ? '' : `  (foreign: ${foreign})`}`,
    ...side(from, source),
    ...side(to, target),
  ]
}

export interface RepairFlags extends MoveFlags {
  readonly fresh?: boolean
}

/** Brings the copy to what its source holds, never the other way. */
export async function repairMove(flags: RepairFlags, signal: AbortSignal): Promise<MoveSummary> {
  await using pair = await Pair.open(flags)
  const reports: [string, RepairReport][] = []
  for (const move of pair.moves)
    reports.push([
      move.domain,
      await move.repair({ signal, dryRun: flags.dryRun ?? false, fresh: flags.fresh ?? false }),
    ])
  const isOk = reports.every(([, { how, isDone }]) => how === 'nothing' || isDone)
  return {
    isOk,
    exitCode: flags.dryRun ? exit.pending : exit.mismatch,
    data: {
      isDryRun: flags.dryRun ?? false,
      domains: reports.map(([domain, report]) => ({ domain, ...report })),
    },
    lines: reports.flatMap(([domain, report]) => repairLines(domain, report, flags.dryRun ?? false)),
    warnings: pair.warnings,
    nextSteps: nextSteps(await pair.statuses(), flags),
  }
}

function repairLines(domain: string, { how, why, steps, isDone }: RepairReport, isDryRun: boolean): string[] {
  if (how === 'nothing') return [`${domain}: nothing to do, ${why}`]
  const would = isDryRun ? 'would be ' : ''
  const head =
    how === 'fresh' ? `the copy ${would}${isDone ? 'is ' : ''}made anew` : `records ${would}put right`
  return [
    `${domain}: ${head}: ${why}${isDone || isDryRun ? '' : '; some are left: verify again'}`,
    ...steps.filter(({ action }) => action !== 'none').map(({ action, record }) => `  ${action}  ${record}`),
  ].map(escapeText)
}

export interface ShadowFlags extends MoveFlags {
  readonly sample?: number
}

/** What processes that read on both sides found; with a sample, the part of their reads from now on. */
export async function shadowMove(flags: ShadowFlags, signal: AbortSignal): Promise<MoveSummary> {
  const isLook = flags.sample === undefined || flags.dryRun === true
  await using pair = await Pair.open(flags, isLook ? 'look' : 'use')
  const found: [string, ShadowReport & { readonly processes: number }][] = []
  for (const move of pair.moves)
    found.push([
      move.domain,
      await move.shadow({
        signal,
        ...(isLook || flags.sample === undefined ? {} : { sample: flags.sample }),
      }),
    ])
  const isEqual = found.every(([, { counts }]) => counts.divergence === 0)
  const isPending = flags.dryRun === true && flags.sample !== undefined
  return {
    isOk: isEqual && !isPending,
    exitCode: isEqual ? exit.pending : exit.mismatch,
    data: { domains: found.map(([domain, report]) => ({ domain, ...report })) },
    lines: [
      ...(flags.sample === undefined ? [] : [sampleLine(flags.sample, isPending)]),
      ...found.flatMap(([domain, report]) => shadowLines(domain, report)),
    ],
    warnings: pair.warnings,
  }
}

function sampleLine(sample: number, isPending: boolean): string {
  const what = sample === 0 ? 'no reads' : `${sample} of the reads`
  if (isPending) return `would compare ${what} from now on`
  return `processes that attend to the move compare ${what} from now on; they learn of it within seconds`
}

function shadowLines(
  domain: string,
  { counts, processes, examples }: ShadowReport & { readonly processes: number },
): string[] {
  const { equal, lag, divergence, expired, dropped, failed } = counts
  const compared = equal + lag + divergence + expired
  return [
    `${domain}  ${counted(compared, 'read', 'reads')} of ${counted(processes, 'process', 'processes')} compared: ${showNumber(equal)} equal, ${showNumber(lag)} not arrived yet, ${showNumber(expired)} expired, ${showNumber(divergence)} DIFFERENT`,
    `  not compared: ${showNumber(dropped)} for lack of room, ${showNumber(failed)} that the other side did not answer`,
    ...examples.map(({ read, what }) => `  ${read}: ${what}`),
  ].map(escapeText)
}
