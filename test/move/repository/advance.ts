/** One step on in a move that goes round and round: what an operator does who finds it in whatever state. */
import { setTimeout as pause } from 'node:timers/promises'
import type { RepositoryMove } from '../../../src/repository.ts'
import type { Ledger } from './ledger.ts'

export async function advance(move: RepositoryMove<Ledger>, tell: (step: string) => void): Promise<void> {
  const { phase, isBackfilled, verified } = await move.status()
  const step = async (name: string, work: () => Promise<unknown>) => {
    tell(name)
    await work()
  }
  if (phase === 'legacy') return step('start', () => move.start())
  // Reopened by the upkeep of any process when its time is over.
  if (phase === 'sealed') return pause(50)
  if (phase === 'next') throw new Error('Nobody completes it')
  await step('retry', () => move.retry())
  if (phase === 'reverse') return step('rollback', () => move.rollback())
  if (!isBackfilled) return step('backfill', () => move.backfill())
  if (verified === null) return step('verify', () => move.verify())
  await step('cutover', () => move.cutover())
}
