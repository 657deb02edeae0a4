/** The answer to *may I cut over now, and if not, why not*: one list, pure. */
import type { Position } from '../model/position.ts'
import type { DigestNote, MoveRecord, MoverNote } from './record.ts'
import type { GateLimits } from './settings.ts'
import type { Latency, Phase } from './status.ts'

export type GateName =
  /** The copy follows who holds authority. */
  | 'following'
  /** The copy takes everything. */
  | 'no-gap'
  /** No comparison found a record that differs. */
  | 'no-divergence'
  /** Both sides were compared in full, lately. */
  | 'verified'
  | 'lag'
  /** A mover reported lately, or what is left is little enough for a cutover to copy it by itself. */
  | 'mover'
  | 'latency'
  /** Every process that reports can reach the target. */
  | 'processes'
  | 'not-paused'
  | 'not-held'
  /** All the others held for a time. */
  | 'soak'

export interface Gate {
  readonly name: GateName
  readonly holds: boolean
  /** What was found. */
  readonly found: string
  /** What would clear it; empty while it holds. */
  readonly clears: string
  /** False for those without which something could be lost: `force` does not override them. */
  readonly canForce: boolean
}

/** A process that uses the domain, as it reports itself (`presence.ts`). */
export interface Reported {
  readonly name: string
  /** It reaches the copy that the next cutover goes to. */
  readonly canFollow: boolean
}

export interface Facts {
  readonly phase: Phase
  /** Where the next cutover goes to. */
  readonly target: string
  /** Null if that side does not answer. */
  readonly position: Position | null
  readonly head: Position | null
  /** Both sides stand at one head, with digests that differ. */
  readonly digestsDiffer: boolean
  /** What the digests of this copy said when a mover saw the heads meet last. */
  readonly digests: DigestNote | undefined
  readonly record: MoveRecord | undefined
  readonly mover: MoverNote | undefined
  readonly latency: Latency | undefined
  /** Empty if no process reports itself. */
  readonly processes: readonly Reported[]
  readonly now: number
}

export function gatesOf(facts: Facts, limits: GateLimits): Gate[] {
  const gates = [
    following(facts),
    noGap(facts),
    noDivergence(facts),
    verified(facts, limits),
    lag(facts, limits),
    mover(facts, limits),
    latency(facts, limits),
    processes(facts),
    notPaused(facts),
    notHeld(facts),
  ]
  return [...gates, soak(facts, limits)]
}

/** Those that are in the way: with `isForced`, only those that must hold. */
export function gatesInTheWay(gates: readonly Gate[], isForced = false): readonly Gate[] {
  return gates.filter(({ holds, canForce }) => !holds && !(isForced && canForce))
}

function following({ phase }: Facts): Gate {
  const holds = phase === 'mirroring' || phase === 'reversed'
  const clears = phase === 'unreachable' ? 'Both sides must answer.' : 'Start the move: underpin move start.'
  return gate('following', holds, `the move is ${phase}`, clears, false)
}

function noGap({ record }: Facts): Gate {
  const gap = record?.gap ?? null
  return gate(
    'no-gap',
    gap === null,
    gap === null ? 'the copy takes everything' : `the copy refuses position ${gap.position}: ${gap.message}`,
    'Change or delete the record, or raise the limit of the other side; the mover tries again by itself.',
    false,
  )
}

function noDivergence({ record, digests, digestsDiffer, head, now }: Facts): Gate {
  const [verifiedAt, differences] = [record?.verified?.at ?? 0, record?.verified?.differences ?? 0]
  const met = digests && `at position ${digests.head}, ${inSeconds(now - digests.at)} ago`
  const name = 'no-divergence'
  if (digestsDiffer) return gate(name, false, `the digests differ at position ${head}`, repairThenVerify)
  // A comparison of records that came later says more.
  if (digests?.isEqual === false && digests.at > verifiedAt)
    return gate(name, false, `the digests differed ${met}`, repairThenVerify)
  const equal = digests?.isEqual ? `; the digests were equal ${met}` : ''
  const last = differences === 1 ? '1 difference' : `${differences} differences`
  const found = differences === 0 ? `no difference is known${equal}` : `the last comparison found ${last}`
  return gate(name, differences === 0, found, repairThenVerify)
}

