/** Runs each case on each of its peers, some rounds of it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Case } from './case.ts'
import { show, showLatency } from './report.ts'
import type { Run, Work } from './run.ts'
import type { Places } from './suite.ts'

/** What became of a peer: its runs, or why it has none. */
export interface Measured {
  readonly runs: Run[]
  reason?: string
}

const script = fileURLToPath(new URL('run.ts', import.meta.url))

/** The runs of each peer. Peers take turns, so that a slow minute of the machine falls on all of them. */
export async function measure(each: Case, rounds: number, places: Places): Promise<Map<string, Measured>> {
  const measured = new Map<string, Measured>(each.peers.map((peer) => [peer, { runs: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (const [peer, found] of measured) {
      const run = await runOnce(each.work, peer, places)
      if (typeof run === 'string') found.reason = run
      else found.runs.push(run)
      const said =
        typeof run === 'string'
          ? `no figure: ${run}`
          : `${show(run.rate)}/s${troubles(run)}${showLatency(run.latency)}`
      console.log(`${each.title} | ${peer} | ${said}`)
    }
  }
  return measured
}

/** One run in an empty place; a text that says why, if it came to nothing. */
export async function runOnce(work: Work, peer: string, places: Places): Promise<Run | string> {
  const place = await places.make()
  try {
    return await start(work, peer, place)
  } finally {
    await places.remove(place)
  }
}

/** One run in a process of its own, which is stopped if it takes far too long. */
export function start(work: Work, peer: string, place: string, seconds = 240): Promise<Run | string> {
  const args = ['--import', 'tsx', script, JSON.stringify(work), peer, place]
  const options = { timeout: seconds * 1_000, killSignal: 'SIGKILL', maxBuffer: 2 ** 26 } as const
  return new Promise((resolve) => {
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      const line = stdout.trim().split('\n').at(-1) ?? ''
      if (line.startsWith('{')) resolve(JSON.parse(line))
      else resolve(error?.killed ? `stopped after ${seconds} s` : reasonIn(stderr))
    })
  })
}

/** The line of a stack trace that names the error. */
function reasonIn(stderr: string): string {
  const lines = stderr.trim().split('\n')
  const line = lines.find((line) => /^\S*(Error|error)\b.*:/.test(line)) ?? lines.at(-1) ?? ''
  return line.replace(/^\[/, '').slice(0, 200)
}

export function troubles({ failed, lost, done }: Run): string {
  const failures = failed === 0 ? '' : `; ${show(failed)} of ${show(failed + done)} calls failed`
  return lost === 0 ? failures : `${failures}; ${show(lost)} acknowledged events lost`
}
