/** What the processes of the proof of jobs share. */
import { defineJobs, job, openStore } from '../../src/index.ts'

const retry = { attempts: 1_000, delayMs: 5, maxDelayMs: 50 }

export const definitions = defineJobs({
  effect: job<{ n: number }, number>({ retry }),
  limited: job<{ n: number }, number>({ retry, concurrency: 3 }),
})

/** Every third job is in one of four groups, of which each keeps its order. */
export function groupOf(n: number): string | undefined {
  return n % 3 === 0 ? `group ${n % 4}` : undefined
}

export const effects = 'effects'

export async function openApp(url: string) {
  const store = await openStore(url, { domains: { app: {} }, deadlineMs: 60_000 })
  const domain = store.domain('app')
  return { store, domain, jobs: domain.jobs(definitions) }
}
