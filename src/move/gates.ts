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
  /** A mover reported lately. */
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
  const clears = phase === 'unreachable' ? 'Both sides must answer.' : 'Start the move.'
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
  const clears = 'Verify names the records (underpin move verify); repair, then verify again.'
  if (digestsDiffer) return gate(name, false, `the digests differ at position ${head}`, clears)
  // A comparison of records that came later says more.
  if (digests?.isEqual === false && digests.at > verifiedAt)
    return gate(name, false, `the digests differed ${met}`, clears)
  const equal = digests?.isEqual ? `; the digests were equal ${met}` : ''
  const found = `${differences} differences when it was compared last${equal}`
  return gate(name, differences === 0, found, clears)
}

function verified({ record, now }: Facts, limits: GateLimits): Gate {
  const note = record?.verified ?? null
  if (note === null) return gate('verified', false, 'both sides were never compared', 'Verify.')
  const ageMs = now - note.at
  return gate(
    'verified',
    ageMs <= limits.verifiedForMs && note.differences === 0,
    `${note.compared} records were compared up to position ${note.head}, ${inSeconds(ageMs)} ago`,
    note.differences > 0
      ? 'Repair, then verify again.'
      : `Verify again: a comparison counts for ${inSeconds(limits.verifiedForMs)}.`,
  )
}

function lag({ position, head }: Facts, limits: GateLimits): Gate {
  const clears = `Let a mover run until the copy is at most ${limits.lag} positions behind.`
  if (position === null || head === null) return gate('lag', false, 'a side does not answer', clears)
  const behind = Math.max(0, head - position)
  return gate('lag', behind <= limits.lag, `${behind} positions behind`, clears)
}

function mover({ mover, now }: Facts, limits: GateLimits): Gate {
  const clears = 'Run a mover in some process: underpin move run, or move.run().'
  if (mover === undefined) return gate('mover', false, 'no mover ever reported', clears)
  const ageMs = now - mover.at
  const found = `a mover reported ${inSeconds(ageMs)} ago, at position ${mover.position}`
  return gate('mover', ageMs <= limits.moverForMs, found, clears)
}

function latency({ latency }: Facts, limits: GateLimits): Gate {
  if (latency === undefined) return gate('latency', true, 'not measured', '')
  const { sourceMs, targetMs } = latency
  const mostMs = Math.max(limits.latencyMs, sourceMs * limits.latencyFactor)
  return gate(
    'latency',
    targetMs <= mostMs,
    `${targetMs.toFixed(1)} ms at the target, ${sourceMs.toFixed(1)} ms at the source`,
    `Is the target far away, or busy? It may take ${mostMs.toFixed(0)} ms.`,
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
      ? `${processes.length} processes report, all of them reach ${target}`
      : `${without.length} of ${processes.length} processes do not reach ${target}: ${names}`,
    `Open their stores with the backend ${target}, or stop them.`,
  )
}

function notPaused({ record }: Facts): Gate {
  const isPaused = record?.isPaused ?? false
  return gate('not-paused', !isPaused, isPaused ? 'the movers are paused' : 'not paused', 'Resume.')
}

function notHeld({ record }: Facts): Gate {
  const isHeld = record?.isHeld ?? false
  return gate('not-held', !isHeld, isHeld ? 'a cutover is held' : 'not held', 'Go.')
}

function soak({ record }: Facts, limits: GateLimits): Gate {
  const soakedMs = soakedMsOf(record)
  return gate(
    'soak',
    soakedMs >= limits.soakMs,
    limits.soakMs === 0 ? 'no soak is asked for' : `all held for ${inSeconds(soakedMs)} while it was watched`,
    `Soak until they have held for ${inSeconds(limits.soakMs)}.`,
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
