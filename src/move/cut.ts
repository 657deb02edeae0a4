/** A cutover as an operator asks for it, in either direction: gates, hold, the note before the seal, the report after. */
import { sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import { untilDone } from './again.ts'
import { type Cutover, cutover, gapInTheWay, settle } from './cutover.ts'
import { gatesInTheWay } from './gates.ts'
import { mirrorPage } from './mirror.ts'
import { predictPause } from './plan/predict.ts'
import {
  type CutoverAttempt,
  changeRecord,
  isRecordOf,
  type MoveRecord,
  newRecord,
  noteMover,
  readRecord,
} from './record.ts'
import { amendReport, type CutoverReport, readReport, readReports, reportUnnoted } from './report.ts'
import { defaultSettings } from './settings.ts'
import type { Sides } from './sides.ts'
import { type FullSight, requireBoth, type Sight, see, seeBoth } from './sight.ts'
import { lookAt, type MoveStatus, type Moving } from './status.ts'

export interface CutOptions {
  /** Who asks for it: a name for the report. */
  readonly by?: string
  /** Milliseconds that callers may wait; then it is given up, and the source goes on. By the settings if left out. */
  readonly maxPauseMs?: number
  /** Waits, while it mirrors, until some process says go. */
  readonly hold?: boolean
  /** Overrides the gates, but for those without which something could be lost: `following` and `no-gap`. */
  readonly force?: boolean
  /** Gives it up while nothing is decided. */
  readonly signal?: AbortSignal
}

/** Takes authority to one of the two ends, unless it is there; goes on with what was broken off. */
export async function cut(moving: Moving, goal: 'to' | 'from', options: CutOptions): Promise<CutoverReport> {
  let isFirst = true
  let isHeld = options.hold === true
  const ready = await untilDone(moving.sides.clock, async () => {
    const before = await seeBoth(moving.sides, options.signal)
    await settle(moving.sides)
    const { status, sight: seen } = await lookAt(moving, options.signal)
    const sight = requireBoth(seen)
    if (isAt(sight, goal)) {
      const wasOpening = before.stage === 'decided' || before.stage === 'turning'
      // One that was asked for meanwhile by somebody else is as good.
      if (!isFirst || wasOpening) return { epoch: wasOpening ? before.source.epoch : undefined }
      throw refusal(moving, `is on ${moving[goal]} already`, 'underpin move status tells where it stands.')
    }
    isFirst = false
    // One that was begun goes on: its gates held when it was.
    if (sight.stage === 'sealed') return { sides: sidesTo(moving, goal, sight), attempt: undefined }
    checkGates(status, options.force, isHeld)
    if (isHeld) {
      await holdUntilGo(moving, sight, options.signal)
      isHeld = false
      return undefined
    }
    return { sides: sight.sides, attempt: await noteAttempt(moving, sight, status, options) }
  })
  return 'sides' in ready
    ? carryOut(moving, ready.sides, options, ready.attempt)
    : reportOf(moving, ready.epoch)
}

/** Whether one of the two ends accepts commits, and is not about to hand off. */
function isAt({ isTurned, stage }: Sight, goal: 'to' | 'from'): boolean {
  return stage !== 'sealed' && isTurned === (goal === 'to')
}

/** The sides of a cutover that was begun, which must go where this one shall. */
function sidesTo(moving: Moving, goal: 'to' | 'from', { sides, isTurned }: Sight): Sides {
  if (isTurned !== (goal === 'to')) return sides
  throw refusal(
    moving,
    `is sealed on ${moving[goal]} for a cutover away from it`,
    'Reopen it: that gives the cutover up.',
  )
}

async function carryOut(
  moving: Moving,
  sides: Sides,
  { maxPauseMs, signal }: CutOptions,
  attempt: CutoverAttempt | undefined,
): Promise<CutoverReport> {
  const settings = (await readRecord(sides))?.settings ?? defaultSettings
  const budgetMs = maxPauseMs ?? attempt?.maxPauseMs ?? settings.maxPauseMs
  let done: Cutover
  try {
    done = await cutover(sides, { maxPauseMs: budgetMs, ...(signal && { signal }) })
  } catch (error) {
    const goal = sides.source === moving.sides.source ? 'to' : 'from'
    if (await wasDoneMeanwhile(moving, goal, error)) return reportOf(moving, undefined)
    await noteGivenUp(sides, error)
    throw error
  }
  return (
    (await completeReport(moving, done)) ??
    reportUnnoted(done, namesOf(moving, sides), attempt, sides.clock.now())
  )
}

/** The report of a cutover that is done, with what only its coordinator knows; undefined if its notes cannot be had. */
async function completeReport(
  moving: Moving,
  { epoch, pauseMs, drained }: Cutover,
): Promise<CutoverReport | undefined> {
  try {
    const { report } = await untilDone(moving.sides.clock, async () => {
      const { sides: led } = await seeBoth(moving.sides)
      await amendReport(led, epoch, { pauseMs, drained })
      return { report: await readReport(led, epoch) }
    })
    return report
  } catch (error) {
    // Whatever ails the notes, nothing of it may pass for a cutover that failed.
    if (!isUnderpinError(error) || error.code === 'aborted') throw error
    return undefined
  }
}

/** Of the sides of a cutover, in the order in which it goes. */
function namesOf({ from, to, sides: { source } }: Moving, sides: Sides): { from: string; to: string } {
  return sides.source === source ? { from, to } : { from: to, to: from }
}

/** Whether another operator was faster, so that this one failed: what was asked for is done all the same. */
async function wasDoneMeanwhile(moving: Moving, goal: 'to' | 'from', error: unknown): Promise<boolean> {
  if (!isUnderpinError(error, 'fenced') && !isUnderpinError(error, 'gate')) return false
  const sight = await see(moving.sides)
  return sight.stage === 'mirroring' && isAt(sight, goal)
}

async function findReport(moving: Moving, epoch: number | undefined): Promise<CutoverReport | undefined> {
  const { sides } = await seeBoth(moving.sides)
  return epoch === undefined ? (await readReports(sides)).at(-1) : readReport(sides, epoch)
}

/** The report of an epoch; without one, the last. */
async function reportOf(moving: Moving, epoch: number | undefined): Promise<CutoverReport> {
  const report = await findReport(moving, epoch)
  if (report !== undefined) return report
  throw refusal(
    moving,
    'was cut over, but nothing was noted of it',
    'underpin move status tells where it stands.',
  )
}

/** Refuses with `gate` and the whole list, unless all hold, or those that do not may be overridden. */
export function checkGates({ domain, gates }: MoveStatus, isForced = false, mayBeHeld = false): void {
  const inTheWay = gatesInTheWay(gates, isForced).filter(({ name }) => !(mayBeHeld && name === 'not-held'))
  if (inTheWay.length === 0) return
  const found = inTheWay.map(({ name, found }) => `${name} (${found})`).join('; ')
  throw new UnderpinError('gate', `Domain ${domain} cannot be cut over now: ${found}`, {
    hint: inTheWay.map(({ clears }) => clears).join(' '),
    details: { domain, gates, inTheWay: inTheWay.map(({ name }) => name) },
  })
}

/** Milliseconds between two looks for a go. */
const lookForGoMs = 100
/** Milliseconds between two notes that this process copies. */
const noteEveryMs = 5_000

/** Mirrors until some process says go. `gate` if the hold was withdrawn. */
export async function holdUntilGo(
  moving: Moving,
  sight: FullSight,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (sight.stage !== 'mirroring')
    throw refusal(moving, 'has nothing to hold: no copy follows', 'Start the move.')
  const { goes } = await changeOwn(moving, sight, (record) => ({ ...record, isHeld: true }))
  try {
    await mirrorUntilGo(moving, sight.sides, goes, signal)
  } catch (error) {
    await quietly(changeOwn(moving, sight, (record) => ({ ...record, isHeld: false })))
    throw error
  }
}

async function mirrorUntilGo(
  moving: Moving,
  sides: Sides,
  goes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clock, domain } = sides
  for (let notedAt = Number.NEGATIVE_INFINITY; ; ) {
    if (signal?.aborted)
      throw new UnderpinError('aborted', `The cutover of ${domain} was given up while it was held`, {
        cause: signal.reason,
      })
    const record = await readRecord(sides)
    if (record === undefined || record.goes > goes) return
    if (!record.isHeld) throw refusal(moving, 'is held no more: the hold was withdrawn', 'Hold it again.')
    const progress = record.isPaused ? undefined : await mirrorPage(sides)
    if (progress?.gap !== undefined) throw gapInTheWay(progress.gap)
    if (progress !== undefined && clock.monotonic() - notedAt > noteEveryMs) {
      notedAt = clock.monotonic()
      await noteMover(sides, { at: clock.now(), position: progress.position, rate: null })
    }
    await sleep(clock, lookForGoMs, signal)
  }
}

