/** A cutover as an operator asks for it, in either direction: gates, hold, the note before the seal, the report after. */
import { sleep } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import { isAway } from './again.ts'
import { cutover, gapInTheWay, settle } from './cutover.ts'
import { type Gate, gatesInTheWay } from './gates.ts'
import { mirrorPage } from './mirror.ts'
import { predictPause } from './plan.ts'
import {
  type CutoverAttempt,
  changeRecord,
  type MoveRecord,
  newRecord,
  noteMover,
  readRecord,
} from './record.ts'
import { amendReport, type CutoverReport, readReports } from './report.ts'
import { defaultSettings } from './settings.ts'
import { type Sides, turned } from './sides.ts'
import { type Sight, seeBoth } from './sight.ts'
import { lookAt, type Moving } from './status.ts'

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
  const before = await seeBoth(moving.sides, options.signal)
  await settle(moving.sides)
  const sight = await seeBoth(moving.sides, options.signal)
  if (isAt(sight, goal)) {
    const wasOpening = before.stage === 'decided' || before.stage === 'turning'
    if (wasOpening)
      return reportOf(moving, before.source?.role === 'handed-off' ? before.source.epoch : undefined)
    throw refusal(moving, `is on ${moving[goal]} already`, 'underpin move status tells where it stands.')
  }
  // One that was begun goes on: its gates held when it was.
  if (sight.stage === 'sealed') return carryOut(moving, sight.sides, options, undefined)
  await checkGates(moving, options, options.hold === true)
  if (options.hold) {
    await holdUntilGo(moving, sight.sides, options.signal)
    if (isAt(await seeBoth(moving.sides, options.signal), goal)) return reportOf(moving, undefined)
  }
  const attempt = await noteAttempt(moving, sight.sides, options)
  return carryOut(moving, sight.sides, options, attempt)
}

function isAt({ isTurned, stage }: Sight, goal: 'to' | 'from'): boolean {
  return stage !== 'sealed' && isTurned === (goal === 'to')
}

async function carryOut(
  moving: Moving,
  sides: Sides,
  { maxPauseMs, signal }: CutOptions,
  attempt: CutoverAttempt | undefined,
): Promise<CutoverReport> {
  const settings = (await readRecord(sides))?.settings ?? defaultSettings
  const budget = {
    maxPauseMs: maxPauseMs ?? attempt?.maxPauseMs ?? settings.maxPauseMs,
    ...(signal && { signal }),
  }
  try {
    const { epoch, pauseMs, drained } = await cutover(sides, budget)
    await amendReport(turned(sides), epoch, { pauseMs, drained })
    return await reportOf(moving, epoch)
  } catch (error) {
    await noteGivenUp(sides, error)
    throw error
  }
}

/** The report of an epoch; without one, the last. */
async function reportOf(moving: Moving, epoch: number | undefined): Promise<CutoverReport> {
  const { sides } = await seeBoth(moving.sides)
  const reports = await readReports(sides)
  const report = epoch === undefined ? reports.at(-1) : reports.find((found) => found.epoch === epoch)
  if (report !== undefined) return report
  throw refusal(
    moving,
    'was cut over, but nothing was noted of it',
    'underpin move status tells where it stands.',
  )
}

/** Refuses with `gate` and the whole list, unless all hold, or those that do not may be overridden. */
async function checkGates(
  moving: Moving,
  { force = false, signal }: CutOptions,
  exceptHeld = false,
): Promise<readonly Gate[]> {
  const { status } = await lookAt(moving, signal)
  const inTheWay = gatesInTheWay(status.gates, force).filter(
    ({ name }) => !(exceptHeld && name === 'not-held'),
  )
  if (inTheWay.length === 0) return status.gates
  throw new UnderpinError(
    'gate',
    `Domain ${moving.domain} cannot be cut over now: ${inTheWay.map(({ name, found }) => `${name} (${found})`).join('; ')}`,
    {
      hint: inTheWay.map(({ clears }) => clears).join(' '),
      details: { domain: moving.domain, gates: status.gates, inTheWay: inTheWay.map(({ name }) => name) },
    },
  )
}

/** Milliseconds between two looks for a go. */
const lookForGoMs = 100
/** Milliseconds between two notes that this process copies. */
const noteEveryMs = 5_000

/** Mirrors until some process says go. `gate` if the hold was withdrawn. */
async function holdUntilGo(moving: Moving, sides: Sides, signal: AbortSignal | undefined): Promise<void> {
  const { clock, domain } = sides
  const held = await changeOwn(moving, sides, (record) => ({ ...record, isHeld: true }))
  for (let notedAt = Number.NEGATIVE_INFINITY; ; ) {
    if (signal?.aborted) {
      await changeOwn(moving, sides, (record) => ({ ...record, isHeld: false }))
      throw new UnderpinError('aborted', `The cutover of ${domain} was given up while it was held`, {
        cause: signal.reason,
      })
    }
    const record = await readRecord(sides)
    if (record === undefined || record.goes > held.goes) return
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
async function noteAttempt(moving: Moving, sides: Sides, options: CutOptions): Promise<CutoverAttempt> {
  const { clock } = sides
  const gates = await checkGates(moving, options)
  const { status, sight } = await lookAt(moving, options.signal)
  const settings = status.record?.settings ?? defaultSettings
  const [from, to] = sight.isTurned ? [moving.to, moving.from] : [moving.from, moving.to]
  const attempt: CutoverAttempt = {
    ...{ id: clock.id(), at: clock.now(), by: options.by ?? null, from, to },
    maxPauseMs: options.maxPauseMs ?? settings.maxPauseMs,
    predictedPauseMs: status.latency === undefined ? null : predictPause(status.latency, sides).ms,
    isForced: gates.some(({ holds }) => !holds),
    gates,
    givenUp: null,
  }
  await changeOwn(moving, sides, (record) => ({ ...record, attempt, isHeld: false }))
  return attempt
}

/** Changes the record of this move, which is made if a start was killed before it noted one. */
export async function changeOwn(
  moving: Moving,
  sides: Sides,
  change: (record: MoveRecord) => MoveRecord,
): Promise<MoveRecord> {
  const { source, target } = await seeBoth(moving.sides)
  const isTurned = sides.source !== moving.sides.source
  const incarnations = (isTurned ? [target, source] : [source, target]).map(({ incarnation }) => incarnation)
  const own = (found: MoveRecord | undefined) =>
    found !== undefined && incarnations.every((incarnation) => found.incarnations.includes(incarnation))
      ? found
      : newRecord(moving, incarnations as [string, string], sides.clock.now())
  const changed = await changeRecord(sides, (found) => change(own(found)))
  return changed ?? own(undefined)
}

/** Keeps why it was given up, where that can be noted: the error says it in any case. */
async function noteGivenUp(sides: Sides, error: unknown): Promise<void> {
  const why = error instanceof Error ? error.message : String(error)
  const found = error instanceof UnderpinError ? error.details.pauseMs : undefined
  const pauseMs = typeof found === 'number' ? found : 0
  try {
    const at = sides.clock.now()
    await changeRecord(sides, (record) =>
      record?.attempt
        ? { ...record, attempt: { ...record.attempt, givenUp: { at, why, pauseMs } } }
        : undefined,
    )
  } catch (second) {
    if (!isAway(second) && !(second instanceof UnderpinError && second.code === 'fenced')) throw second
  }
}

export function refusal({ domain }: Pick<Moving, 'domain'>, what: string, hint: string): UnderpinError {
  return new UnderpinError('gate', `Domain ${domain} ${what}`, { hint, details: { domain } })
}
