/**
 * One error class for everything that can go wrong at run time, recognised by its `code`. A programmer's
 * mistake (a wrong argument type, a call the types forbid) is a `TypeError` and is not meant to be caught.
 */

/** Every code, what it means, and whether the same call may simply be made again. One docs anchor each. */
export const errorCodes = {
  conflict: { retryable: false, meaning: 'A check failed: the stream or document is not as expected.' },
  fenced: { retryable: true, meaning: 'The backend does not hold authority under the epoch that was named.' },
  unknown: {
    retryable: false,
    meaning: 'The commit may or may not have been applied; it is never half applied.',
  },
  invalid: { retryable: false, meaning: 'The input was refused before anything was written.' },
  'too-large': { retryable: false, meaning: 'The input is over a limit; nothing was written.' },
  damaged: { retryable: false, meaning: 'A stored record is not what was written.' },
  truncated: {
    retryable: false,
    meaning: 'Events that were asked for were truncated; the stream goes on behind them.',
  },
  unsupported: { retryable: false, meaning: 'This backend, driver or version cannot do that.' },
  unavailable: {
    retryable: true,
    meaning: 'The store could not be reached or is busy; nothing was written.',
  },
  timeout: { retryable: true, meaning: 'The deadline passed before the call began to take effect.' },
  aborted: { retryable: false, meaning: 'The caller aborted the call before it began to take effect.' },
  closed: { retryable: false, meaning: 'The store was closed.' },
  locked: { retryable: true, meaning: 'Another holder has the lock.' },
  'lost-lease': { retryable: false, meaning: 'The lease ended while the work was under way.' },
  'in-flight': { retryable: true, meaning: 'The same idempotent request is being processed.' },
  mismatch: { retryable: false, meaning: 'The same id was used before for something else.' },
  gate: { retryable: false, meaning: 'A condition that a move requires is not met.' },
  foreign: { retryable: false, meaning: 'The place holds data that Underpin did not write.' },
  'driver-missing': { retryable: false, meaning: 'A driver package is not installed or does not fit.' },
} as const satisfies Record<string, { retryable: boolean; meaning: string }>

export type ErrorCode = keyof typeof errorCodes

export interface ErrorOptions {
  /** What to do about it, one sentence. */
  readonly hint?: string
  /** Facts for programs: names, numbers, the failed checks. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

const mark = Symbol.for('underpin.error')

/** The one error class. Recognise it with {@link isUnderpinError}, which survives duplicate installs. */
export class UnderpinError extends Error {
  override readonly name = 'UnderpinError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly details: Readonly<Record<string, unknown>>
  readonly [mark] = true

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(maskSecrets(message), options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint === undefined ? undefined : maskSecrets(options.hint)
    this.details = options.details ?? {}
  }

  /** Whether the same call may simply be made again. */
  get retryable(): boolean {
    return errorCodes[this.code].retryable
  }

  /** The section of the error reference for this code. */
  get docs(): string {
    return `docs/errors.md#${this.code}`
  }
}

/** True for an error of this library, and with `code`, for one of that code. */
export function isUnderpinError(error: unknown, code?: ErrorCode): error is UnderpinError {
  if (typeof error !== 'object' || error === null || !(mark in error)) return false
  return code === undefined || (error as UnderpinError).code === code
}

/** Replaces the password of every URL in a text, and the values of secret-looking query parameters, by `***`. */
export function maskSecrets(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@/]+@/gi, '$1:***@')
    .replace(/([?&](?:password|pass|token|secret|key)=)[^&\s]+/gi, '$1***')
}