/** Notes what is about to be done, before the seal: whoever finishes it knows what to report. */
async function noteAttempt(
  moving: Moving,
  sight: FullSight,
  { record, latency, gates }: MoveStatus,
  options: CutOptions,
): Promise<CutoverAttempt> {
  const { clock } = sight.sides
  const [from, to] = sight.isTurned ? [moving.to, moving.from] : [moving.from, moving.to]
  const attempt: CutoverAttempt = {
    ...{ id: clock.id(), at: clock.now(), by: options.by ?? null, from, to },
    maxPauseMs: options.maxPauseMs ?? (record?.settings ?? defaultSettings).maxPauseMs,
    predictedPauseMs: latency === undefined ? null : predictPause(latency, sight.sides).ms,
    isForced: gates.some(({ holds }) => !holds),
    ...{ gates, givenUp: null },
  }
  await changeOwn(moving, sight, (found) => ({ ...found, attempt, isHeld: false }))
  return attempt
}

/** Changes the record of this move, which is made if a start was killed before it noted one. */
export async function changeOwn(
  moving: Moving,
  { sides, isTurned, source, target }: FullSight,
  change: (record: MoveRecord) => MoveRecord,
): Promise<MoveRecord> {
  const [a, b] = isTurned ? [target, source] : [source, target]
  const fresh = newRecord(moving, [a.incarnation, b.incarnation], sides.clock.now())
  const changed = await changeRecord(sides, (found) =>
    change(found !== undefined && isRecordOf(found, a, b) ? found : fresh),
  )
  return changed ?? fresh
}

/** Keeps why the last cutover was given up: the error says it in any case. */
export async function noteGivenUp(sides: Sides, error: unknown): Promise<void> {
  const why = error instanceof Error ? error.message : String(error)
  const found = error instanceof UnderpinError ? error.details.pauseMs : undefined
  const pauseMs = typeof found === 'number' ? found : 0
  const at = sides.clock.now()
  await quietly(
    changeRecord(sides, (record) =>
      record?.attempt
        ? { ...record, attempt: { ...record.attempt, givenUp: { at, why, pauseMs } } }
        : undefined,
    ),
  )
}

/** A note that tells only what an error, or the fences, say as well: it may be left out where it cannot be made. */
async function quietly(note: Promise<unknown>): Promise<void> {
  try {
    await note
  } catch (error) {
    if (!isUnderpinError(error)) throw error
  }
}

export function refusal({ domain }: Pick<Moving, 'domain'>, what: string, hint: string): UnderpinError {
  return new UnderpinError('gate', `Domain ${domain} ${what}`, { hint, details: { domain } })
}
