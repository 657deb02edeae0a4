/** Where results go: lines for people, or one JSON envelope (and records as NDJSON) for programs. */
import { once } from 'node:events'
import { isUnderpinError, maskSecrets } from '../index.ts'
import { escapeText } from './text.ts'

/** What a command has to say at its end. */
export interface Summary {
  readonly data: unknown
  readonly lines?: readonly string[]
  readonly warnings?: readonly string[]
  readonly isOk?: boolean
}

export class Output {
  readonly isJson: boolean
  readonly isQuiet: boolean
  readonly #since = performance.now()

  constructor(options: { json?: boolean; quiet?: boolean }) {
    this.isJson = options.json ?? false
    this.isQuiet = options.quiet ?? false
  }

  /** One record of a stream of them: a line of JSON, or the line for people. Waits while the reader is slow. */
  async record(record: unknown, line: string): Promise<void> {
    await this.#write(this.isJson ? JSON.stringify(record) : line)
  }

  /** The end of a command. */
  async finish({ data, lines = [], warnings = [], isOk = true }: Summary): Promise<void> {
    if (this.isJson) {
      const took = Math.round(performance.now() - this.#since)
      await this.#write(JSON.stringify({ v: 1, ok: isOk, data, warnings, next_steps: [], took_ms: took }))
      return
    }
    if (!this.isQuiet) for (const line of lines) await this.#write(line)
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`)
  }

  fail(error: unknown): void {
    const known = isUnderpinError(error)
    const message = escapeText(maskSecrets(error instanceof Error ? error.message : String(error)))
    if (this.isJson) {
      const shown = {
        code: known ? error.code : 'internal',
        message,
        hint: known ? error.hint : undefined,
        retryable: known && error.retryable,
        docsUrl: known ? error.docs : undefined,
        details: known ? error.details : {},
      }
      process.stdout.write(`${JSON.stringify({ v: 1, ok: false, error: shown })}\n`)
      return
    }
    process.stderr.write(`error${known ? ` (${error.code})` : ''}: ${message}\n`)
    if (known && error.hint !== undefined) process.stderr.write(`  ${escapeText(error.hint)}\n`)
    if (!known && error instanceof Error && process.env['UNDERPIN_TRACE'] !== undefined)
      process.stderr.write(`${error.stack}\n`)
  }

  async #write(line: string): Promise<void> {
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain')
  }
}
