/**
 * What a process whose calls wait may do for a domain that nobody holds authority over, because who moved it died: help a
 * decided cutover to its end at once, and open a source again that was sealed for longer than the cutover was given.
 * Clocks only say when to try: every step is a compare-and-set of the fence that was seen, so that of a coordinator who
 * lives after all and any number of rescuers one wins, and nothing is lost.
 */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { type Fence, vacantFence } from '../model/fence.ts'
import { settle } from './cutover.ts'
import { abort, isStep } from './protocol.ts'
import { readRecord } from './record.ts'
import { defaultSettings } from './settings.ts'

/** A fence as a process saw it, and since when it has been in that role under that epoch. */
interface Seen {
  readonly backend: Backend
  readonly fence: Fence
  readonly since: number
}

/** Milliseconds of waiting before anything is asked for a rescue: most cutovers are over by then. */
const patienceMs = 100

/** Rescues one domain. Called again and again while calls wait. */
export function rescue(domain: string, clock: Clock): (seen: readonly Seen[]) => Promise<void> {
  let budget: { readonly incarnation: string; readonly epoch: number; readonly ms: number } | undefined

  /** What the cutover that sealed it was given, as it is noted in the domain. */
  const budgetMs = async (source: Backend, { incarnation, epoch }: Fence) => {
    if (budget?.incarnation !== incarnation || budget.epoch !== epoch) {
      const { attempt, settings = defaultSettings } = (await readRecord({ domain, source })) ?? {}
      const isUnderWay = attempt != null && attempt.givenUp === null
      budget = { incarnation, epoch, ms: isUnderWay ? attempt.maxPauseMs : settings.maxPauseMs }
    }
    return budget.ms
  }

  /** The time begins when this process saw the seal, so it never ends before that of a coordinator who is at work. */
  const reopenIfOver = async ({ backend, fence, since }: Seen) => {
    const waitedMs = clock.monotonic() - since
    if (waitedMs < patienceMs || waitedMs < (await budgetMs(backend, fence))) return
    const decision = abort({ source: fence, target: vacantFence, last: 'source' })
    if (isStep(decision)) await backend.transition(domain, decision.from, decision.to)
  }

  return async (seen) => {
    for (const sighting of seen) {
      const { backend, fence } = sighting
      if (fence.role === 'sealed') await reopenIfOver(sighting)
      if (fence.role !== 'handed-off') continue
      const target = seen.find((other) => other.fence.incarnation === fence.successor)
      if (target !== undefined) await settle({ domain, clock, source: backend, target: target.backend })
    }
  }
}
