/** What a move would meet, found before anything is copied: changes nothing in the domain, on either side. */

import type { Backend } from '../backend/backend.ts'
import type { Position } from '../model/position.ts'
import type { Sides } from './sides.ts'
import { see } from './sight.ts'
import type { Latency, Moving } from './status.ts'

export interface PlanOptions {
  readonly signal?: AbortSignal
  /** Records read at most; above it, evenly spread pages are read and the rest is estimated. 200,000 if left out. */
  readonly maxRecords?: number
  /**
   * Measures the target by writing what was read into an empty copy of another domain, `underpin-probe`, which is
   * emptied again; its fence stays there, poisoned. False if left out: then only reads are measured.
   */
  readonly probe?: boolean
  readonly onProgress?: (read: number, of: number) => void
}

/** Something that stands in the way of a move, or that an operator should know before it. */
export interface PlanIssue {
  /** `blocking`: the move cannot be started, or would stop at a gap. */
  readonly kind: 'blocking' | 'warning'
  readonly what: PlanFinding
  readonly message: string
  /** What to do about it. */
  readonly hint: string
  /** Of the record, where it is one. */
  readonly position?: Position
}

export type PlanFinding =
  | 'source'
  | 'target'
  | 'limit'
  | 'collection'
  | 'durability'
  | 'supports'
  | 'placement'
  | 'unreachable'

export interface PlanCounts {
  /** All records were counted; else evenly spread pages were, and the numbers are estimates. */
  readonly isExact: boolean
  /** Records that were looked at. */
  readonly read: number
  readonly head: Position
  readonly records: number
  readonly events: number
  readonly documents: number
  readonly tombstones: number
  readonly streams: number
  /** Of application and Underpin itself, by name. */
  readonly collections: Readonly<Record<string, { readonly documents: number; readonly indexes: number }>>
  /** Bytes of JSON text. */
  readonly bytes: number
}

/** A prediction in milliseconds, and the band that it lies in. */
export interface Prediction {
  readonly ms: number
  readonly lowMs: number
  readonly highMs: number
  /** What it was made of. */
  readonly basis: string
}

export interface MovePlan {
  readonly domain: string
  readonly from: string
  readonly to: string
  /** No issue is blocking. */
  readonly canStart: boolean
  readonly issues: readonly PlanIssue[]
  /** Issues that were found beyond those that are listed. */
  readonly issuesLeftOut: number
  readonly counts: PlanCounts | undefined
  readonly copy: Prediction | undefined
  readonly pause: Prediction | undefined
  readonly latency: Latency | undefined
}

/** The pause of a cutover between two sides, by what a look at each of them takes. */
export function predictPause(latency: Latency, sides: Pick<Sides, 'source' | 'target'>): Prediction {
  const source = stepMs(latency.sourceMs, sides.source)
  const target = stepMs(latency.targetMs, sides.target)
  // Behind the seal: at the source four looks, a page, the seal and the decision; at the target four looks, a page and the opening.
  const ms = 5 * latency.sourceMs + 2 * source + 4 * latency.targetMs + 2 * target
  return { ms, lowMs: ms / 3, highMs: ms * 3, basis: 'the round trips of both sides' }
}

/** Milliseconds that a change of the fence takes: a round trip, and a sync where the backend makes one. */
function stepMs(lookMs: number, { supports }: Backend): number {
  return lookMs * 2 + (supports.durability === 'durable' ? syncMs : 0)
}

/** What a sync is taken to cost where it was not measured. */
const syncMs = 2

export async function planMove(moving: Moving, options: PlanOptions): Promise<MovePlan> {
  const sight = await see(moving.sides, options.signal)
  const { domain, from, to } = moving
  const { latency } = sight
  return {
    ...{ domain, from, to, canStart: true, issues: [], issuesLeftOut: 0, counts: undefined, copy: undefined },
    pause: latency && predictPause(latency, sight.sides),
    latency,
  }
}
