/** Tries a fault at every place of every operation, on several sites at once. */
import { append } from '../proof.ts'
import { count, isWrong, type Trial } from './judge.ts'
import { type Operation, operations } from './operation.ts'
import type { Fault } from './proxy.ts'
import { Site } from './site.ts'

/** Sites on one server, opened together. */
export function openSites(url: string, size: number): Promise<readonly Site[]> {
  return Promise.all(Array.from({ length: size }, (_, i) => Site.open(url, `site_${i}`)))
}

/** Trials behind the end of an answer before it counts as the end: answers differ by some digits. */
const beyondEnd = 4

/** Every offset of the server's answer to each operation, from 0 to its end. */
export async function sweepAnswers(
  sites: readonly Site[],
  faultAt: (after: number) => Fault,
): Promise<readonly Trial[]> {
  const trials: Trial[] = []
  const sweeps = operations.map((operation) => ({ operation, next: 0, beyond: 0 }))
  const work = async (site: Site) => {
    for (const sweep of sweeps) {
      while (sweep.beyond < beyondEnd) {
        const after = sweep.next++
        const fault = faultAt(after)
        const trial = await site.try(sweep.operation, fault, `${fault.kind} at ${after}`)
        trials.push(trial)
        if (!trial.hasStruck) sweep.beyond++
      }
    }
  }
  await Promise.all(sites.map(work))
  return trials
}

/** Every request of each write, delivered at every moment until the call has ended. */
export async function sweepRequests(sites: readonly Site[]): Promise<readonly Trial[]> {
  const trials: Trial[] = []
  const writes = operations.filter(({ width }) => width > 0)
  const sweeps = writes.map((operation) => ({ operation, next: 1, isOver: false }))
  const work = async (site: Site) => {
    for (const sweep of sweeps) {
      while (!sweep.isOver) {
        const tried = await tryLate(site, sweep.operation, sweep.next++)
        trials.push(...tried)
        if (tried.length === 1 && !tried[0]?.hasStruck) sweep.isOver = true
      }
    }
  }
  await Promise.all(sites.map(work))
  return trials
}

async function tryLate(site: Site, operation: Operation, request: number): Promise<Trial[]> {
  const trials: Trial[] = []
  for (let before = 1; ; before++) {
    const place = `request ${request} delivered before request ${before} behind it`
    const fault = { kind: 'late', request, before } as const
    const trial = await site.try(operation, fault, place)
    trials.push(trial)
    if (!trial.hasStruck || !trial.isDelivered) return trials
  }
}

/** Prints and records what came of a sweep. */
export function report(mode: string, trials: readonly Trial[], seconds: number): void {
  const struck = trials.filter(({ hasStruck }) => hasStruck)
  const counts = Object.entries(count(struck)).filter(([, times]) => times > 0)
  console.log(
    `${mode}: tried ${struck.length}; ${counts.map(([verdict, times]) => `${verdict} ${times}`).join(', ')} (${seconds.toFixed(1)} s)`,
  )
  append({
    promise: `a connection that fails under a call (${mode})`,
    backend: 'postgres',
    tried: struck.length,
    failed: struck.filter(isWrong).length,
    unknown: struck.filter(({ told }) => told === 'unknown').length,
    seed: 0,
    seconds: Math.round(seconds * 10) / 10,
  })
}
