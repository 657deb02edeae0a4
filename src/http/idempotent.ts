/**
 * Idempotent handlers: a request that comes again with the same Idempotency-Key gets the response that it got the first
 * time, and its effects happen once, because response and effects are one commit. Follows
 * draft-ietf-httpapi-idempotency-key-header-07: 400 without a key, 409 while the same request is under way, 422 if the
 * key was used for another request; as problem details.
 */
import type { Collections, Domain, NewEvent, Transaction } from '../index.ts'
import { idempotencyToken, isUnderpinError } from '../index.ts'
import { parseIdempotencyKey } from './key.ts'
import {
  describeRequest,
  readBytes,
  requestWith,
  restoreResponse,
  type StoredResponse,
  storeResponse,
} from './message.ts'
import { type Problem, problemResponse } from './problem.ts'

export interface IdempotentOptions<Original = Request> {
  /** Whose key it is, from what the caller was authenticated as. Keys of one tenant say nothing to another. */
  readonly tenant?: (request: Request, original: Original) => string | undefined | Promise<string | undefined>
  /** Whether a request without a key is refused, with 400; true if left out. Else it is handled like any other. */
  readonly isRequired?: boolean
  /** Milliseconds that a response is kept; 24 hours if left out. */
  readonly expiresInMs?: number
  /** Milliseconds to wait for the same request under way before answering 409; 0 if left out. */
  readonly waitMs?: number
  /** Milliseconds without a sign of life after which another process may handle the request, or have the lock; 10,000 if left out. */
  readonly ttlMs?: number
  /**
   * The key of a lock that the request is handled under, one at a time in all processes; none for undefined. Requests wait
   * for it as long as a call to the store may take, then are answered 409; one whose caller has gone waits no longer.
   * One that loses it before its commit has written nothing, and is answered 409.
   */
  readonly lock?: (request: Request, original: Original) => string | undefined
  /** Which responses are kept; those below 500 but 408, 425 and 429 if left out. With one that is not, nothing is written. */
  readonly keep?: (status: number) => boolean
  /** Bytes; 1,048,576 if left out. More is answered with 413. */
  readonly maxRequestBytes?: number
  /** Bytes; 262,144 if left out. More fails with `too-large`, and nothing is written. */
  readonly maxResponseBytes?: number
  /** A URL that problem details point to. */
  readonly documentation?: string
}

/**
 * Answers a request. It may run more than once before it is committed, each time with an unread request, so what it
 * does belongs into the transaction; `original` is what the framework gave.
 */
export type Handler<E extends NewEvent, C extends Collections, Original = Request> = (
  request: Request,
  transaction: Transaction<E, C>,
  original: Original,
) => Response | Promise<Response>

/** `const place = idempotent(orders)((request, tx) => …)`: Request in, Response out, as fetch handlers and Next's routes are. */
export function idempotent<E extends NewEvent, C extends Collections>(
  domain: Domain<E, C>,
  options: IdempotentOptions = {},
): (handler: Handler<E, C>) => (request: Request) => Promise<Response> {
  return (handler) => (request) => answer(domain, options, handler, request, request)
}

/** Thrown through the transaction, so that nothing is written with a response that is not kept. */
class NotKept {
  readonly response: Response

  constructor(response: Response) {
    this.response = response
  }
}

const dayMs = 24 * 3_600_000

