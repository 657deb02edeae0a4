/** Exit codes: what a script learns without reading a word. The one table from errors to codes. */
import { type ErrorCode, isUnderpinError } from '../index.ts'

export const exit = {
  ok: 0,
  failure: 1,
  /** Wrong arguments or input, or a confirmation is needed. */
  usage: 2,
  /** Nothing is wrong, but something is still to be done: migrations to apply. */
  pending: 3,
  /** Verification found a difference, or a record that is not what was written. */
  mismatch: 4,
  /** A check failed, or somebody else holds the lock. */
  conflict: 5,
  /** The store cannot be reached, or is not there. */
  unreachable: 6,
  /** A gate is in the way of a move: nothing was done. */
  blocked: 7,
  /** Stopped by a signal; the state is safe. */
  interrupted: 130,
} as const

export type ExitCode = (typeof exit)[keyof typeof exit]

const byCode: Readonly<Record<ErrorCode, ExitCode>> = {
  invalid: exit.usage,
  'too-large': exit.usage,
  damaged: exit.mismatch,
  conflict: exit.conflict,
  mismatch: exit.conflict,
  fenced: exit.conflict,
  locked: exit.conflict,
  'lost-lease': exit.conflict,
  'in-flight': exit.conflict,
  gate: exit.blocked,
  unavailable: exit.unreachable,
  timeout: exit.unreachable,
  'driver-missing': exit.unreachable,
  aborted: exit.interrupted,
  unknown: exit.failure,
  unsupported: exit.failure,
  truncated: exit.failure,
  closed: exit.failure,
  foreign: exit.failure,
}

export function exitCodeOf(error: unknown): ExitCode {
  return isUnderpinError(error) ? byCode[error.code] : exit.failure
}
