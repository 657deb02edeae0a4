/** A command that cannot be done: what was wrong, and what to do instead. Nothing was written. */

export type RefusalCode =
  /** The command itself is wrong. */
  | 'invalid'
  /** A web page of another origin asks. */
  | 'foreign'
  | 'not-found'
  | 'exists'
  /** What the command is about is not in a state for it. */
  | 'wrong-state'
  /** A delta that is not the next one. */
  | 'gap'
  /** Another process runs the turn now. */
  | 'not-runner'
  /** The database was written by a newer version, or its migrations were changed. */
  | 'mismatch'
  /** The process is stopping, or has lost its lease. */
  | 'unavailable'

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RefusalCode
  readonly hint: string | undefined

  constructor(code: RefusalCode, message: string, hint?: string) {
    super(message)
    this.code = code
    this.hint = hint
  }
}