export async function answer<E extends NewEvent, C extends Collections, Original>(
  domain: Domain<E, C>,
  options: IdempotentOptions<Original>,
  handler: Handler<E, C, Original>,
  request: Request,
  original: Original,
): Promise<Response> {
  const { isRequired = true, maxRequestBytes = 1_048_576, documentation } = options
  const refuse = (problem: Problem) => problemResponse(problem, documentation)
  const field = request.headers.get('idempotency-key')
  if (field === null && isRequired) return refuse(keyMissing)
  const key = field === null ? undefined : parseIdempotencyKey(field)
  if (field !== null && key === undefined) return refuse(keyMalformed)
  const bytes = await readBytes(request.body, maxRequestBytes)
  if (bytes === undefined) return refuse(bodyTooLarge(maxRequestBytes))
  const run = new Run<E, C>(options, (transaction) =>
    handler(requestWith(request, bytes), transaction, original),
  )
  const perform = async (domain: Domain<E, C>): Promise<Response> => {
    if (key === undefined) {
      await domain.transaction((transaction) => run.once(transaction))
      return run.fresh()
    }
    const { method, url } = request
    const tenant = await options.tenant?.(requestWith(request, bytes), original)
    const scope = ['http', method, new URL(url).pathname, ...(tenant === undefined ? [] : [tenant])]
    const { value, isReplay } = await domain.once(
      idempotencyToken(scope, key),
      describeRequest(request, bytes),
      (transaction) => run.once(transaction),
      onceOptions(options),
    )
    return isReplay ? replay(value) : run.fresh()
  }
  const lock = options.lock?.(request, original)
  let answered: Response | undefined
  try {
    if (lock === undefined) return await perform(domain)
    const { ttlMs } = options
    const waiting = { signal: request.signal, ...(ttlMs === undefined ? {} : { ttlMs }) }
    return await domain.withLock(lock, async (held) => (answered = await perform(held.domain)), waiting)
  } catch (error) {
    // The lock was lost behind the commit, which stands: so does its answer.
    if (answered !== undefined) return answered
    if (error instanceof NotKept) return error.response
    if (isUnderpinError(error, 'in-flight')) return refuse(inFlight)
    if (isUnderpinError(error, 'locked')) return refuse(busy)
    if (isUnderpinError(error, 'lost-lease') && lock !== undefined) return refuse(busy)
    // Nobody is there to be answered, and nothing was begun.
    if (isUnderpinError(error, 'aborted') && request.signal.aborted) return refuse(busy)
    if (isUnderpinError(error, 'mismatch')) return refuse(keyReused)
    throw error
  }
}

/** The runs of one handler for one request: what the last one answered is what was committed. */
class Run<E extends NewEvent, C extends Collections> {
  readonly #handle: (transaction: Transaction<E, C>) => Response | Promise<Response>
  readonly #keep: (status: number) => boolean
  readonly #maxBytes: number
  #last: { readonly stored: StoredResponse; readonly cookies: readonly string[] } | undefined

  constructor(
    { keep = isFinal, maxResponseBytes = 262_144 }: Pick<IdempotentOptions, 'keep' | 'maxResponseBytes'>,
    handle: (transaction: Transaction<E, C>) => Response | Promise<Response>,
  ) {
    this.#handle = handle
    this.#keep = keep
    this.#maxBytes = maxResponseBytes
  }

  async once(transaction: Transaction<E, C>): Promise<StoredResponse> {
    const response = await this.#handle(transaction)
    if (!(response instanceof Response))
      throw new TypeError('An idempotent handler must return a Response: what is sent is what is kept')
    if (!this.#keep(response.status)) throw new NotKept(response)
    const cookies = response.headers.getSetCookie()
    const stored = await storeResponse(response, this.#maxBytes)
    this.#last = { stored, cookies }
    return stored
  }

  /** What the handler answered, cookies included. */
  fresh(): Response {
    if (this.#last === undefined) throw new TypeError('The handler has not run')
    const response = restoreResponse(this.#last.stored)
    for (const cookie of this.#last.cookies) response.headers.append('set-cookie', cookie)
    return response
  }
}

/** Whether the same request would get the same answer again: not if the server failed, or asked to come back later. */
function isFinal(status: number): boolean {
  return status < 500 && status !== 408 && status !== 425 && status !== 429
}

function onceOptions({ expiresInMs = dayMs, waitMs = 0, ttlMs }: IdempotentOptions<never>) {
  return { expiresInMs, waitMs, ...(ttlMs === undefined ? {} : { ttlMs }) }
}

function replay(stored: StoredResponse): Response {
  const response = restoreResponse(stored)
  response.headers.set('idempotency-replayed', 'true')
  return response
}

const keyMissing: Problem = {
  status: 400,
  title: 'Idempotency-Key is missing',
  detail:
    'This operation needs an Idempotency-Key header field, so that a request that comes again has no second effect.',
}
const keyMalformed: Problem = {
  status: 400,
  title: 'Idempotency-Key is malformed',
  detail:
    'The Idempotency-Key header field must be one string of 1 to 255 printable ASCII characters in quotes.',
}
const inFlight: Problem = {
  status: 409,
  title: 'A request with this Idempotency-Key is under way',
  detail: 'The same request is being processed. Send it again in a moment, with the same key.',
}
const busy: Problem = {
  status: 409,
  title: 'Other requests are ahead',
  detail: 'Too many requests change the same thing. Send this one again in a moment, with the same key.',
}
const keyReused: Problem = {
  status: 422,
  title: 'Idempotency-Key was used before',
  detail:
    'This Idempotency-Key was used for another request. Give each request a key of its own, and retry it unchanged.',
}

function bodyTooLarge(max: number): Problem {
  return { status: 413, title: 'Request body is too large', detail: `The body has more than ${max} bytes.` }
}
