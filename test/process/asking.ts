/** Operations that are asked for by token, many at a time. */
import { type Domain, idempotencyToken, isUnderpinError } from '../../src/index.ts'

export interface Asked {
  readonly operations: readonly number[]
  readonly callers: number
}

export interface Reply {
  readonly operation: number
  /** What was told of it: who did it, and as the how-manieth. */
  readonly value?: string
  readonly isReplay?: boolean
  readonly code?: string
}

let done = 0

async function ask(app: Domain, operation: number): Promise<Reply> {
  try {
    const { value, isReplay } = await app.once(
      idempotencyToken('operation', String(operation)),
      { operation },
      (tx) => {
        tx.append('effects', { type: 'did', data: operation })
        return `${process.pid} ${++done}`
      },
      { waitMs: 60_000, ttlMs: 500 },
    )
    return { operation, value, isReplay }
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    return { operation, code: error.code }
  }
}

export async function askAll(app: Domain, { operations, callers }: Asked): Promise<Reply[]> {
  const replies: Reply[] = []
  const rest = operations[Symbol.iterator]()
  const caller = async () => {
    for (const operation of { [Symbol.iterator]: () => rest }) replies.push(await ask(app, operation))
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return replies
}
