/** Work of a process that must not end with its first failure: that is told, and the work begins again. */
import { setTimeout as pause } from 'node:timers/promises'

export interface KeepRunningOptions {
  /** Milliseconds from the end of the work to its next beginning. */
  readonly pauseMs: number
  /** Ends it; what the work fails with then is told to nobody. */
  readonly signal: AbortSignal
  readonly onFailure: (error: unknown) => void
}

/** Runs `work` again and again, whether it ends or fails, until the signal aborts. */
export async function keepRunning(
  work: () => Promise<void>,
  { pauseMs, signal, onFailure }: KeepRunningOptions,
): Promise<void> {
  while (!signal.aborted) {
    await unlessAborted(work, signal, onFailure)
    await unlessAborted(() => pause(pauseMs, undefined, { signal }), signal, onFailure)
  }
}

async function unlessAborted(
  work: () => Promise<void>,
  signal: AbortSignal,
  onFailure: (error: unknown) => void,
): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!signal.aborted) onFailure(error)
  }
}
