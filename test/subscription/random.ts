import { Random as Numbers } from '../../src/testing/random.ts'

/** Random numbers that a seed repeats. */
export class Random extends Numbers {
  /** A whole number from 0 on, below a limit. */
  below(limit: number): number {
    return this.upTo(limit - 1)
  }
}
