/** Latencies, counted in buckets one percent wide, so that those of several processes can be added up. */

export const percentiles = ['p50', 'p95', 'p99'] as const
export type Percentile = (typeof percentiles)[number]
/** In milliseconds. */
export type Latency = Readonly<Record<Percentile, number>>

const shortest = 0.001
const width = Math.log(1.01)

export class Latencies {
  /** How many fell into each bucket, from a microsecond up. */
  readonly counts: number[]

  constructor(counts: number[] = []) {
    this.counts = counts
  }

  add(milliseconds: number, times = 1): void {
    const bucket = Math.max(0, Math.round(Math.log(milliseconds / shortest) / width))
    this.counts[bucket] = (this.counts[bucket] ?? 0) + times
  }

  /** Adds those of another process, as they came through JSON: buckets that were never filled are null. */
  addAll(counts: readonly (number | null)[]): void {
    for (const [bucket, count] of counts.entries())
      this.counts[bucket] = (this.counts[bucket] ?? 0) + (count ?? 0)
  }

  /** Undefined if there are none. */
  get latency(): Latency | undefined {
    const total = this.counts.reduce((sum, count) => sum + count, 0)
    if (total === 0) return undefined
    return { p50: this.#at(total * 0.5), p95: this.#at(total * 0.95), p99: this.#at(total * 0.99) }
  }

  #at(rank: number): number {
    let passed = 0
    const bucket = this.counts.findIndex((count) => {
      passed += count ?? 0
      return passed >= rank
    })
    return shortest * Math.exp(bucket * width)
  }
}
