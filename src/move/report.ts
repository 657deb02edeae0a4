/** The report of a cutover: kept in the domain, as `report-<epoch>` in `$moves`, by the epoch that the cutover opened. */
import type { CallOptions } from '../backend/backend.ts'
import type { Position } from '../model/position.ts'
import type { Cutover } from './cutover.ts'
import type { Gate } from './gates.ts'
import { addHistograms, type Histogram, percentileOf } from './histogram.ts'
import { readEntries, readEntry, writeEntries } from './ledger.ts'
import type { View } from './protocol.ts'
import { type CutoverAttempt, type MoveRecord, readRecord, type VerifyNote } from './record.ts'
import type { Sides } from './sides.ts'

/** The waits of one process's callers for one cutover: the document `callers-<epoch>-<process>` of `$moves`. */
export interface CallersNote extends Histogram {
  /** The epoch under which the callers went on. */
  readonly epoch: number
}

/** The waits of all callers that were noted. */
export interface CallersPause extends Histogram {
  readonly processes: number
  /** Half of them, and 99 of 100, waited no longer: bounds of their buckets, so never too short. */
  readonly p50Ms: number
  readonly p99Ms: number
}

/** A cutover, as it was. */
export interface CutoverReport {
  /** The epoch that it opened: names the cutover. */
  readonly epoch: number
  readonly at: number
  readonly from: string
  readonly to: string
  /** Who did it: a name that the operator gave. */
  readonly by: string | null
  /** Gates that did not hold were overridden. */
  readonly isForced: boolean
  /** The gates as they were before it. */
  readonly gates: readonly Gate[]
  /** The last position of the old side, and the digest of both there. */
  readonly head: Position
  readonly digest: string
  /** Milliseconds from before the seal until the target was open; null if whoever began it did not live to tell. */
  readonly pauseMs: number | null
  /** Milliseconds of pause that were predicted from the round trips; null if they were not measured. */
  readonly predictedPauseMs: number | null
  /** Records copied behind the seal; null as for the pause. */
  readonly drained: number | null
  /** How long callers waited, as their processes noted; null if none did (yet). */
  readonly callers: CallersPause | null
  /** The last full comparison before it. */
  readonly verified: VerifyNote | null
  /** Until then: changes that the copy once refused, and records that were repaired. */
  readonly gaps: number
  readonly repaired: number
}

type StoredReport = Omit<CutoverReport, 'callers'>

const idOf = (epoch: number) => `report-${epoch}`

/**
 * Notes a cutover that was decided and opened, at its new authority, while the old side still stands at the head that it
 * handed off. Whoever comes first does it, with what the coordinator noted before the seal.
 */
export async function noteCutover(led: Sides, { source, target }: View): Promise<void> {
  const record = await readRecord(led)
  if (record === undefined || !record.incarnations.includes(source.incarnation)) return
  const report = reportOf(record, { source, target }, led.clock.now())
  // A note that is there already was made by somebody else who came first.
  await writeEntries(led, [{ id: idOf(report.epoch), value: report, expect: 'absent' }])
}

function reportOf(
  record: MoveRecord,
  { source, target }: Pick<View, 'source' | 'target'>,
  now: number,
): StoredReport {
  const isThere = record.incarnations[1] === source.incarnation
  const [from, to] = isThere ? [record.from, record.to] : [record.to, record.from]
  const attempt = record.attempt?.to === to && record.attempt.givenUp === null ? record.attempt : null
  return {
    ...{ epoch: source.epoch, at: now, from, to, by: attempt?.by ?? null },
    ...{ isForced: attempt?.isForced ?? false, gates: attempt?.gates ?? [] },
    ...{ head: target.head, digest: target.digest, pauseMs: null, drained: null },
    predictedPauseMs: attempt?.predictedPauseMs ?? null,
    ...{ verified: record.verified, gaps: record.gapsSeen, repaired: record.repaired },
  }
}

/** What the coordinator of a cutover can tell that could not be noted. */
export function reportUnnoted(
  { epoch, head, digest, pauseMs, drained }: Cutover,
  between: { readonly from: string; readonly to: string },
  attempt: CutoverAttempt | undefined,
  now: number,
): CutoverReport {
  return {
    ...{ epoch, at: now, ...between, by: attempt?.by ?? null },
    ...{ isForced: attempt?.isForced ?? false, gates: attempt?.gates ?? [] },
    ...{ head, digest, pauseMs, drained, predictedPauseMs: attempt?.predictedPauseMs ?? null },
    ...{ callers: null, verified: null, gaps: 0, repaired: 0 },
  }
}

/** Whether a cutover was noted, by the epoch that it opened. */
export async function isReported(
  sides: Pick<Sides, 'domain' | 'source'>,
  epoch: number,
  options?: CallOptions,
): Promise<boolean> {
  return (await readEntry<StoredReport>(sides, idOf(epoch), options)) !== undefined
}

/** Adds what only the coordinator knows, unless it was added. `unknown` if it cannot be told whether it is: again. */
export async function amendReport(
  led: Sides,
  epoch: number,
  known: Pick<CutoverReport, 'pauseMs' | 'drained'>,
): Promise<void> {
  for (;;) {
    const found = await readEntry<StoredReport>(led, idOf(epoch))
    if (found?.value === undefined || found.value.pauseMs !== null) return
    const value = { ...found.value, ...known }
    if (await writeEntries(led, [{ id: idOf(epoch), value, expect: found.revision }])) return
  }
}

/** The report of one cutover, with what callers noted since; undefined if there is none, or it is damaged. */
export async function readReport(
  sides: Pick<Sides, 'domain' | 'source'>,
  epoch: number,
): Promise<CutoverReport | undefined> {
  const value = (await readEntry<StoredReport>(sides, idOf(epoch)))?.value
  return value && withCallers(value, await readEntries<CallersNote>(sides, `callers-${epoch}-`))
}

/** The reports of all cutovers that are noted in the domain, the oldest first, with what callers noted since. */
export async function readReports(
  sides: Pick<Sides, 'domain' | 'source'>,
  options?: CallOptions,
): Promise<readonly CutoverReport[]> {
  const reports = await readEntries<StoredReport>(sides, 'report-', options)
  const callers = await readEntries<CallersNote>(sides, 'callers-', options)
  return reports.map(({ value }) => withCallers(value, callers)).sort((a, b) => a.epoch - b.epoch)
}

function withCallers(
  report: StoredReport,
  callers: readonly { readonly value: CallersNote }[],
): CutoverReport {
  const notes = callers.map(({ value }) => value).filter(({ epoch }) => epoch === report.epoch)
  return { ...report, callers: pauseOf(notes) }
}

function pauseOf(notes: readonly CallersNote[]): CallersPause | null {
  if (notes.length === 0) return null
  const all = addHistograms(notes)
  return { ...all, processes: notes.length, p50Ms: percentileOf(all, 0.5), p99Ms: percentileOf(all, 0.99) }
}
