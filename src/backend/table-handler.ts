/** What is the same of table handlers on every backend that runs them. */
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Commit, Committed, Outcome, TableHandler } from '../model/commit.ts'

/** What a handler threw, on its way out of the transaction that it undoes. */
export class HandlerFailed extends UnderpinError {
  readonly thrown: unknown

  constructor(thrown: unknown) {
    super('invalid', 'The table handler failed', { cause: thrown })
    this.thrown = thrown
  }
}

/** The handler of a part of a group: a commit that has one is alone in its part. */
export function handlerOf([commit]: readonly Commit[]): BoundHandler | undefined {
  const handler = commit?.tables
  if (handler === undefined) return undefined
  return (client, { positions, seqs }) => handler(client, { positions, seqs, at: commit?.at as number })
}

/** A handler that knows the time of its commit; the backend tells it what was given there. */
export type BoundHandler = (
  client: unknown,
  committed: Pick<Committed, 'positions' | 'seqs'>,
) => ReturnType<TableHandler>

/** The refusal of the one commit whose handler or tables failed; any failure of the store itself is thrown on. */
export function refusalOf(error: unknown): readonly Outcome[] {
  if (error instanceof HandlerFailed) return [{ kind: 'refused', error: error.thrown }]
  // A constraint of the handler's tables that the database checks when the transaction ends, say.
  if (!isUnderpinError(error)) return [{ kind: 'refused', error }]
  throw error
}

/** The handler committed or rolled back by itself: what it left, nobody here can tell. */
export function endedByHandler(cause: unknown): UnderpinError {
  return new UnderpinError('unknown', 'The table handler ended the transaction that it was given', {
    hint: 'Leave BEGIN, COMMIT and ROLLBACK to the store: return to commit, throw to roll back.',
    cause,
  })
}
