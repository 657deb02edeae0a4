/** A case: what is measured, against whom, and what was set out to be reached. */
import type { Percentile } from './latency.ts'
import type { Work } from './run.ts'

export type Goal =
  /** The least ratio of Underpin's rate to that of a peer, or to its own in another case. */
  | { readonly kind: 'rate'; readonly against: string; readonly atLeast: number; readonly inCase?: string }
  /** The least rate, as a number. */
  | { readonly kind: 'at least'; readonly rate: number }
  /** The longest latency: in milliseconds, or as a ratio to a peer's. */
  | {
      readonly kind: 'latency'
      readonly at: Percentile
      readonly atMost: number
      readonly against?: string
    }
  /** No call fails, and nothing acknowledged is lost. */
  | { readonly kind: 'no failure' }

export interface Case {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly work: Work
  /** The first is Underpin. */
  readonly peers: readonly string[]
  readonly goals: readonly Goal[]
}

/** Shorthand for most goals. */
export function rate(against: string, atLeast: number, inCase?: string): Goal {
  return { kind: 'rate', against, atLeast, ...(inCase === undefined ? {} : { inCase }) }
}
