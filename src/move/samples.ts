/**
 * How long things take while the mover works, and while it does not: the same minute, the same load, told apart by
 * nothing but the mover. So what it costs the others needs no baseline from another day.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Clock } from '../clock.ts'

/** The last so many durations. */
export class Recent {
  readonly #kept: number
  readonly #values: number[] = []
  #next = 0
  /** Of all that were ever added. */
  count = 0

  constructor(kept: number) {
    this.#kept = kept
  }

  add(ms: number): void {
    this.#values[this.#next] = ms
    this.#next = (this.#next + 1) % this.#kept
    this.count++
  }

  /** Undefined below so many samples. */
  quantile(part: number, least: number): number | undefined {
    return this.#values.length < least ? undefined : at(part, this.#values)
  }

  /** The median of the last few. */
  latest(count: number): number | undefined {
    const length = this.#values.length
    if (length < count) return undefined
    return at(
      0.5,
      Array.from({ length: count }, (_, i) => this.#values[(this.#next + length - 1 - i) % length] ?? 0),
    )
  }

  clear(): void {
    this.#values.length = 0
    this.#next = 0
  }
}

function at(part: number, values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}

/** Of each kind: enough for a 99th percentile. */
const keptSamples = 2_000

/** What others met lately, in milliseconds. */
export interface Contrast {
  /** While the mover rested. */
  readonly calmMs: number
  /** While it worked. */
  readonly busyMs: number
}

export class Samples {
  readonly #clock: Clock
  readonly #calm = new Recent(keptSamples)
  readonly #busy = new Recent(keptSamples)
  /** When the mover last began, and ended, to work. */
  #beganAt = Number.NEGATIVE_INFINITY
  #endedAt = Number.NEGATIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Of all that were ever taken. */
  get count(): number {
    return this.#calm.count + this.#busy.count
  }

  get busyCount(): number {
    return this.#busy.count
  }

  workBegins(): void {
    this.#beganAt = this.#clock.monotonic()
  }

  workEnds(): void {
    this.#endedAt = this.#clock.monotonic()
  }

  /** Something took so long, and is over now. It counts as calm if the mover rested all the while. */
  add(ms: number): void {
    const isResting = this.#endedAt >= this.#beganAt
    const isCalm = isResting && this.#clock.monotonic() - ms >= this.#endedAt
    if (isCalm) this.#calm.add(ms)
    else this.#busy.add(ms)
  }

  /** A quantile of both kinds; undefined while there are fewer than `least` of one. */
  contrast(part: number, least: number): Contrast | undefined {
    const calmMs = this.#calm.quantile(part, least)
    const busyMs = this.#busy.quantile(part, least)
    return calmMs === undefined || busyMs === undefined ? undefined : { calmMs, busyMs }
  }

  /** After the pace changed, what others met at the pace before counts no more. */
  forgetBusy(): void {
    this.#busy.clear()
  }
}

/** What `observe` publishes of each call (the wrapper is above this folder: its channel is what both know). */
interface Call {
  readonly verb: string
  readonly domain: string
  readonly ms: number
  readonly error: unknown
}

const callsChannel = 'underpin:call'

/** Hears of each commit that this process makes in a domain; the returned function ends that. */
export function hearCommits(domain: string, take: (ms: number) => void): () => void {
  const listen = (message: unknown) => {
    const { verb, domain: found, ms, error } = message as Call
    if (verb === 'commit' && found === domain && error === undefined) take(ms)
  }
  subscribe(callsChannel, listen)
  return () => void unsubscribe(callsChannel, listen)
}
