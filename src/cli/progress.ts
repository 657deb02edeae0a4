/**
 * Progress of long work: on a terminal one line redrawn, else one line every few seconds, both on stderr; with --json
 * a record every second among the others.
 */
import { systemClock } from '../index.ts'
import { giveWay } from './give-way.ts'
import type { Output } from './output.ts'
import { showDuration, showNumber } from './text.ts'

const barWidth = 24

export class Progress {
  readonly #verb: string
  readonly #output: Output
  readonly #isShown: boolean
  readonly #everyMs: number
  readonly #since = systemClock.monotonic()
  #shownAt: number
  #first: number | undefined
  #isLineOpen = false

  constructor(verb: string, flags: { readonly progress?: boolean }, output: Output) {
    this.#verb = verb
    this.#output = output
    this.#isShown = flags.progress !== false && !output.isQuiet
    this.#everyMs = output.isJson ? 1_000 : process.stderr.isTTY ? 100 : 3_000
    this.#shownAt = this.#since
  }

  /** Records per second since the first update. */
  rate(done: number): number {
    const seconds = (systemClock.monotonic() - this.#since) / 1_000
    return seconds === 0 ? 0 : (done - (this.#first ?? done)) / seconds
  }

  /** May be called for every record: shows something only now and then. `total` is undefined when nobody knows it. */
  async update(done: number, total: number | undefined): Promise<void> {
    this.#first ??= done
    await giveWay()
    const now = systemClock.monotonic()
    if (!this.#isShown || now - this.#shownAt < this.#everyMs) return
    this.#shownAt = now
    if (this.#output.isJson) return this.#record(done, total, now)
    const line = this.#line(done, total)
    this.#isLineOpen = process.stderr.isTTY
    process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
  }

  /** Clears the line, so that what is printed next stands alone. Idempotent. */
  end(): void {
    if (this.#isLineOpen) process.stderr.write('\r\u001b[K')
    this.#isLineOpen = false
  }

  #record(done: number, total: number | undefined, now: number): Promise<void> {
    const rate = Math.round(this.rate(done))
    const rss = process.memoryUsage.rss()
    const ms = Math.round(now - this.#since)
    return this.#output.record({ kind: 'progress', verb: this.#verb, done, total, rate, ms, rss }, '')
  }

  #line(done: number, total: number | undefined): string {
    const rate = this.rate(done)
    const speed = `${showNumber(Math.round(rate))}/s`
    if (total === undefined || total === 0) return `${this.#verb}  ${showNumber(done)}  ${speed}`
    const part = Math.min(1, done / total)
    const bar = '█'.repeat(Math.round(part * barWidth)).padEnd(barWidth, '░')
    // Below a hundredth, an estimate says nothing.
    const left = part < 0.01 || rate === 0 ? '' : `  ${showDuration((total - done) / rate)} left`
    return `${this.#verb}  ${bar}  ${(part * 100).toFixed(1)} %  ${showNumber(done)}/${showNumber(total)}  ${speed}${left}`
  }
}
