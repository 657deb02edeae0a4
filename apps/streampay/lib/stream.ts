/**
 * A payment stream: a sender holds a deposit, of which a recipient earns so much an hour while it runs. Pure: a record, a
 * command and a time give the next record and what happened. Nothing here reads a clock or a store.
 *
 * Always: withdrawn ≤ settled ≤ accrued ≤ deposit, and settled + refunded ≤ deposit.
 */
import { accrue } from './money.ts'

export const statuses = ['draft', 'active', 'paused', 'stopped', 'cancelled'] as const
export type Status = (typeof statuses)[number]

export interface StreamTerms {
  /** Wallet addresses. */
  readonly sender: string
  readonly recipient: string
  /** ISO 4217. */
  readonly currency: string
  /** Minor units, as all amounts are. */
  readonly deposit: number
  readonly ratePerHour: number
}

export interface StreamRecord extends StreamTerms {
  readonly id: string
  readonly status: Status
  /** Counts the changes from 1 on: the ETag, known before the change is committed. */
  readonly version: number
  /** Milliseconds since 1970, like all times. */
  readonly createdAt: number
  readonly updatedAt: number
  /** Since when it runs; null while it does not. */
  readonly runningSince: number | null
  /** For how long it ran before that. */
  readonly activeMs: number
  /** Earned and fixed: what the recipient may withdraw in all. */
  readonly settled: number
  /** Paid out to the recipient. */
  readonly withdrawn: number
  /** Given back to the sender. */
  readonly refunded: number
}

export type Command =
  | { readonly kind: 'start' | 'pause' | 'stop' | 'settle' | 'cancel' }
  /** All that can be withdrawn, if no amount is given. */
  | { readonly kind: 'withdraw'; readonly amount?: number | undefined }

export type ActivityType =
  | 'stream.created'
  | 'stream.started'
  | 'stream.paused'
  | 'stream.stopped'
  | 'stream.settled'
  | 'stream.withdrawn'
  | 'stream.cancelled'

/** What happened; `amount` is what moved by it, and left out where nothing did. */
export interface Happening {
  readonly type: ActivityType
  readonly amount?: number
}

export interface Decision {
  readonly record: StreamRecord
  readonly happenings: readonly Happening[]
}

/** A command that the stream, as it is, does not take. */
export class Refusal extends Error {
  readonly reason: 'wrong-status' | 'insufficient'

  constructor(reason: Refusal['reason'], message: string) {
    super(message)
    this.name = 'Refusal'
    this.reason = reason
  }
}

/** What a stream has earned by `now`, in minor units. */
export function accruedAt(record: StreamRecord, now: number): number {
  const { ratePerHour, deposit, activeMs, runningSince } = record
  const runningMs = runningSince === null ? 0 : Math.max(0, now - runningSince)
  return accrue(ratePerHour, activeMs + runningMs, deposit)
}

export function created(id: string, terms: StreamTerms, now: number): Decision {
  const { sender, recipient, currency, deposit, ratePerHour } = terms
  const record: StreamRecord = {
    ...{ id, sender, recipient, currency, deposit, ratePerHour, status: 'draft', version: 1 },
    ...{ createdAt: now, updatedAt: now, runningSince: null, activeMs: 0 },
    ...{ settled: 0, withdrawn: 0, refunded: 0 },
  }
  return { record, happenings: [{ type: 'stream.created', amount: deposit }] }
}

/**
 * The stream after a command. A clock that is behind that of the process which changed the stream before counts as equal
 * to it, so that no time is counted twice. A {@link Refusal} if the stream does not take the command.
 */
export function decide(before: StreamRecord, command: Command, clock: number): Decision {
  const now = Math.max(clock, before.updatedAt)
  const { record, happenings } = step(before, command, now)
  const after = { ...record, version: before.version + 1, updatedAt: now }
  assertSound(before, after, now)
  return { record: after, happenings }
}

