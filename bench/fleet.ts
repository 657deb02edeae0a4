/** Several processes that append at the same time: forks the workers, starts them together, adds up what they did. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Latencies } from './latency.ts'
import { openerOf } from './peer/index.ts'
import type { Run, Together } from './run.ts'
import type { Worked } from './worker.ts'

const script = fileURLToPath(new URL('worker.ts', import.meta.url))

export async function appendTogether(work: Together, name: string, place: string): Promise<Run> {
  const open = await openerOf(name)
  const domains = Array.from({ length: work.domains }, (_, n) => (n === 0 ? 'bench' : `bench-${n}`))
  // Made here, one after the other: not every peer's tables may be made by several processes at once.
  const peers = []
  for (const domain of domains) peers.push(await open(place, domain))
  const workers = Array.from({ length: work.processes }, (_, n) =>
    fork(script, [JSON.stringify(work), name, place, domains[n % domains.length] as string], {
      execArgv: ['--import', 'tsx'],
      serialization: 'advanced',
    }),
  )
  const warmed = await Promise.all(workers.map(answer))
  for (const worker of workers) worker.send('go')
  const worked = await Promise.all(workers.map(answer))
  const kept = await Promise.all(peers.map((peer) => peer.count?.() ?? Number.POSITIVE_INFINITY))
  for (const peer of peers) await peer.close()

  const latencies = new Latencies()
  for (const { counts } of worked) latencies.addAll(counts)
  const done = sum(worked.map(({ done }) => done))
  return {
    rate: done / Math.max(...worked.map(({ seconds }) => seconds)),
    done,
    failed: sum(worked.map(({ failed }) => failed)),
    lost: Math.max(0, done + sum(warmed.map(({ done }) => done)) - sum(kept)),
    durability: peers[0]?.durability ?? '',
    latency: latencies.latency,
  }
}

/** A worker answers twice: when it is warm, and when it is done. One that ends or fails instead fails the run. */
function answer(worker: ChildProcess): Promise<Worked> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: NodeJS.Signals | null) =>
      reject(new Error(`a worker ended with ${code ?? signal}`))
    worker.once('exit', onExit)
    worker.once('error', reject)
    worker.once('message', (message) => {
      worker.off('exit', onExit)
      worker.off('error', reject)
      resolve(message as Worked)
    })
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
