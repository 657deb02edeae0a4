/** The writer processes as their parent sees them: started, heard, killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { WriterJob, WriterLine } from './writer.ts'

const program = fileURLToPath(new URL('./writer.ts', import.meta.url))

/** A writer process, from its start to its end. */
export class Writer {
  readonly job: WriterJob
  /** Items whose transaction was acknowledged. */
  acknowledged = 0
  transactions = 0
  /** How often a transaction ran again because another writer had changed what it had read. */
  reruns = 0
  readonly #process: ChildProcess
  readonly #ended: Promise<void>
  #ready: () => void = () => {}
  readonly #isReady = new Promise<void>((resolve) => (this.#ready = resolve))
  #diesAt = Number.POSITIVE_INFINITY
  #complaint = ''

  constructor(job: WriterJob) {
    this.job = job
    // With the options of this process, so that the child understands TypeScript too.
    const args = [...process.execArgv, program, JSON.stringify(job)]
    this.#process = spawn(process.execPath, args, { stdio: 'pipe' })
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text
    })
    this.#ended = Promise.all([this.#listen(), once(this.#process, 'close')]).then(() => undefined)
  }

  /** Whether it died by SIGKILL. */
  get wasKilled(): boolean {
    return this.#process.signalCode === 'SIGKILL'
  }

  /** Resolves when it has opened the store and waits to be let go. */
  async ready(): Promise<void> {
    await Promise.race([this.#isReady, this.#ended.then(() => Promise.reject(this.#failure()))])
  }

  /** Lets it go. */
  go(): void {
    this.#process.stdin?.end('go')
  }

  /** Lets it go, and kills it with SIGKILL as soon as so many items are acknowledged; resolves when it is dead. */
  async goAndDie(items: number): Promise<void> {
    this.#diesAt = items
    this.go()
    await this.#ended
    if (!this.wasKilled) throw this.#failure()
  }

  /** Resolves when it has done its list; rejects if it failed. */
  async finished(): Promise<void> {
    await this.#ended
    if (this.#process.exitCode !== 0) throw this.#failure()
  }

  /** For a demo that failed: no process may stay behind. */
  stop(): void {
    this.#process.kill('SIGKILL')
  }

  async #listen(): Promise<void> {
    const { stdout } = this.#process
    if (stdout === null) return
    for await (const text of createInterface({ input: stdout })) this.#hear(JSON.parse(text) as WriterLine)
  }

  #hear(line: WriterLine): void {
    if (line.kind === 'ready') this.#ready()
    if (line.kind === 'acknowledged') {
      this.acknowledged = line.done
      this.transactions++
      this.reruns += line.reruns
    }
    const isTime = line.kind === 'acknowledged' && line.done >= this.#diesAt
    if (isTime || line.kind === 'doomed') this.#process.kill('SIGKILL')
  }

  #failure(): Error {
    const { signalCode, exitCode } = this.#process
    return new Error(`${this.job.name} ended with ${signalCode ?? exitCode}.\n${this.#complaint}`)
  }
}
