import { Random } from '../../src/testing/random.ts'

/** Random numbers in [0, 1) that a seed repeats. */
export function randomOf(seed: number): () => number {
  const random = new Random(seed)
  return () => random.next()
}
