/**
 * The sign of life of a process that runs turns: a lock of Underpin's, which ends when it is given back, or some time
 * after the process has died. Whoever gets the lock of another process knows that this one runs nothing any more.
 */
import { type Domain, isUnderpinError } from 'underpin'

export interface LeaseOptions {
  readonly leaseMs: number
  readonly signal: AbortSignal
  /** Called whenever the lease was lost, by a pause longer than it, say: others may take this process for dead. */
  readonly onLost: () => Promise<void>
}

/** Holds the lease of a process until the signal aborts. `onHeld` is called when it has it, also again. */
export async function holdLease(
  runtime: Domain,
  runner: string,
  { leaseMs, signal, onLost }: LeaseOptions,
  onHeld: () => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await runtime.withLock(
        keyOf(runner),
        (lock) => {
          onHeld()
          return aborted(AbortSignal.any([lock.signal, signal]))
        },
        { ttlMs: leaseMs, signal },
      )
    } catch (error) {
      await onLost()
      if (!isUnderpinError(error, 'lost-lease')) throw error
    }
  }
}

/** Runs `work` if another process is dead, or dies while this waits; false if it lives on. */
export async function ifDead(
  runtime: Domain,
  runner: string,
  { leaseMs, signal }: Pick<LeaseOptions, 'leaseMs' | 'signal'>,
  work: () => Promise<void>,
): Promise<boolean> {
  try {
    await runtime.withLock(keyOf(runner), work, { ttlMs: leaseMs, waitMs: leaseMs * 2, signal })
    return true
  } catch (error) {
    if (isUnderpinError(error, 'locked')) return false
    throw error
  }
}

function keyOf(runner: string): string {
  return `runner-${runner}`
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