function step(before: StreamRecord, command: Command, now: number): Decision {
  switch (command.kind) {
    case 'start':
      refuseUnless(before, 'start', 'draft', 'paused')
      return {
        record: { ...before, status: 'active', runningSince: now },
        happenings: [{ type: 'stream.started' }],
      }
    case 'pause':
      refuseUnless(before, 'pause', 'active')
      return {
        record: { ...halted(before, now), status: 'paused' },
        happenings: [{ type: 'stream.paused' }],
      }
    case 'stop':
      return ended(before, now)
    case 'settle':
      return settled(before, now)
    case 'withdraw':
      return withdrawn(before, command.amount, now)
    case 'cancel':
      return cancelled(before, now)
    default:
      throw new TypeError(`There is no command ${JSON.stringify(command satisfies never)}`)
  }
}

/** Ends it for good: what was not earned goes back to the sender; what was can still be settled and withdrawn. */
function ended(before: StreamRecord, now: number): Decision {
  refuseUnless(before, 'stop', 'active', 'paused')
  const amount = before.deposit - accruedAt(before, now)
  const record: StreamRecord = { ...halted(before, now), status: 'stopped', refunded: amount }
  return { record, happenings: [{ type: 'stream.stopped', amount }] }
}

/** Fixes what was earned until now as the recipient's. */
function settled(before: StreamRecord, now: number): Decision {
  refuseUnless(before, 'settle', 'active', 'paused', 'stopped')
  const amount = accruedAt(before, now) - before.settled
  return {
    record: { ...before, settled: before.settled + amount },
    happenings: [{ type: 'stream.settled', amount }],
  }
}

/** Pays out, and settles first what was earned until now. */
function withdrawn(before: StreamRecord, wanted: number | undefined, now: number): Decision {
  refuseUnless(before, 'withdraw', 'active', 'paused', 'stopped', 'cancelled')
  const { record, happenings } =
    before.status === 'cancelled' ? { record: before, happenings: [] } : settled(before, now)
  const available = record.settled - record.withdrawn
  const amount = wanted ?? available
  if (amount > available || amount === 0)
    throw new Refusal('insufficient', `${available} can be withdrawn, not ${wanted ?? 'anything'}`)
  return {
    record: { ...record, withdrawn: record.withdrawn + amount },
    happenings: [
      ...happenings.filter((happening) => happening.amount !== 0),
      { type: 'stream.withdrawn', amount },
    ],
  }
}

/** Calls it off: what was earned is settled, the rest goes back to the sender. */
function cancelled(before: StreamRecord, now: number): Decision {
  refuseUnless(before, 'cancel', 'draft', 'active', 'paused')
  const earned = accruedAt(before, now)
  const amount = before.deposit - earned
  const record: StreamRecord = {
    ...{ ...halted(before, now), status: 'cancelled', settled: earned, refunded: amount },
  }
  const due = earned - before.settled
  const settling: Happening[] = due === 0 ? [] : [{ type: 'stream.settled', amount: due }]
  return { record, happenings: [...settling, { type: 'stream.cancelled', amount }] }
}

function halted(record: StreamRecord, now: number): StreamRecord {
  if (record.runningSince === null) return record
  return { ...record, runningSince: null, activeMs: record.activeMs + (now - record.runningSince) }
}

function refuseUnless({ status }: StreamRecord, what: string, ...allowed: readonly Status[]): void {
  if (!allowed.includes(status))
    throw new Refusal('wrong-status', `A stream that is ${status} cannot be asked to ${what}`)
}

/** Money is never written on a false premise: a decision that breaks the rules is a defect, and nothing is committed. */
function assertSound(before: StreamRecord, after: StreamRecord, now: number): void {
  const { deposit, settled, withdrawn, refunded } = after
  const isSound =
    0 <= withdrawn &&
    withdrawn <= settled &&
    settled <= accruedAt(after, now) &&
    refunded >= 0 &&
    settled + refunded <= deposit &&
    before.settled <= settled &&
    before.withdrawn <= withdrawn
  if (!isSound) throw new TypeError(`The stream ${after.id} would be unsound: ${JSON.stringify(after)}`)
}
