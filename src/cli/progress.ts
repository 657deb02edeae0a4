/** Progress of long work on stderr: one line redrawn on a terminal, one line every few seconds otherwise. */
import { showDuration, showNumber } from './text.ts'

const width = 24

export class Progress {
  readonly #verb: string
  readonly #isShown: boolean
  readonly #since = performance.now()
  #first: number | undefined
  #shown = 0

  constructor(verb: string, isShown: boolean) {
    this.#verb = verb
    this.#isShown = isShown
  }

  /** `total` may be undefined when nobody knows it. */
  update(done: number, total: number | undefined): void {
    this.#first ??= done
    const now = performance.now()
    const everyMs = process.stderr.isTTY ? 100 : 3_000
    if (!this.#isShown || now - this.#shown < everyMs) return
    if (this.#shown === 0 && !process.stderr.isTTY && now - this.#since < everyMs) return
    this.#shown = now
    const line = this.#line(done, total, this.rate(done))
    process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${line}` : `${line}\n`)
  }

  /** Clears the line, so that what is printed next stands alone. */
  end(): void {
    if (this.#isShown && this.#shown > 0 && process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  }

  /** Records per second so far. */
  rate(done: number): number {
    return (done - (this.#first ?? done)) / ((performance.now() - this.#since) / 1_000)
  }

  #line(done: number, total: number | undefined, rate: number): string {
    const speed = `${showNumber(Math.round(rate))}/s`
    if (total === undefined || total === 0) return `${this.#verb}  ${showNumber(done)}  ${speed}`
    const part = Math.min(1, done / total)
    const bar = '█'.repeat(Math.round(part * width)).padEnd(width, '░')
    // Below a hundredth, an estimate says nothing.
    const left = part < 0.01 || rate === 0 ? '' : `  ${showDuration((total - done) / rate)} left`
    return `${this.#verb}  ${bar}  ${(part * 100).toFixed(1)} %  ${showNumber(done)} of ${showNumber(total)}  ${speed}${left}`
  }
}
