/** What stands in a mover's way: for a while, for good, or only for this one record. */
import { errorCodes, isUnderpinError, type UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'

/** A change that the target does not take, or the source does not give. The copy stands still before it, so that it never holds a part. */
export interface Gap {
  readonly position: Position
  /** What the store said. */
  readonly code: string
  readonly message: string
}

/**
 * - `passing`: the same may go well later, or may have gone well already: look where the copy stands, and go on;
 * - `elsewhere`: the fences are not what they were: look who leads;
 * - `gap`: the store refuses this record whenever it is asked;
 * - `over`: the store was closed, the caller gave up, or it is no failure of a store at all.
 */
export type Trouble = 'passing' | 'elsewhere' | 'gap' | 'over'

export function troubleOf(error: unknown): Trouble {
  if (!isUnderpinError(error)) return 'over'
  const { code } = error
  if (code === 'fenced') return 'elsewhere'
  if (code === 'closed' || code === 'aborted') return 'over'
  return code === 'unknown' || errorCodes[code].retryable ? 'passing' : 'gap'
}

/** Where the error names no position, the gap is at the first record that was tried. */
export function gapOf({ code, message, details }: UnderpinError, tried: Position): Gap {
  const position = typeof details.position === 'number' ? details.position : tried
  return { position, code, message }
}

export function isSameGap(a: Gap | null | undefined, b: Gap | null | undefined): boolean {
  return a?.position === b?.position && a?.code === b?.code && a?.message === b?.message
}
