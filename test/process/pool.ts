/** Starts processes and gives them tasks; see worker.ts. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Task, tasks } from './tasks.ts'
import type { Answer, Call } from './worker.ts'

export class Process {
  readonly #child: ChildProcess
  readonly #pending = new Map<number, (answer: Answer) => void>()
  #calls = 0

  private constructor() {
    const worker = fileURLToPath(new URL('./worker.ts', import.meta.url))
    this.#child = fork(worker, { execArgv: ['--import', 'tsx'] })
    this.#child.on('message', (answer: Answer | 'ready') => {
      if (answer === 'ready') return
      this.#pending.get(answer.number)?.(answer)
      this.#pending.delete(answer.number)
    })
    this.#child.on('exit', (code, signal) => {
      const error = { code: undefined, message: `The process ended (${code ?? signal})`, hint: undefined }
      for (const [number, settle] of this.#pending) settle({ number, error })
    })
  }

  /** Starts so many processes, and waits until all are ready to work. */
  static async start(count: number): Promise<Process[]> {
    const started = Array.from({ length: count }, () => new Process())
    await Promise.all(started.map((process) => once(process.#child, 'message')))
    return started
  }

  /** Does a task in the process. An error there is an error here, with its code and hint. */
  async call<T extends Task>(
    task: T,
    args: Parameters<(typeof tasks)[T]>[0],
  ): Promise<Awaited<ReturnType<(typeof tasks)[T]>>> {
    const call: Call = { number: ++this.#calls, task, args }
    const answered = new Promise<Answer>((resolve) => this.#pending.set(call.number, resolve))
    this.#child.send(call)
    const { result, error } = await answered
    if (error !== undefined) throw Object.assign(new Error(error.message), error)
    return result as Awaited<ReturnType<(typeof tasks)[T]>>
  }

  /** Ends the process, and waits until it has ended. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}
