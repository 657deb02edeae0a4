/** Refusals as problem details (RFC 9457): one place that says which failure is which answer. */
import { isUnderpinError } from 'underpin'
import { UnknownCursor, VersionMismatch } from '../lib/db.ts'
import { Refusal } from '../lib/stream.ts'

export interface Problem {
  readonly status: number
  readonly title: string
  readonly detail?: string
}

/** A request that is refused for what it says. */
export class BadRequest extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title)
    this.name = 'BadRequest'
    this.problem = problem
  }
}

export function problemResponse(problem: Problem): Response {
  const headers = new Headers({ 'content-type': 'application/problem+json', 'cache-control': 'no-store' })
  if (problem.status === 503) headers.set('retry-after', '1')
  return new Response(JSON.stringify({ type: 'about:blank', ...problem }), {
    status: problem.status,
    headers,
  })
}

export const notFound: Problem = { status: 404, title: 'Not found' }

/** The answer to a refusal, which the same request would get again; undefined for any other failure. */
export function refusalOf(error: unknown): Problem | undefined {
  if (error instanceof BadRequest) return error.problem
  if (error instanceof UnknownCursor)
    return { status: 400, title: 'The cursor is unknown', detail: error.message }
  if (error instanceof VersionMismatch)
    return { status: 412, title: 'The stream was changed', detail: `${error.message}: read it again.` }
  if (error instanceof Refusal) {
    const title = error.reason === 'insufficient' ? 'Not that much is there' : 'Not as it is now'
    return { status: error.reason === 'insufficient' ? 422 : 409, title, detail: error.message }
  }
  return undefined
}

const passing = ['unavailable', 'timeout', 'unknown', 'fenced', 'lost-lease', 'closed', 'conflict'] as const

/** The answer to a failure: 503 for what may be gone in a moment (send it again, with the same key), else 500. */
export function failureOf(error: unknown): Problem {
  const refusal = refusalOf(error)
  if (refusal !== undefined) return refusal
  if (isUnderpinError(error, 'too-large')) return { status: 413, title: 'Too large', detail: error.message }
  if (isUnderpinError(error, 'invalid')) return { status: 400, title: 'Invalid', detail: error.message }
  if (passing.some((code) => isUnderpinError(error, code)))
    return {
      status: 503,
      title: 'The store does not answer',
      detail: 'Send the request again in a moment, with the same Idempotency-Key.',
    }
  return { status: 500, title: 'This is a defect of streampay' }
}
