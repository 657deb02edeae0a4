/** Servers as they run in production: processes of their own, for the tests, the rollout and the traffic. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('..', import.meta.url))

export interface ServerProcess {
  readonly address: string
  /** SIGTERM: resolves with the exit code when every request under way was answered. */
  stop(): Promise<number | null>
  /** SIGKILL: ends it wherever it is. */
  kill(): Promise<void>
  /** SIGSTOP, and SIGCONT behind the milliseconds: it knows nothing of the time between. */
  freeze(ms: number): Promise<void>
}

export interface ServerEnvironment {
  readonly DATABASE_URL: string
  readonly NEXT_DATABASE_URL?: string
  readonly EXPORT_FOLDER: string
  readonly EXPORT_SECRET: string
  readonly SERVER_NAME?: string
}

/** Starts a server on a free port; fails with what it printed if it ends instead. */
export async function startProcess(environment: ServerEnvironment): Promise<ServerProcess> {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts'], {
    cwd: folder,
    env: { PATH, PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit') as Promise<[number | null]>
  const address = await listening(child)
  return {
    address,
    async stop() {
      child.kill('SIGTERM')
      return (await exited)[0]
    },
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    async freeze(ms) {
      child.kill('SIGSTOP')
      await pause(ms)
      child.kill('SIGCONT')
    },
  }
}

async function listening({ stdout, stderr }: ChildProcess): Promise<string> {
  if (stdout === null || stderr === null) throw new TypeError('The server has no output')
  let said = ''
  stderr.on('data', (part) => {
    said += part
  })
  for await (const line of createInterface({ input: stdout })) {
    const [, address] = /listens on (http:\/\/\S+),/.exec(line) ?? []
    if (address === undefined) continue
    stdout.resume()
    return address
  }
  throw new Error(`The server did not start:\n${said}`)
}
