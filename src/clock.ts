/**
 * Time, timers and randomness as one injected value. Nothing in the library reads the wall clock, sets a timer
 * or draws a random number except through a `Clock`, so that a test owns all three.
 */
import { randomBytes } from 'node:crypto'

export interface Clock {
  /** Milliseconds since 1970 (UTC). Orders nothing: it dates records and decides what counts as expired. */
  now(): number
  /** Milliseconds that never go back, for durations and deadlines. */
  monotonic(): number
  /**
   * Calls `run` once after `ms` milliseconds; the returned function cancels it. Keeps the process alive until then:
   * somebody waits for it, and a process must not end under a pending `await`. With `isIdle` nobody does, and it may.
   */
  timer(ms: number, run: () => void, isIdle?: boolean): () => void
  /** A number in [0, 1). */
  random(): number
  /** A new unguessable id of 32 hex digits. */
  id(): string
}

/** The real clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, run, isIdle = false) {
    const handle = setTimeout(run, ms)
    if (isIdle) handle.unref()
    return () => clearTimeout(handle)
  },
  random: () => Math.random(),
  id: () => randomBytes(16).toString('hex'),
}

/** Resolves after `ms` milliseconds of the clock, or at once when the signal aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const cancel = clock.timer(ms, done)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/**
 * Waiting that others can end, also before it has begun: no call between two waits is missed. Waits again and again
 * without a signal made for each: Node 20 keeps something of every `AbortSignal.any` for as long as its sources live.
 */
export class Alarm {
  #isRung = false
  #wake: () => void = () => {}

  ring(): void {
    this.#isRung = true
    this.#wake()
  }

  /** Waits until it is rung, the time is over, or the signal aborts; whether it was rung. */
  async wait(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isRung && !signal.aborted) {
      const waking = new Promise<void>((resolve) => (this.#wake = resolve))
      const end = this.#wake
      const cancel = clock.timer(ms, end)
      signal.addEventListener('abort', end)
      await waking
      signal.removeEventListener('abort', end)
      cancel()
    }
    const isRung = this.#isRung
    this.#isRung = false
    return isRung
  }
}
