/**
 * The same for frameworks that do not take Request and Response: of each only what is used is named here, so that none
 * of them is a dependency. In all of them the handler returns a Response.
 */
import type { Collections, Domain, NewEvent } from '../index.ts'
import { answer, type Handler, type IdempotentOptions } from './idempotent.ts'

/** Of Hono's context. */
interface HonoContext {
  readonly req: { readonly raw: Request; arrayBuffer(): Promise<ArrayBuffer> }
}

/** Of the requests of Node, Express and Fastify. `body` is there if a parser has read it. */
interface NodeRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly originalUrl?: string | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body?: unknown
}

/** Of Express's response. */
interface NodeResponse {
  statusCode: number
  setHeader(name: string, value: string | string[]): unknown
  end(body: Uint8Array): unknown
}

/** Of Fastify's reply. */
interface FastifyReply {
  code(status: number): unknown
  header(name: string, value: string | string[]): unknown
  send(body: Uint8Array): unknown
}

/** `app.post('/orders', honoIdempotent(orders)((request, tx, c) => …))` */
export function honoIdempotent<
  E extends NewEvent,
  C extends Collections,
  Context extends HonoContext = HonoContext,
>(
  domain: Domain<E, C>,
  options: IdempotentOptions<Context> = {},
): <Given extends Context>(handler: Handler<E, C, Given>) => (context: Given) => Promise<Response> {
  return (handler) => async (context) => {
    const { raw } = context.req
    // A validator has read it; Hono gives the bytes again.
    const request = raw.bodyUsed ? withBody(raw, new Uint8Array(await context.req.arrayBuffer())) : raw
    return answer(domain, options, handler, request, context)
  }
}

/** `app.post('/orders', expressIdempotent(orders)((request, tx, req) => …))`, behind body parsers or without any. */
export function expressIdempotent<
  E extends NewEvent,
  C extends Collections,
  Original extends NodeRequest & AsyncIterable<Uint8Array>,
>(
  domain: Domain<E, C>,
  options: IdempotentOptions<Original> = {},
): <Given extends Original>(
  handler: Handler<E, C, Given>,
) => (request: Given, response: NodeResponse, next: (error: unknown) => void) => Promise<void> {
  return (handler) => async (original, target, next) => {
    try {
      const response = await answer(domain, options, handler, toRequest(original, original), original)
      target.statusCode = response.status
      for (const [name, value] of headersOf(response)) target.setHeader(name, value)
      target.end(new Uint8Array(await response.arrayBuffer()))
    } catch (error) {
      next(error)
    }
  }
}

/** `app.post('/orders', fastifyIdempotent(orders)((request, tx, original) => …))` */
export function fastifyIdempotent<E extends NewEvent, C extends Collections, Original extends NodeRequest>(
  domain: Domain<E, C>,
  options: IdempotentOptions<Original> = {},
): <Given extends Original>(
  handler: Handler<E, C, Given>,
) => (request: Given, reply: FastifyReply) => Promise<FastifyReply> {
  return (handler) => async (original, reply) => {
    const response = await answer(domain, options, handler, toRequest(original, undefined), original)
    reply.code(response.status)
    for (const [name, value] of headersOf(response)) reply.header(name, value)
    reply.send(Buffer.from(await response.arrayBuffer()))
    return reply
  }
}

type Body = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>

function withBody(request: Request, body: Body): Request {
  const { method, url, headers } = request
  return new Request(url, { method, headers, body, duplex: 'half' } as RequestInit)
}

/** Only the path and the query of the URL are used: the host is what the client says it is. */
function toRequest(original: NodeRequest, stream: AsyncIterable<Uint8Array> | undefined): Request {
  const { method = 'GET', headers } = original
  const url = `http://localhost${original.originalUrl ?? original.url ?? '/'}`
  const pairs = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
    name.startsWith(':') ? [] : [value ?? []].flat().map((one) => [name, one]),
  )
  const request = new Request(url, { method, headers: pairs })
  if (method === 'GET' || method === 'HEAD') return request
  const body = original.body === undefined && stream !== undefined ? toStream(stream) : toBody(original.body)
  return body === undefined ? request : withBody(request, body)
}

/** Not ended by who leaves it unread: the framework may yet answer on the same connection. */
function toStream(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await chunks.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
  })
}

/** What a parser made of the body, as bytes again. */
function toBody(body: unknown): Body | undefined {
  if (body === undefined || body === null) return undefined
  if (body instanceof Uint8Array) return new Uint8Array(body)
  return typeof body === 'string' ? body : JSON.stringify(body)
}

function headersOf({ headers }: Response): [string, string | string[]][] {
  const cookies = headers.getSetCookie()
  const others = [...headers].filter(([name]) => name !== 'set-cookie')
  return cookies.length === 0 ? others : [...others, ['set-cookie', cookies]]
}
