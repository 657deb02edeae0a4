/**
 * How fast a mover may go: decided after each page, from what the page cost and from what others met meanwhile. The
 * application comes first, then the stores, then what the operator allows.
 *
 * One number is steered, the pace: the part of its time that the mover works, and the part of a full page that it takes
 * at once, so that whoever waits behind it waits shortly. It falls by half when somebody suffers and rises by small steps
 * when nobody does (additive increase, multiplicative decrease, as TCP shares a line: RFC 5681).
 */
import type { MoveSettings } from './settings.ts'

export interface Cause {
  /**
   * - `application`: how long the application's commits in this process take, against when the mover rests;
   * - `source`, `target`: how long the store takes for the same thing, against its own best;
   * - `unseen`: others write whom this process does not hear: the mover keeps to a fixed part of the time;
   * - `rate`, `duty`: what the operator allows.
   */
  readonly cause: 'application' | 'source' | 'target' | 'unseen' | 'rate' | 'duty'
  /** 1 where the limit is: what is used of what is allowed. */
  readonly utilisation: number
  /** Whether it holds the mover back now. */
  readonly isLimiting: boolean
}

/** What a page met. */
export interface Load {
  /** Milliseconds for which the mover worked on it, waits of its own left out. */
  readonly workMs: number
  readonly records: number
  /** Since the page before it was begun, in milliseconds, with all waits. */
  readonly sinceMs: number
  /** Others' commits: while it works against while it rests; undefined where too few were heard. */
  readonly application: Measured | undefined
  /** A light read of the source now, against its best; undefined where it would tell nothing. */
  readonly source: Measured | undefined
  /** The cost of a record at the target now, against its best. */
  readonly target: Measured | undefined
  /** Others write to the source, and this process hears none of them. */
  readonly isUnseen: boolean
}

export interface Measured {
  readonly now: number
  readonly before: number
  /** Whether enough was heard since the pace was changed last to change it again. */
  readonly isFresh: boolean
}

export type Limits = Pick<MoveSettings, 'pageItems' | 'maxRate' | 'maxDuty' | 'latencyFactor'>

export interface Decision {
  /** Milliseconds to rest before the next page. */
  readonly waitMs: number
  /** Records in the next page. */
  readonly pageItems: number
  readonly causes: readonly Cause[]
  /** The pace was lowered: what was heard at the one before tells nothing of this one. */
  readonly isSlower: boolean
}

/** The pace never falls below this: a move that stands still for ever helps nobody, and the operator can pause it. */
const slowest = 0.02
const risePerSecond = 0.05
const fall = 0.5
/** Records of a page that are worth a transaction of their own. */
const leastItems = 200
/** Times as long as at their best that a store may take, which has more on its mind than the application alone. */
const storeFactor = 3
/** A read of the store may take so much longer, in milliseconds, whatever its best was: less is noise. */
const storeSlackMs = 3
/**
 * Beside writers that it cannot hear, where they may take 1.3 times as long: the part of the time that a mover takes, and
 * the part of a full page, whose sync others wait behind.
 */
const unseen = { latencyFactor: 1.3, duty: 0.25, page: 0.1 } as const
/** While somebody is heard, the mover rests so much of the time at least, to hear what it is like without it. */
const listeningDuty = 0.9

export class Throttle {
  #pace = 1

  /** The part of its time, and of a full page, that the mover takes; 1 at first. */
  get pace(): number {
    return this.#pace
  }

  decide(load: Load, limits: Limits): Decision {
    const used = {
      application: use(load.application, limits.latencyFactor, 0),
      source: use(load.source, storeFactor, storeSlackMs),
      target: use(load.target, storeFactor, 0),
    }
    const isSlower = this.#steer(load, used)
    const blind = load.isUnseen
      ? (limits.latencyFactor - 1) / (unseen.latencyFactor - 1)
      : Number.POSITIVE_INFINITY
    const duties = {
      unseen: Math.min(1, unseen.duty * blind),
      duty: limits.maxDuty,
      application: load.application === undefined ? this.#pace : this.#pace * listeningDuty,
    }
    const duty = Math.min(duties.unseen, duties.duty, duties.application)
    const dutyMs = load.workMs * (1 / duty - 1)
    const rateMs = limits.maxRate === null ? 0 : (load.records / limits.maxRate) * 1_000 - load.workMs
    const waitMs = Math.max(0, dutyMs, rateMs)
    const isByRate = rateMs > dutyMs
    const share = load.sinceMs > 0 ? Math.min(1, load.workMs / load.sinceMs) : 0
    const rate = load.sinceMs > 0 ? (load.records / load.sinceMs) * 1_000 : 0
    const held = (by: number) => this.#pace < 1 && by >= lowest && !isByRate
    const lowest = Math.max(used.application, used.source, used.target)
    const causes: Cause[] = [
      { cause: 'application', utilisation: used.application, isLimiting: held(used.application) },
      { cause: 'source', utilisation: used.source, isLimiting: held(used.source) },
      { cause: 'target', utilisation: used.target, isLimiting: held(used.target) },
      {
        cause: 'unseen',
        utilisation: load.isUnseen ? share / duties.unseen : 0,
        isLimiting: load.isUnseen && duties.unseen < 1 && duty === duties.unseen && !isByRate,
      },
      {
        cause: 'rate',
        utilisation: limits.maxRate === null ? 0 : rate / limits.maxRate,
        isLimiting: isByRate,
      },
      {
        cause: 'duty',
        utilisation: share / limits.maxDuty,
        isLimiting: limits.maxDuty < 1 && duty === limits.maxDuty && !isByRate,
      },
    ]
    const pageItems = Math.max(
      Math.min(leastItems, limits.pageItems),
      Math.round(limits.pageItems * Math.min(this.#pace, unseen.page * blind)),
    )
    return { waitMs, pageItems, causes, isSlower }
  }

  /** True if it went down. */
  #steer(load: Load, used: Readonly<Record<'application' | 'source' | 'target', number>>): boolean {
    const kinds = ['application', 'source', 'target'] as const
    const suffering = kinds.filter((kind) => used[kind] > 1)
    if (suffering.length === 0) {
      this.#pace = Math.min(1, this.#pace + (risePerSecond * load.sinceMs) / 1_000)
      return false
    }
    if (!suffering.some((kind) => load[kind]?.isFresh)) return false
    this.#pace = Math.max(slowest, this.#pace * fall)
    return true
  }
}

function use(measured: Measured | undefined, factor: number, slack: number): number {
  if (measured === undefined || measured.before <= 0) return 0
  return measured.now / (measured.before * factor + slack)
}
