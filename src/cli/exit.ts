/** Exit codes: what a script learns without reading a word. */
import type { ErrorCode } from '../index.ts'

export const exit = {
  ok: 0,
  failure: 1,
  /** Wrong arguments, or a confirmation is needed. */
  usage: 2,
  /** Verification found a difference. */
  mismatch: 4,
  /** A check failed, or somebody else holds the lock. */
  conflict: 5,
  /** The store cannot be reached, or is not there. */
  unreachable: 6,
  /** Stopped by a signal; the state is safe. */
  interrupted: 130,
} as const

type ExitCode = (typeof exit)[keyof typeof exit]

const byCode: Partial<Record<ErrorCode, ExitCode>> = {
  invalid: exit.usage,
  'too-large': exit.usage,
  damaged: exit.mismatch,
  mismatch: exit.mismatch,
  conflict: exit.conflict,
  locked: exit.conflict,
  fenced: exit.conflict,
  'in-flight': exit.conflict,
  unavailable: exit.unreachable,
  timeout: exit.unreachable,
  'driver-missing': exit.unreachable,
  aborted: exit.interrupted,
}

export function exitCodeOf(code: ErrorCode): ExitCode {
  return byCode[code] ?? exit.failure
}
