/** Runs the built command line in a folder of its own: to its end in a thread, or as a process that can be stopped. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'

export const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export class Cli {
  readonly folder = mkdtempSync(join(tmpdir(), 'underpin-cli-'))
  #stores = 0
  #thread: CliThread | undefined

  path(file: string): string {
    return join(this.folder, file)
  }

  /**
   * Runs a command to its end, while nothing else of this process goes on. A process of its own would take half a second of
   * work to begin; `start` makes one.
   */
  run(args: readonly string[], input: string | Buffer = '', env: NodeJS.ProcessEnv = {}): Ended {
    // Relative paths are those of the process, and a thread cannot change them.
    process.chdir(this.folder)
    this.#thread ??= new CliThread()
    return this.#thread.run(args, Buffer.from(input), env)
  }

  /** The envelope at the end of a command with --json. */
  // biome-ignore lint/suspicious/noExplicitAny: what a test expects of it is in its expectations.
  envelope(args: readonly string[], input?: string | Buffer): any {
    return json(this.run([...args, '--json'], input).out).at(-1)
  }

  start(args: readonly string[]): ChildProcess {
    return spawn(process.execPath, [main, ...args], { cwd: this.folder })
  }

  /** Flags that name a new store, which is not there yet. */
  store(domain: string): [string, string, string, string] {
    return ['-s', `sqlite:./store-${++this.#stores}.db`, '-d', domain]
  }

  async remove(): Promise<void> {
    await this.#thread?.end()
    process.chdir(tmpdir())
    rmSync(this.folder, { recursive: true })
  }
}

const longestRunMs = 120_000

/** A thread that has the command line loaded, and runs one command after the other. */
class CliThread {
  readonly #done = new Int32Array(new SharedArrayBuffer(4))
  readonly #port: MessagePort
  readonly #worker: Worker

  constructor() {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.#worker = new Worker(new URL('./cli-thread.mjs', import.meta.url), {
      workerData: { port: port2, done: this.#done },
      transferList: [port2],
    })
    this.#worker.unref()
  }

  run(args: readonly string[], input: Buffer, env: NodeJS.ProcessEnv): Ended {
    Atomics.store(this.#done, 0, 0)
    this.#port.postMessage({ args, input, env })
    if (Atomics.wait(this.#done, 0, 0, longestRunMs) === 'timed-out')
      throw new Error(`underpin ${args.join(' ')} has not ended in ${longestRunMs} ms`)
    const { error, ...ended } = receiveMessageOnPort(this.#port)?.message ?? {}
    if (error !== undefined) throw error
    return ended
  }

  async end(): Promise<void> {
    this.#port.close()
    await this.#worker.terminate()
  }
}

export function json(text: string) {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** What a stopped process printed, and how it ended. */
export async function ended(child: ChildProcess): Promise<Ended & { readonly signal: string | null }> {
  let out = ''
  let err = ''
  child.stdout?.on('data', (part) => (out += part))
  child.stderr?.on('data', (part) => (err += part))
  const [code, signal] = await once(child, 'close')
  return { code, signal, out, err }
}
