/** Callers: each waits for its answer before it asks again. */
import { Latencies } from './latency.ts'

export interface Load {
  /** Operations in all, unless the time is over before. */
  readonly count: number
  readonly callers: number
  readonly seconds: number
}

export interface Driven {
  /** Operations per second. */
  readonly rate: number
  readonly done: number
  readonly failed: number
  readonly seconds: number
  readonly latencies: Latencies
}

/** Runs operations from so many callers at once. */
export async function drive(
  { count, callers, seconds }: Load,
  run: (n: number) => Promise<unknown>,
): Promise<Driven> {
  const latencies = new Latencies()
  let next = 0
  let done = 0
  let failed = 0
  const since = performance.now()
  const until = since + seconds * 1_000
  const caller = async () => {
    for (let now = since; next < count && now < until; ) {
      try {
        await run(next++)
        done++
        const then = performance.now()
        latencies.add(then - now)
        now = then
      } catch {
        failed++
        now = performance.now()
      }
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  const elapsed = (performance.now() - since) / 1_000
  return { rate: done / elapsed, done, failed, seconds: elapsed, latencies }
}
