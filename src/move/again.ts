/** Steps that are taken again, by looking again, until they are done; and waits that end by themselves. */
import { type Clock, sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'

/** Unknown outcomes and refusals before the error stands: about two seconds of waits, and the deadlines of the calls. */
const tries = 8
const shortestWaitMs = 10

/**
 * Repeats a step until it gives something. Each time it begins by looking, so a step whose outcome is unknown, or that
 * was refused because authority had changed, is simply taken again.
 */
export async function untilDone<T extends NonNullable<unknown>>(
  clock: Clock,
  step: () => Promise<T | undefined>,
): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      const result = await step()
      if (result !== undefined) return result
    } catch (error) {
      if (!isPassing(error) || failures >= tries) throw error
      await sleep(clock, shortestWaitMs * 2 ** failures++)
    }
  }
}

function isPassing(error: unknown): boolean {
  return isUnderpinError(error, 'unknown') || isUnderpinError(error, 'fenced')
}

/** Whether an error says that a backend does not answer. */
export function isAway(error: unknown): boolean {
  return (['unavailable', 'timeout', 'unknown', 'closed'] as const).some((code) =>
    isUnderpinError(error, code),
  )
}

/** Runs a call with a signal that aborts after a time of the clock, or with the caller's. */
export async function within<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController()
  const onAbort = () => over.abort(signal?.reason)
  if (signal?.aborted) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  const cancel = clock.timer(ms, () =>
    over.abort(new UnderpinError('timeout', `It took longer than ${ms} ms`)),
  )
  try {
    return await run(over.signal)
  } finally {
    cancel()
    signal?.removeEventListener('abort', onAbort)
  }
}
