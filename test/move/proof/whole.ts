/** Waits until a domain is quiet, and reads all of it. */
import { setTimeout as pause } from 'node:timers/promises'
import { verifyDomain } from '../../../src/index.ts'
import { definitions } from '../../job/app.ts'
import type { Whole } from './judge.ts'
import { type AppStore, subscriptionsOf } from './work.ts'

/** Until nothing is left to be handled. Fails if that takes longer: then it never will be. */
export async function untilQuiet(store: AppStore, ttlMs: number, withinMs = 30_000): Promise<void> {
  const app = store.domain('app')
  const jobs = app.jobs(definitions)
  const subscriptions = subscriptionsOf(app, ttlMs)
  const since = performance.now()
  for (;;) {
    const statuses = await Promise.all(subscriptions.map((one) => one.status()))
    const open = await Promise.all(
      (['waiting', 'delayed', 'lined', 'running'] as const).map((state) => jobs.list({ state, limit: 1 })),
    )
    if (statuses.every(({ lag }) => lag.positions === 0) && open.every((page) => page.jobs.length === 0))
      return
    if (performance.now() - since > withinMs)
      throw new Error(`Not quiet: ${JSON.stringify({ statuses, open: open.map((page) => page.jobs) })}`)
    // Asked again because no event tells that everybody is done.
    await pause(50)
  }
}

export async function readWhole(store: AppStore): Promise<Whole> {
  const app = store.domain('app')
  const items: Whole['items'][number][] = []
  for (let [after, head] = [0, 1]; after < head; ) {
    const page = await app.changes({ after })
    items.push(...page.items)
    ;[after, head] = [page.next, page.head]
  }
  const jobs: Whole['jobs'][number][] = []
  for (let cursor: string | undefined, isOver = false; !isOver; ) {
    const page = await app.jobs(definitions).list({ limit: 1_000, ...(cursor !== undefined && { cursor }) })
    jobs.push(...page.jobs)
    cursor = page.cursor
    isOver = cursor === undefined
  }
  return { items, jobs }
}

/** Whether every record is what its checksum says, and the digest what the records sum up to, on each of the backends. */
export async function areSound(store: AppStore): Promise<boolean> {
  const found = await Promise.all([...store.backends.values()].map((backend) => verifyDomain(backend, 'app')))
  return found.every(({ isSound }) => isSound)
}
