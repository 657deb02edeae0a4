/** How far a copy is, how fast it goes, and when it will have caught up: counted by the mover itself. */
import type { Position } from '../model/position.ts'
import type { Gap } from './gap.ts'
import { type Amount, noAmount, Survey, workOf } from './survey.ts'
import type { Cause } from './throttle.ts'

export interface CopyLag {
  readonly positions: number
  /** For how long the source has been ahead of the copy, as long as this mover has looked. */
  readonly ms: number
}

/** When the copy will have caught up with the source, which may go on being written to. */
export interface Eta {
  /** Milliseconds from now. */
  readonly ms: number
  /** What `ms` will be within, nineteen times in twenty, if things go on as they vary now. */
  readonly lowMs: number
  readonly highMs: number
}

/**
 * - `copying`: pages are on their way;
 * - `waiting`: the copy holds everything;
 * - `paused`: by the operator;
 * - `beside`: another mover is at work, and this one watches;
 * - `gap`: the target does not take what comes next;
 * - `retrying`: a store is out of reach;
 * - `turning`: a cutover is under way.
 */
export type MoverState = 'copying' | 'waiting' | 'paused' | 'beside' | 'gap' | 'retrying' | 'turning'

/** What a mover says of itself, after each page and at least about once a second. */
export interface Progress {
  readonly state: MoverState
  /** Up to where the copy holds everything. */
  readonly position: Position
  /** Of the source, when it was last read. */
  readonly head: Position
  /** Records that this mover copied. */
  readonly records: number
  readonly recordsPerSecond: number
  readonly lag: CopyLag
  /** Records that are left to copy, estimated from samples: superseded states leave positions without records. */
  readonly recordsLeft: number
  /** Undefined while too little is known, or if the source grows faster than the copy. */
  readonly eta: Eta | undefined
  /** What holds the mover back, or nearly does. */
  readonly throttle: readonly Cause[]
  readonly gap: Gap | undefined
  /** The last failure, while there is one. */
  readonly trouble: { readonly code: string; readonly message: string } | undefined
}

/** Work that was done in some milliseconds. */
interface Stretch {
  readonly ms: number
  readonly work: number
  readonly records: number
  /** Positions that the source grew by. */
  readonly growth: number
}

/** Stretches are at least so long; and the rate is taken over so much at least. */
const stretchMs = 250
const recentMs = 3_000
/** Stretches from which on the first one counts no more: it holds what is done once, such as to connect and to prepare. */
const enoughStretches = 4
/** The part of the whole time that counts as recent. */
const recentPart = 0.5
/** The variance is taken over so many parts of the recent time: neighbours are alike, and tell too little. */
const batches = 8
/** What no variance shows: that what lies ahead is not what was sampled. */
const leastError = 0.03

/** Counts what is copied. Times are of the monotonic clock. */
export class Meter {
  readonly #beganAt: number
  #survey = new Survey([])
  #position: Position
  #head: Position
  #records = 0
  readonly #stretches: Stretch[] = []
  #open: { since: number; work: number; records: number; growth: number }
  /** When heads were first seen, the oldest first, those behind the copy left out. */
  #heads: { readonly at: number; readonly head: Position }[]

  constructor(now: number, position: Position, head: Position) {
    this.#beganAt = now
    this.#position = position
    this.#head = head
    this.#open = { since: now, work: 0, records: 0, growth: 0 }
    this.#heads = [{ at: now, head }]
  }

  get position(): Position {
    return this.#position
  }

  /** What lies ahead was looked into. */
  surveyed(found: Survey): void {
    this.#survey = found
  }

