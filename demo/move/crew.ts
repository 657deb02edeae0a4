/** The writers as their parent sees them: started, heard, stopped. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { streamOf } from './model.ts'
import type { Acknowledgement, WriterJob } from './writer.ts'

const program = fileURLToPath(new URL('./writer.ts', import.meta.url))

export class Crew {
  /** The numbers that were acknowledged, by stream, in the order of the acknowledgements. */
  readonly acknowledged = new Map<string, number[]>()
  readonly #writers: ChildProcess[] = []
  readonly #ended: Promise<void>[] = []
  #waits: number[] = []
  #complaint = ''

  start(job: WriterJob): void {
    // With the options of this process, so that the child understands TypeScript too.
    const child = spawn(process.execPath, [...process.execArgv, program, JSON.stringify(job)], {
      stdio: 'pipe',
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text
    })
    this.#writers.push(child)
    const listening = this.#listen(job.writer, child)
    this.#ended.push(Promise.all([listening, once(child, 'close')]).then(() => undefined))
  }

  get commits(): number {
    return [...this.acknowledged.values()].reduce((sum, { length }) => sum + length, 0)
  }

  /** Resolves when every caller has been acknowledged something. */
  async working(callers: number): Promise<void> {
    while (this.acknowledged.size < callers) {
      this.#mustLive()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** The milliseconds that commits took since this was asked last, in order. */
  takeWaits(): readonly number[] {
    const waits = this.#waits.sort((a, b) => a - b)
    this.#waits = []
    return waits
  }

  /** Lets them end what they are at, and rejects if one failed. */
  async stop(): Promise<void> {
    this.#mustLive()
    for (const writer of this.#writers) writer.stdin?.end()
    await Promise.all(this.#ended)
    const failed = this.#writers.find(({ exitCode }) => exitCode !== 0)
    if (failed !== undefined) throw this.#failure()
  }

  /** For a demo that failed: no process may stay behind. */
  kill(): void {
    for (const writer of this.#writers) writer.kill('SIGKILL')
  }

  async #listen(writer: number, { stdout }: ChildProcess): Promise<void> {
    if (stdout === null) return
    for await (const line of createInterface({ input: stdout })) {
      const [caller, n, ms] = JSON.parse(line) as Acknowledgement
      const stream = streamOf(writer, caller)
      const numbers = this.acknowledged.get(stream)
      if (numbers === undefined) this.acknowledged.set(stream, [n])
      else numbers.push(n)
      this.#waits.push(ms)
    }
  }

  #mustLive(): void {
    if (this.#writers.some(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null))
      throw this.#failure()
  }

  #failure(): Error {
    return new Error(`A writer failed.\n${this.#complaint}`)
  }
}
