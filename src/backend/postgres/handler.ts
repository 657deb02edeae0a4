/** Runs a table handler in a commit's transaction, and makes sure that the transaction is still what it was. */
import { UnderpinError } from '../../error.ts'
import type { Outcome } from '../../model/commit.ts'
import { type BoundHandler, endedByHandler, HandlerFailed } from '../table-handler.ts'
import type { Query } from './driver.ts'
import { stateOf } from './error.ts'

/**
 * Only for a commit that was taken. PostgreSQL answers the COMMIT of a transaction in which a statement failed with a
 * ROLLBACK and no error, so a handler that swallowed a failure is found out by a savepoint around it.
 */
export async function runHandler(
  query: Query,
  client: unknown,
  handler: BoundHandler,
  outcome: Outcome | undefined,
): Promise<void> {
  if (outcome?.kind !== 'committed') return
  const { positions, seqs } = outcome
  await query('SAVEPOINT underpin_tables')
  try {
    await handler(client, { positions, seqs })
  } catch (error) {
    throw new HandlerFailed(error)
  }
  try {
    await query('RELEASE SAVEPOINT underpin_tables')
  } catch (error) {
    throw spoiled(error)
  }
}

function spoiled(error: unknown): unknown {
  const state = stateOf(error)
  if (state === '25P01' || state === '3B001') return endedByHandler(error)
  if (state !== '25P02') return error
  return new HandlerFailed(
    new UnderpinError(
      'invalid',
      'A statement of the table handler failed and it did not throw; nothing was written',
      {
        hint: 'After a failed statement PostgreSQL takes no other in that transaction: let the error out, or use a savepoint.',
        cause: error,
      },
    ),
  )
}