  /** The copy stands at a position. With what this mover copied to get there; else somebody else did. */
  moved(now: number, position: Position, head: Position, copied?: Amount): void {
    const done = copied ?? this.#survey.between(this.#position, Math.max(this.#position, position))
    const open = this.#open
    open.work += workOf(done)
    open.records += done.records
    open.growth += Math.max(0, head - this.#head)
    this.#records += copied?.records ?? 0
    if (head > this.#head) this.#heads.push({ at: now, head })
    this.#position = position
    this.#head = Math.max(head, position)
    while ((this.#heads[0]?.head ?? Number.POSITIVE_INFINITY) <= position) this.#heads.shift()
    if (this.#heads.length > mostHeads) this.#heads = this.#heads.filter((_, i) => i % 2 === 0)
    if (now - open.since >= stretchMs) this.#close(now)
  }

  /** The mover rested for a reason that says nothing of its rate: paused, or out of reach. */
  interrupted(now: number): void {
    this.#close(now)
    this.#stretches.length = 0
  }

  report(
    now: number,
  ): Pick<Progress, 'position' | 'head' | 'records' | 'recordsPerSecond' | 'lag' | 'recordsLeft' | 'eta'> {
    const positions = Math.max(0, this.#head - this.#position)
    const left = positions === 0 ? noAmount : this.#survey.between(this.#position, this.#head)
    const recent = this.#recent(now)
    const ms = sum(recent, 'ms')
    return {
      position: this.#position,
      head: this.#head,
      records: this.#records,
      recordsPerSecond: ms === 0 ? 0 : (sum(recent, 'records') / ms) * 1_000,
      lag: { positions, ms: positions === 0 ? 0 : now - (this.#heads[0]?.at ?? now) },
      recordsLeft: Math.round(left.records),
      eta: etaOf(workOf(left), recent, this.#growthWork(recent)),
    }
  }

  /** The work that the source's growth made meanwhile, for each of its milliseconds. */
  #growthWork(recent: readonly Stretch[]): number {
    const [growth, ms] = [sum(recent, 'growth'), sum(recent, 'ms')]
    if (growth === 0 || ms === 0) return 0
    return workOf(this.#survey.between(this.#head, this.#head + growth)) / ms
  }

  #close(now: number): void {
    const { since, ...done } = this.#open
    if (now > since) this.#stretches.push({ ms: now - since, ...done })
    this.#open = { since: now, work: 0, records: 0, growth: 0 }
    if (this.#stretches.length > mostStretches) this.#halve()
  }

  /** Neighbours become one: a long move is remembered as long as a short one. */
  #halve(): void {
    const old = this.#stretches.splice(0)
    for (let i = 0; i < old.length; i += 2) {
      const [a, b = zero] = [old[i] ?? zero, old[i + 1]]
      this.#stretches.push({
        ms: a.ms + b.ms,
        work: a.work + b.work,
        records: a.records + b.records,
        growth: a.growth + b.growth,
      })
    }
  }

  #recent(now: number): readonly Stretch[] {
    const wanted = Math.max(recentMs, (now - this.#beganAt) * recentPart)
    let at = this.#stretches.length
    for (let ms = 0; at > 0 && ms < wanted; ) ms += this.#stretches[--at]?.ms ?? 0
    if (at === 0 && this.#stretches.length > enoughStretches) at = 1
    const { since, ...open } = this.#open
    // The first one is all that is known for a while.
    return at === 0 && this.#stretches.length === 0 && now > since
      ? [{ ms: now - since, ...open }]
      : this.#stretches.slice(at)
  }
}

const mostHeads = 1_000
const mostStretches = 2_000
const zero: Stretch = { ms: 0, work: 0, records: 0, growth: 0 }

/** From the recent rate, less what the source grows by, with an error band from the rate's variance. */
function etaOf(left: number, recent: readonly Stretch[], growth: number): Eta | undefined {
  if (left === 0) return { ms: 0, lowMs: 0, highMs: 0 }
  const ms = sum(recent, 'ms')
  const rate = ms === 0 ? 0 : sum(recent, 'work') / ms
  if (recent.length < 2 || rate <= growth) return undefined
  const etaMs = left / (rate - growth)
  const rates = batched(recent).map((batch) => sum(batch, 'work') / sum(batch, 'ms'))
  const variance = rates.reduce((all, each) => all + (each - rate) ** 2, 0) / Math.max(1, rates.length - 1)
  const spread = Math.sqrt(variance) / (rate - growth)
  // Of the mean that was measured, and of the time that is to come, which varies as the past did.
  const error = leastError + 2 * spread * Math.sqrt(1 / rates.length + ms / rates.length / etaMs)
  return { ms: etaMs, lowMs: etaMs / (1 + error), highMs: etaMs * (1 + error) }
}

function batched(stretches: readonly Stretch[]): Stretch[][] {
  const size = Math.max(1, Math.ceil(stretches.length / batches))
  const found: Stretch[][] = []
  for (let at = 0; at < stretches.length; at += size) found.push(stretches.slice(at, at + size))
  return found
}

function sum(stretches: readonly Stretch[], key: keyof Stretch): number {
  let total = 0
  for (const stretch of stretches) total += stretch[key]
  return total
}
