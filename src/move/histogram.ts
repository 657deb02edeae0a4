/** Durations, counted in fixed buckets, so that those of many processes can be added up. */

/** Upper bounds of the buckets in milliseconds; one more bucket holds what is longer than the last. */
export const histogramBoundsMs: readonly number[] = Object.freeze([
  0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 350, 500, 750, 1_000,
  1_500, 2_000, 5_000, 10_000,
])

export interface Histogram {
  readonly count: number
  /** How many durations fell into each bucket: up to its bound in {@link histogramBoundsMs}, above the one before. */
  readonly buckets: readonly number[]
  readonly maxMs: number
}

const emptyHistogram: Histogram = Object.freeze({
  count: 0,
  buckets: Object.freeze(new Array<number>(histogramBoundsMs.length + 1).fill(0)),
  maxMs: 0,
})

/** A histogram under way. */
export class Durations {
  readonly #buckets = [...emptyHistogram.buckets]
  #count = 0
  #maxMs = 0

  add(ms: number): void {
    const found = histogramBoundsMs.findIndex((bound) => ms <= bound)
    const bucket = found === -1 ? histogramBoundsMs.length : found
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1
    this.#count++
    this.#maxMs = Math.max(this.#maxMs, ms)
  }

  get histogram(): Histogram {
    return { count: this.#count, buckets: [...this.#buckets], maxMs: this.#maxMs }
  }
}

export function addHistograms(histograms: readonly Histogram[]): Histogram {
  return {
    count: histograms.reduce((sum, { count }) => sum + count, 0),
    buckets: emptyHistogram.buckets.map((_, i) =>
      histograms.reduce((sum, { buckets }) => sum + (buckets[i] ?? 0), 0),
    ),
    maxMs: Math.max(0, ...histograms.map(({ maxMs }) => maxMs)),
  }
}

/** The duration that a part, in (0, 1], did not exceed: the bound of its bucket, so never too short. 0 of none. */
export function percentileOf({ count, buckets, maxMs }: Histogram, part: number): number {
  let passed = 0
  const bucket = buckets.findIndex((found) => {
    passed += found
    return passed >= count * part
  })
  return Math.min(maxMs, histogramBoundsMs[bucket] ?? maxMs)
}