function verified({ record, now }: Facts, limits: GateLimits): Gate {
  const note = record?.verified ?? null
  if (note === null)
    return gate('verified', false, 'both sides were never compared', 'Verify: underpin move verify.')
  const ageMs = now - note.at
  const compared = `${note.compared} records were compared up to position ${note.head}, ${inSeconds(ageMs)} ago`
  if (note.differences > 0) return gate('verified', false, `${compared}, and differed`, repairThenVerify)
  if (ageMs <= limits.verifiedForMs) return gate('verified', true, compared, '')
  return gate(
    'verified',
    false,
    `the last comparison is ${inSeconds(ageMs)} old`,
    `Verify again: a comparison counts for ${inSeconds(limits.verifiedForMs)}.`,
  )
}

const repairThenVerify = 'Repair, then verify again: underpin move repair, underpin move verify.'

function lag({ position, head }: Facts, limits: GateLimits): Gate {
  const clears = `Let a mover copy until at most ${limits.lag} are left: underpin move run --until-caught-up.`
  const behind = behindOf({ position, head })
  if (behind === undefined) return gate('lag', false, 'a side does not answer', clears)
  const found = behind === 1 ? '1 position behind' : `${behind} positions behind`
  return gate('lag', behind <= limits.lag, behind === 0 ? 'nothing is lacking' : found, clears)
}

/** A cutover copies what is left before it seals, so a mover that is missing is in the way only if that is much. */
function mover({ mover, now, position, head }: Facts, limits: GateLimits): Gate {
  const ageMs = mover === undefined ? undefined : now - mover.at
  if (ageMs !== undefined && ageMs <= limits.moverForMs)
    return gate('mover', true, `a mover reported ${inSeconds(ageMs)} ago`, '')
  const missing =
    ageMs === undefined ? 'no mover ever reported' : `no mover has reported for ${inSeconds(ageMs)}`
  const behind = behindOf({ position, head }) ?? Number.POSITIVE_INFINITY
  if (behind <= limits.lag)
    return gate('mover', true, `${missing}; a cutover copies by itself what is left`, '')
  return gate('mover', false, missing, 'Run a mover in some process: underpin move run, or move.run().')
}

function behindOf({ position, head }: Pick<Facts, 'position' | 'head'>): number | undefined {
  return position === null || head === null ? undefined : Math.max(0, head - position)
}

function latency({ latency }: Facts, limits: GateLimits): Gate {
  if (latency === undefined) return gate('latency', true, 'not measured', '')
  const { sourceMs, targetMs } = latency
  const mostMs = Math.max(limits.latencyMs, sourceMs * limits.latencyFactor)
  return gate(
    'latency',
    targetMs <= mostMs,
    `a look takes ${targetMs.toFixed(1)} ms at the target, ${sourceMs.toFixed(1)} ms at the source`,
    `At the target it may take ${mostMs.toFixed(0)} ms: is it far away, or busy?`,
  )
}

function processes({ processes, target }: Facts): Gate {
  if (processes.length === 0) return gate('processes', true, 'no process reports itself', '')
  const without = processes.filter(({ canFollow }) => !canFollow)
  const names = without.map(({ name }) => name).join(', ')
  return gate(
    'processes',
    without.length === 0,
    without.length === 0
      ? `all that report themselves (${processes.length}) reach ${target}`
      : `${without.length} of ${processes.length} that report themselves cannot reach ${target}: ${names}`,
    `Open their stores with the backend that it moves to (${target}) as well, or stop them.`,
  )
}

function notPaused({ record }: Facts): Gate {
  const isPaused = record?.isPaused ?? false
  return gate(
    'not-paused',
    !isPaused,
    isPaused ? 'the movers are paused' : 'not paused',
    'Resume: underpin move resume.',
  )
}

function notHeld({ record }: Facts): Gate {
  const isHeld = record?.isHeld ?? false
  return gate(
    'not-held',
    !isHeld,
    isHeld ? 'a cutover is held, and waits for a go' : 'not held',
    'Let it go on: underpin move go.',
  )
}

function soak({ record }: Facts, limits: GateLimits): Gate {
  if (limits.soakMs === 0) return gate('soak', true, 'no soak is asked for', '')
  const soakedMs = soakedMsOf(record)
  return gate(
    'soak',
    soakedMs >= limits.soakMs,
    `the other gates held for ${inSeconds(soakedMs)} of ${inSeconds(limits.soakMs)} while somebody watched`,
    'Watch on: underpin move soak; or ask for none: underpin move soak --for 0.',
  )
}

/** Milliseconds for which all gates held while somebody watched. */
export function soakedMsOf(record: MoveRecord | undefined): number {
  if (record?.soundSince == null || record.watchedAt === null) return 0
  return Math.max(0, record.watchedAt - record.soundSince)
}

function gate(name: GateName, holds: boolean, found: string, clears: string, canForce = true): Gate {
  return { name, holds, found, clears: holds ? '' : clears, canForce }
}

function inSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
