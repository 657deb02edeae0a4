/** What the processes of the proof of jobs share. */
import { defineJobs, job, openStore } from '../../src/index.ts'

export const definitions = defineJobs({
  effect: job<{ n: number }, number>({ retry: { attempts: 1_000, delayMs: 5, maxDelayMs: 50 } }),
})

export const effects = 'effects'

export async function openApp(url: string) {
  const store = await openStore(url, { domains: { app: {} }, deadlineMs: 60_000 })
  const domain = store.domain('app')
  return { store, domain, jobs: domain.jobs(definitions) }
}
