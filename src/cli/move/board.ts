/** Some lines that change while work goes on: on a terminal redrawn in their place, else printed now and then, with --json as records. */
import { systemClock } from '../../index.ts'
import type { Output } from '../output.ts'

export interface Drawn {
  readonly lines: readonly string[]
  /** What a program gets instead. */
  readonly records: readonly object[]
}

export class Board {
  readonly #output: Output
  readonly #isShown: boolean
  readonly #everyMs: number
  #height = 0

  constructor(flags: { readonly progress?: boolean }, output: Output) {
    this.#output = output
    this.#isShown = flags.progress !== false && !output.isQuiet
    this.#everyMs = output.isJson ? 1_000 : process.stderr.isTTY ? 200 : 3_000
  }

  /** Draws again and again until the work is done, and clears what was drawn. The work's result, or its error. */
  async during<T>(work: Promise<T>, draw: () => Drawn | Promise<Drawn>): Promise<T> {
    const over = new AbortController()
    try {
      const [result] = await Promise.all([work.finally(() => over.abort()), this.#draw(draw, over.signal)])
      return result
    } finally {
      this.#clear()
    }
  }

  /** A line that stays. */
  tell(line: string): void {
    if (this.#output.isJson || this.#output.isQuiet) return
    this.#clear()
    process.stderr.write(`${line}\n`)
  }

  async #draw(draw: () => Drawn | Promise<Drawn>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { lines, records } = await draw()
      if (this.#isShown && !signal.aborted) await this.#show(lines, records)
      await pause(this.#everyMs, signal)
    }
  }

  async #show(lines: readonly string[], records: readonly object[]): Promise<void> {
    if (this.#output.isJson) for (const record of records) await this.#output.record(record, '')
    else if (process.stderr.isTTY) this.#redraw(lines)
    else process.stderr.write(lines.map((line) => `${line}\n`).join(''))
  }

  #clear(): void {
    if (this.#height > 0) this.#redraw([])
  }

  #redraw(lines: readonly string[]): void {
    // A line that wraps would take two, and the next drawing would leave one of them behind.
    const width = (process.stderr.columns ?? 80) - 1
    const up = this.#height > 0 ? `\u001b[${this.#height}A` : ''
    const shown = lines.map((line) => `${[...line].slice(0, width).join('')}\n`).join('')
    process.stderr.write(`${up}\r\u001b[J${shown}`)
    this.#height = lines.length
  }
}

/** Resolves after a time, or when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = () => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const cancel = systemClock.timer(ms, end)
    signal.addEventListener('abort', end)
  })
}
