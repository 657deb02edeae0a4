/** Where results go: lines for people, or one JSON envelope (and records as NDJSON) for programs. */
import { once } from 'node:events'
import type { WriteStream } from 'node:tty'
import { isUnderpinError, maskSecrets as mask, systemClock } from '../index.ts'
import { giveWay } from './give-way.ts'
import { escapeJson, escapeText } from './text.ts'

export interface NextStep {
  readonly why: string
  readonly command: string
}

/** What a command has to say at its end. */
export interface Summary {
  readonly data: unknown
  readonly lines?: readonly string[]
  readonly warnings?: readonly string[]
  readonly nextSteps?: readonly NextStep[]
  readonly isOk?: boolean
}

export interface OutputFlags {
  readonly json?: boolean
  readonly quiet?: boolean
  readonly verbose?: boolean
  readonly color?: boolean
}

const red = 31
const yellow = 33

export class Output {
  readonly isJson: boolean
  readonly isQuiet: boolean
  readonly #isVerbose: boolean
  readonly #isColored: boolean
  readonly #since = systemClock.monotonic()
  #stream: WriteStream = process.stdout

  constructor({ json = false, quiet = false, verbose = false, color = true }: OutputFlags) {
    this.isJson = json
    this.isQuiet = quiet
    this.#isVerbose = verbose
    this.#isColored = color && process.stderr.isTTY && !process.env.NO_COLOR
  }

  /** From now on, everything that is not the data itself goes to stderr: stdout is the data. */
  leaveStdout(): void {
    this.#stream = process.stderr
  }

  /** One record of a stream of them: a line of JSON, or the line for people. Waits while the reader is slow. */
  async record(record: unknown, line: string): Promise<void> {
    await this.#write(this.isJson ? JSON.stringify(record) : line)
    await giveWay()
  }

  /** The end of a command. */
  async finish({ data, lines = [], warnings = [], nextSteps = [], isOk = true }: Summary): Promise<void> {
    if (this.isJson) {
      await this.#envelope({ ok: isOk, data, warnings, next_steps: nextSteps, took_ms: this.#tookMs() })
      return
    }
    if (!this.isQuiet) for (const line of lines) await this.#write(line)
    for (const warning of warnings) this.#tell(yellow, 'warning', warning)
    if (this.isQuiet) return
    for (const { why, command } of nextSteps) process.stderr.write(`${why}:\n  ${mask(command)}\n`)
    if (this.#isVerbose) process.stderr.write(`took ${this.#tookMs()} ms\n`)
  }

  /** The end of a command that failed. */
  async fail(error: unknown, nextSteps: readonly NextStep[] = []): Promise<void> {
    const known = isUnderpinError(error)
    const message = mask(error instanceof Error ? error.message : String(error))
    if (this.isJson) {
      const shown = {
        code: known ? error.code : 'internal',
        message,
        hint: known ? error.hint : undefined,
        retryable: known && error.retryable,
        docsUrl: known ? error.docs : undefined,
        details: known ? error.details : {},
      }
      await this.#envelope({ ok: false, error: shown, next_steps: nextSteps, took_ms: this.#tookMs() })
      return
    }
    this.#tell(red, known ? `error (${error.code})` : 'error', message)
    if (known && error.hint !== undefined) process.stderr.write(`  ${escapeText(error.hint)}\n`)
    for (const { why, command } of nextSteps) process.stderr.write(`${why}:\n  ${mask(command)}\n`)
    if (this.#isVerbose) process.stderr.write(`${stackOf(error)}\ntook ${this.#tookMs()} ms\n`)
  }

  /** Wrong arguments: what is wrong was told on stderr already. */
  usage(message: string): Promise<void> {
    const error = { code: 'usage', message, retryable: false, details: {} }
    return this.#envelope({ ok: false, error, next_steps: [], took_ms: this.#tookMs() })
  }

  #tell(color: number, what: string, text: string): void {
    const head = this.#isColored ? `\u001b[${color}m${what}:\u001b[0m` : `${what}:`
    process.stderr.write(`${head} ${escapeText(mask(text))}\n`)
  }

  #envelope(fields: object): Promise<void> {
    const masked = (_: string, value: unknown) => (typeof value === 'string' ? mask(value) : value)
    return this.#write(JSON.stringify({ v: 1, ...fields }, 'error' in fields ? masked : undefined))
  }

  async #write(line: string): Promise<void> {
    const shown = this.isJson && this.#stream.isTTY ? escapeJson(line) : line
    if (!this.#stream.write(`${shown}\n`)) await once(this.#stream, 'drain')
  }

  #tookMs(): number {
    return Math.round(systemClock.monotonic() - this.#since)
  }
}

/** Where an error comes from, with what caused it. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`
  return mask(`${error.stack ?? error.message}${cause}`)
}
