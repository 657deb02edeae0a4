/** What PostgreSQL's own benchmark reaches on this server: transactions that each wait for the disk, as a measure of it. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describeMachine, type Figure } from './report.ts'
import type { Places } from './suite.ts'

const run = promisify(execFile)

export async function runPgbench(places: Places, seconds: number): Promise<readonly Figure[]> {
  const url = await places.make()
  try {
    await run('pgbench', ['-i', '-q', '-s', '10', url])
    const { stdout } = await run('pgbench', ['-N', '-c', '64', '-j', '2', '-T', String(seconds), url])
    const rate = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1])
    const average = /^latency average = (.*)$/m.exec(stdout)?.[1]
    return [toFigure(rate, `latency ${average} on average`)]
  } catch (error) {
    return [toFigure(Number.NaN, `no figure: ${(error as Error).message.split('\n')[0]}`)]
  } finally {
    await places.remove(url)
  }
}

function toFigure(rate: number, note: string): Figure {
  return {
    on: 'postgres',
    id: 'pgbench',
    title: 'pgbench -N, 64 clients: what the server itself reaches',
    subject: 'pgbench -N',
    value: rate,
    unit: 'commits/s',
    peers: {},
    goal: '',
    met: null,
    spread: [rate, rate],
    note,
    machine: describeMachine(),
  }
}
