/** Where a move stands, as an operator sees it. */
import type { CallOptions } from '../backend/backend.ts'
import { isUnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import { movesCollection, processesCollection } from '../model/collection.ts'
import type { Fence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import { isAway } from './again.ts'
import { type DegradedProcess, readDegraded } from './await.ts'
import type { Wanted } from './ends.ts'
import { explain } from './explain.ts'
import { type Gate, gatesOf, type Reported } from './gates.ts'
import { presentProcesses, processesWithout } from './presence.ts'
import { isRecordOf, type MoveRecord, type MoverNote, readMover, readRecord } from './record.ts'
import { isReported } from './report.ts'
import { defaultSettings } from './settings.ts'
import type { Sides, Stage } from './sides.ts'
import { type Sight, see, timedLooks } from './sight.ts'

/** The stage of the domain, named by which side leads. */
export type Phase =
  | Exclude<Stage, 'alone'>
  /** Nothing was begun, or all was given up. */
  | 'none'
  /** The target has authority, and the old side follows it. */
  | 'reversed'
  /** The target has authority and names nobody: the old side is of the past. */
  | 'completed'
  /** One of the sides does not answer, or both: what is known is in `explanation`. */
  | 'unreachable'

/** What resolves, or goes on with, a state: a method of `Move`, and a verb of `underpin move`. */
export interface NextStep {
  readonly verb:
    | 'start'
    | 'run'
    | 'verify'
    | 'repair'
    | 'soak'
    | 'cutover'
    | 'go'
    | 'reopen'
    | 'resume'
    | 'rollback'
    | 'complete'
    | 'cancel'
    | 'status'
  readonly why: string
}

/** Milliseconds that a look at each side takes; of who leads (source) and of the other. */
export interface Latency {
  readonly sourceMs: number
  readonly targetMs: number
}

export interface MoveStatus {
  readonly domain: string
  readonly from: string
  readonly to: string
  readonly phase: Phase
  /** The backend that accepts commits now; null while none does (sealed, decided and not open yet), or it cannot be told. */
  readonly authority: string | null
  /**
   * Up to where the copy holds everything, and the head of who it follows; null of a side that does not answer. A few notes
   * of moves and signs of life of processes, which an idle domain gets as well, count as held.
   */
  readonly position: Position | null
  readonly head: Position | null
  /** Of the sides that answer. */
  readonly fences: Readonly<Record<string, Fence>>
  /** The sides that do not answer, and what they failed with. */
  readonly unreachable: readonly { readonly backend: string; readonly message: string }[]
  readonly record: MoveRecord | undefined
  /** What should be noted and is not, or cannot be read, in words; null if nothing is missing. It decides nothing. */
  readonly unnoted: string | null
  /** What movers reported last. */
  readonly mover: MoverNote | undefined
  /** Processes whose commits were to wait for the copy (`mirror: 'await'`), and do not, because it does not keep up. */
  readonly degraded: readonly DegradedProcess[]
  readonly latency: Latency | undefined
  readonly gates: readonly Gate[]
  /** No gate is in the way of a cutover. */
  readonly canCutOver: boolean
  /** Where it stands, in words. */
  readonly explanation: string
  /** What can be done from here, what is most likely wanted first. */
  readonly next: readonly NextStep[]
}

export function phaseOf(stage: Stage, isTurned: boolean): Phase {
  if (stage === 'alone') return isTurned ? 'completed' : 'none'
  return stage === 'mirroring' && isTurned ? 'reversed' : stage
}

/** A move: its two sides as they were given, with their names in the store. */
export interface Moving {
  readonly domain: string
  readonly from: string
  readonly to: string
  /** From `from` to `to`, whichever of them leads. */
  readonly sides: Sides
  readonly wanted?: Wanted | undefined
}

/** Where a move stands, with what was seen. Changes nothing. */
export async function lookAt(
  moving: Moving,
  signal?: AbortSignal,
): Promise<{ readonly status: MoveStatus; readonly sight: Sight }> {
  const sight = await see(moving.sides, signal, timedLooks)
  return { sight, status: statusOf(moving, sight, await readNoted(moving, sight, signal)) }
}

/** Whether a record is of this move: it names both copies, or the one that the source names, which is not there any more. */
export function isRecordOfMove(
  moving: Pick<Moving, 'from' | 'to'>,
  record: MoveRecord,
  source: Fence | undefined,
  target: Fence | undefined,
): boolean {
  return isRecordOf(record, source, target) || isNamedBy(moving, record, source)
}

/** Whether the copy that a source names is, by the record, of a move between these two backends, in either direction. */
export function isNamedBy(
  moving: Pick<Moving, 'from' | 'to'>,
  { from, to, incarnations }: MoveRecord,
  source: Fence | undefined,
): boolean {
  const areNamed = [moving.from, moving.to].every((name) => name === from || name === to)
  const named = [source?.incarnation ?? '', source?.successor ?? '']
  return areNamed && named.every((incarnation) => incarnations.includes(incarnation))
}

/** What processes noted of the move, and of themselves. */
interface Noted {
  /** See {@link MoveStatus.position}. */
  readonly position: Position | null
  readonly record: MoveRecord | undefined
  readonly unnoted: string | null
  readonly mover: MoverNote | undefined
  readonly processes: readonly Reported[]
  readonly degraded: readonly DegradedProcess[]
}

/** What is noted, as the leading side has it, or, if that does not answer, the other one. */
async function readNoted(moving: Moving, sight: Sight, signal: AbortSignal | undefined): Promise<Noted> {
  const { sides, source, target } = sight
  const options = signal && { signal }
  const position = target?.head ?? null
  const none = { position, record: undefined, unnoted: null, mover: undefined, processes: [], degraded: [] }
  const fence = source ?? target
  if (fence === undefined || fence.role === 'vacant') return none
  const { domain, clock } = sides
  const from = { domain, clock, source: source === undefined ? sides.target : sides.source }
  try {
    const record = await readRecord(from, options)
    if (record === undefined && source?.successor != null)
      return {
        ...none,
        unnoted:
          'Its record is missing: the start was broken off before it was noted, or the record is damaged.',
      }
    if (record === undefined || !isRecordOfMove(moving, record, source, target)) return none
    const unnoted = await unreported(moving, sight, record, options)
    const present = await presentProcesses(from, options)
    const without = target === undefined ? [] : processesWithout(present, target.incarnation)
    return {
      ...{ position: await heldUpTo(sight, signal), record, unnoted, mover: await readMover(from, options) },
      processes: present.map((process) => ({ name: process.name, canFollow: !without.includes(process) })),
      degraded: await readDegraded(from, record.incarnations, options),
    }
  } catch (error) {
    // It answered a moment ago: what the fences say is told all the same.
    if (isAway(error)) return none
    throw error
  }
}

/** The cutover that made this side the authority, if it was not reported. */
async function unreported(
  { from, to }: Moving,
  { sides, isTurned, stage, source }: Sight,
  { attempt }: MoveRecord,
  options: CallOptions | undefined,
): Promise<string | null> {
  if (stage !== 'mirroring' || source === undefined || attempt === null) return null
  if (attempt.givenUp !== null || attempt.to !== (isTurned ? to : from)) return null
  if (await isReported(sides, source.epoch, options)) return null
  return `The report of the cutover to ${attempt.to} is missing: it could not be noted.`
}

/** A copy that lacks more positions than this is not looked into. */
const fewPositions = 200

async function heldUpTo(
  { sides, source, target, stage }: Sight,
  signal: AbortSignal | undefined,
): Promise<Position | null> {
  if (source === undefined || target === undefined || stage !== 'mirroring') return target?.head ?? null
  const lacking = source.head - target.head
  if (lacking <= 0 || lacking > fewPositions) return target.head
  try {
    const page = await sides.source.changes(sides.domain, target.head, fewPositions, signal && { signal })
    return page.items.every(isNote) ? source.head : target.head
  } catch (error) {
    // A record that cannot be read stops the copy too: the gap says so, with all else that status tells.
    if (!isUnderpinError(error) || error.code === 'aborted') throw error
    return target.head
  }
}

function isNote(change: Change): boolean {
  return (
    change.kind !== 'event' &&
    [movesCollection, processesCollection].some((name) => name === change.collection)
  )
}

function statusOf(
  { domain, from, to, sides: { clock } }: Moving,
  sight: Sight,
  { position, record, unnoted, mover, processes, degraded }: Noted,
): MoveStatus {
  const { isTurned, source, target, stage, latency } = sight
  const [lead, other] = isTurned ? [to, from] : [from, to]
  const phase = stage === undefined ? 'unreachable' : phaseOf(stage, isTurned)
  const head = source?.head ?? null
  const areLevel = (phase === 'mirroring' || phase === 'reversed') && source?.head === target?.head
  const digestsDiffer = areLevel && source?.digest !== target?.digest
  const digests =
    areLevel && target !== undefined && head !== null
      ? { at: clock.now(), copy: target.incarnation, head, isEqual: !digestsDiffer }
      : mover?.digests
  const gates = gatesOf(
    {
      phase,
      target: other,
      position,
      head,
      digestsDiffer,
      digests: digests?.copy === target?.incarnation ? digests : undefined,
      record,
      mover,
      latency,
      processes,
      now: clock.now(),
    },
    (record?.settings ?? defaultSettings).gates,
  )
  const behind = Math.max(0, (head ?? 0) - (position ?? 0))
  const known = { domain, lead, other, phase, isTurned, source, target, behind, record, unnoted, gates }
  return {
    ...{ domain, from, to, phase, authority: authorityOf(sight, lead, other) },
    ...{ position, head, record, unnoted, mover, degraded, latency, gates },
    fences: { ...(source && { [lead]: source }), ...(target && { [other]: target }) },
    unreachable: sight.unreachable.map(({ side, message }) => ({
      backend: side === 'source' ? lead : other,
      message,
    })),
    canCutOver: gates.every(({ holds }) => holds),
    ...explain(known),
  }
}

function authorityOf({ source, target }: Sight, lead: string, other: string): string | null {
  if (source?.role === 'authority') return lead
  return target?.role === 'authority' ? other : null
}
