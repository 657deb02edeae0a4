/** A desk server in a process of its own, on a free port. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

export class Server {
  readonly url: string
  readonly #child: ChildProcess | undefined

  private constructor(url: string, child?: ChildProcess) {
    this.url = url
    this.#child = child
  }

  /** Resolves when it listens. `leaseMs`: how soon after its death its turns count as interrupted. */
  static async start(dataDir: string, leaseMs = 1_000): Promise<Server> {
    const args = ['--import', 'tsx', cli, '--data-dir', dataDir, 'serve', '--port', '0']
    const env = { ...process.env, DESK_LEASE_MS: String(leaseMs) }
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /listening on (\S+)/.exec(line)?.[1]
      if (url !== undefined) return new Server(url, child)
    }
    throw new Error(`The server ended before it listened, with ${child.exitCode ?? child.signalCode}`)
  }

  /** One that runs already, and goes on running. */
  static at(url: string): Server {
    return new Server(url)
  }

  /** Ends it at once, in the middle of whatever it does. */
  kill(): Promise<number | null> {
    return this.#end('SIGKILL')
  }

  /** The exit code. */
  stop(): Promise<number | null> {
    return this.#end('SIGTERM')
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
    return child.exitCode
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.url}${path}`)
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }

  /** The answer to a command, with its status. */
  async command(command: object): Promise<{ status: number; body: CommandAnswer }> {
    const response = await fetch(`${this.url}/commands`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(command),
    })
    return { status: response.status, body: (await response.json()) as CommandAnswer }
  }

  /** The same for a command that must succeed. */
  async send(command: object): Promise<CommandAnswer> {
    const { status, body } = await this.command(command)
    if (status >= 300) throw new Error(`${JSON.stringify(command)}: ${status} ${JSON.stringify(body)}`)
    return body
  }
}

export interface CommandAnswer {
  readonly command: Readonly<Record<string, unknown>>
  readonly events: readonly { readonly sequence: number; readonly type: string }[]
  readonly error?: { readonly code: string; readonly message: string }
}
