/**
 * A fence in the store itself: a row that says which epoch writers must name, and triggers that refuse all others. So a
 * write that left a process before it was taken for dead cannot land after the cutover.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { UnderpinError } from '../../error.ts'

/** What a call says of itself to the store. */
export interface Session {
  readonly epoch: number
  /** Copies from one side to the other while it is sealed. */
  readonly isMover: boolean
}

/** Begins every message of a refusal, so that it is known through whatever driver or mapper it came. */
export const refusal = 'underpin fence'

export abstract class StoreFence {
  readonly #calls = new AsyncLocalStorage<Session>()

  /**
   * Refuses all writers but the mover of this epoch; waits for transactions that wrote before, and fails with `gate` if
   * they do not end. Does nothing if it was raised above.
   */
  abstract seal(epoch: number): Promise<void>

  /** Refuses the writers of earlier epochs, and lets those of this one write. Does nothing if it was raised to it, or above. */
  abstract open(epoch: number): Promise<void>

  /** Runs a call of the repository so that what it writes can name its epoch. Called by `route`. */
  run<R>(session: Session, work: () => R): R {
    return this.#calls.run(session, work)
  }

  /** Of the call that runs now; undefined outside of a routed one. */
  protected get session(): Session | undefined {
    return this.#calls.getStore()
  }
}

/** Whether a write failed because a fence refused it: then nothing of its transaction was written. */
export function isRefusedByFence(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause.message.includes(refusal)) return true
  return false
}

/** A transaction that wrote before does not end: what a seal fails with. */
export function heldUp(name: string, cause: unknown): UnderpinError {
  return new UnderpinError('gate', `Fence ${name}: a transaction that wrote before does not end`, {
    hint: 'It may be of a process that is stopped. End it, or its process; then cut over again.',
    details: { fence: name },
    cause,
  })
}

/** A table's or a schema's name in SQL. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

const namePattern = /^[a-z][a-z0-9_]{0,30}$/

/** The name of a fence stands in settings, triggers and messages of the store. */
export function checkFenceName(name: string): void {
  if (!namePattern.test(name))
    throw new TypeError(
      `The name of a fence must be of lower-case letters, digits and "_", a letter first, at most 31: ${name}`,
    )
}
