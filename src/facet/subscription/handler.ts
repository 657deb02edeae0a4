/** Calls an application's handler, and ends the wait for it in any case. */
import type { Clock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'

/** Milliseconds that a handler is waited for when it was told to end. */
const graceMs = 2_000

/** What a handler failed with. */
export class HandlerFailed extends Error {
  constructor(cause: unknown) {
    super('The handler failed', { cause })
  }
}

/**
 * Fails with {@link HandlerFailed} if the handler does, or does not end in its time; with `aborted` if it does not end
 * soon after `stop` aborted. Its own signal aborts in both cases.
 */
export async function callHandler(
  clock: Clock,
  ms: number,
  stop: AbortSignal,
  run: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const ending = new AbortController()
  const cancels: (() => void)[] = []
  const late = new Promise<never>((_, reject) => {
    cancels.push(
      clock.timer(ms, () => {
        ending.abort()
        reject(new HandlerFailed(new Error(`The handler took longer than ${ms} ms`)))
      }),
    )
    const end = () => {
      ending.abort(stop.reason)
      const error = new UnderpinError('aborted', 'The handler did not end when it was told to')
      cancels.push(clock.timer(graceMs, () => reject(error)))
    }
    if (stop.aborted) end()
    stop.addEventListener('abort', end, { once: true })
    cancels.push(() => stop.removeEventListener('abort', end))
  })
  const running = run(ending.signal).catch((error: unknown) => {
    throw new HandlerFailed(error)
  })
  try {
    await Promise.race([running, late])
  } finally {
    for (const cancel of cancels) cancel()
  }
}
