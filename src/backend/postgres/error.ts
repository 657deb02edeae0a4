/** What PostgreSQL's errors mean here. https://www.postgresql.org/docs/current/errcodes-appendix.html */
import { isUnderpinError, UnderpinError } from '../../error.ts'
import { isLostStatement, pooled } from './pooler.ts'

/** The SQLSTATE of a server's error, or undefined for any other. */
export function stateOf(error: unknown): string | undefined {
  const { code, severity } = error as { code?: unknown; severity?: unknown }
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && severity !== undefined ? code : undefined
}

/** Whether the server said no, so that nothing of the statement or transaction was kept. */
export function isRefusal(error: unknown): boolean {
  if (isUnderpinError(error)) return error.code !== 'unknown'
  const state = stateOf(error)
  return state !== undefined && !isLost(state)
}

/**
 * The session ended, or the server itself failed, perhaps behind the point of no return: what became of a commit under
 * way, only the store can tell. Severities would say it too, but in the server's language.
 */
function isLost(state: string): boolean {
  return /^(?:08|53|58|XX)/.test(state) || /^(?:57P0[125]|25P0[34])$/.test(state)
}

/** Serialization failures, deadlocks, statements cancelled, a server that starts, too many sessions: try again. */
const passing = /^(?:40001|40P01|55P03|57014|57P0[0-5]|25P0[34]|(?:53|58|08)[0-9A-Z]{3})$/
const missing = /^(?:3F000|42P01|42703)$/
const denied = '42501'

/** A table, or a column of it, that is not there, or not any more. */
export function isMissing(error: unknown): boolean {
  return missing.test(stateOf(error) ?? '')
}

/** A key that another row has. */
export function isTaken(error: unknown): boolean {
  return stateOf(error) === '23505'
}

/** A table that somebody uses, for longer than its change may wait. */
export function isInUse(error: unknown): boolean {
  return stateOf(error) === '55P03'
}

/** Whether asking again can bring no other answer. */
export function isLasting(error: unknown): boolean {
  if (isUnderpinError(error)) return true
  const state = stateOf(error)
  return state !== undefined && !passing.test(state)
}

export function translate(error: unknown, place: string): unknown {
  if (isUnderpinError(error)) return error
  const because = error instanceof Error ? error.message : String(error)
  const state = stateOf(error)
  if (state === undefined) {
    return new UnderpinError('unavailable', `${place} cannot be reached: ${because}`, {
      hint: 'Is the server running, and do the address, the user and the password fit?',
      cause: error,
    })
  }
  if (isLostStatement(error)) return pooled(error)
  if (passing.test(state))
    return new UnderpinError('unavailable', `${place} could not take the call: ${because}`, { cause: error })
  if (missing.test(state)) {
    return new UnderpinError('invalid', `${place} has no such table or column: ${because}`, {
      hint: 'Is the store migrated, and the collection declared?',
      cause: error,
    })
  }
  if (state === denied) {
    return new UnderpinError('unsupported', `${place}: the role may not do this: ${because}`, {
      hint: 'A domain and a collection are tables: let a role that may create tables run `underpin migrate` with them, and --grant this one.',
      cause: error,
    })
  }
  if (state.startsWith('28') || state === '3D000')
    return new UnderpinError('unavailable', `${place} refused the session: ${because}`, { cause: error })
  return error
}
