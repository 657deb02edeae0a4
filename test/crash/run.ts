/** Starts the child process, hears it, and kills it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { sleep, systemClock } from '../../src/clock.ts'
import type { ChildJob } from './child.ts'

const program = fileURLToPath(new URL('./child.ts', import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href

/** The command that runs the child, so that another one can run it. */
export function childCommand(job: ChildJob): readonly string[] {
  return [process.execPath, '--import', tsx, program, JSON.stringify(job)]
}

export interface Ended {
  /** The operations that were acknowledged, in that order. */
  readonly acknowledged: readonly number[]
  readonly wasKilled: boolean
}

/** When to kill: after so many lines, and then so many milliseconds. */
export interface Moment {
  readonly lines: number
  readonly ms: number
}

/** Runs a command to its end, or to the moment; fails if it ended by an error of its own. */
export async function run(command: readonly string[], moment?: Moment): Promise<Ended> {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  const [acknowledged] = await Promise.all([hear(child, moment), once(child, 'close')])
  const wasKilled = child.signalCode === 'SIGKILL'
  if (!wasKilled && child.exitCode !== 0)
    throw new Error(`The child ended with ${child.signalCode ?? child.exitCode}: ${complaint}`)
  return { acknowledged, wasKilled }
}

async function hear(child: ChildProcess, moment: Moment | undefined): Promise<readonly number[]> {
  const acknowledged: number[] = []
  let lines = 0
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    const [word, n] = line.split(' ')
    if (word === 'ack') acknowledged.push(Number(n))
    // Not awaited: what the child says in these milliseconds is heard too.
    if (++lines === moment?.lines) void sleep(systemClock, moment.ms).then(() => child.kill('SIGKILL'))
  }
  return acknowledged
}
