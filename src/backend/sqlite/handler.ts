/** Runs a table handler in a commit's transaction, and makes sure that the transaction is still there. */
import type { Outcome } from '../../model/commit.ts'
import { type BoundHandler, endedByHandler, HandlerFailed } from '../table-handler.ts'
import type { Connection } from './driver.ts'

/** Only for a commit that was taken. The transaction ends when the handler returns, so it must not return a promise. */
export function runHandler(
  connection: Connection,
  handler: BoundHandler,
  outcome: Outcome | undefined,
): void {
  if (outcome?.kind !== 'committed') return
  const { positions, seqs } = outcome
  connection.exec('SAVEPOINT underpin_tables')
  try {
    refusePromise(handler(connection.handle, { positions, seqs }))
  } catch (error) {
    throw new HandlerFailed(error)
  }
  try {
    connection.exec('RELEASE SAVEPOINT underpin_tables')
  } catch (error) {
    throw endedByHandler(error)
  }
}

function refusePromise(returned: unknown): void {
  const promise = returned as PromiseLike<unknown> | undefined
  if (typeof promise?.then !== 'function') return
  promise.then(undefined, () => {})
  throw new TypeError(
    'A table handler on SQLite must not be asynchronous: what it does after its first await would be outside of the transaction; nothing was written',
  )
}
