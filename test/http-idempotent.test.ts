import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type Request as ExpressRequest } from 'express'
import fastify, { type FastifyRequest } from 'fastify'
import { type Context, Hono } from 'hono'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { portOf } from '../src/facet/domain.ts'
import { grants, lostLease } from '../src/facet/lease.ts'
import {
  expressIdempotent,
  fastifyIdempotent,
  honoIdempotent,
  idempotent,
  parseIdempotencyKey,
} from '../src/http/http.ts'
import { type Domain, openStore, type Transaction } from '../src/index.ts'
import { gate, hold } from './gate.ts'
import { placeKinds } from './places.ts'

let orders: Domain
beforeEach(async () => {
  const [memory] = placeKinds
  orders = (await (memory as (typeof placeKinds)[number]).make().open({ orders: {} })).domain(
    'orders',
  ) as Domain
})

const options = {
  tenant: ({ headers }: Request) => headers.get('x-tenant') ?? undefined,
  documentation: 'https://docs.test/keys',
}

/** Places an order and says what it was asked. */
async function place(request: Request, tx: Transaction): Promise<Response> {
  const { total } = (await request.json()) as { total: number }
  tx.append('orders', { type: 'placed', data: { total } })
  if (total < 0) return new Response('no', { status: total === -1 ? 503 : 402 })
  const headers = { location: '/orders/1', 'set-cookie': 'seen=1' }
  return Response.json({ total, n: await orders.log.seq('orders') }, { status: 201, headers })
}

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

type Fetch = (request: Request) => Promise<Response>

/** Sends what a handler of requests would be given to a server. */
function through(port: number): Fetch {
  return async (request) => {
    const { pathname, search } = new URL(request.url)
    return fetch(`http://127.0.0.1:${port}${pathname}${search}`, {
      method: request.method,
      headers: request.headers,
      body: await request.arrayBuffer(),
    })
  }
}

async function listening(server: ReturnType<typeof createServer>): Promise<Fetch> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => new Promise((resolve) => server.close(resolve)))
  closers.push(() => server.closeAllConnections())
  return through((server.address() as AddressInfo).port)
}

/** The same route in each framework. A route handler of Next is a function from Request to Response: the first. */
const frameworks: readonly [string, () => Fetch | Promise<Fetch>][] = [
  ['a fetch handler', () => idempotent(orders, options)(place)],
  [
    'Hono',
    () => {
      const app = new Hono()
      app.post('/*', honoIdempotent(orders, options)(place))
      return async (request) => app.fetch(request)
    },
  ],
  [
    'Hono behind a validator that reads the body',
    () => {
      const app = new Hono()
      app.use(async (c, next) => {
        await c.req.text()
        await next()
      })
      app.post('/*', honoIdempotent(orders, options)(place))
      return async (request) => app.fetch(request)
    },
  ],
  [
    'Express',
    () => {
      const app = express()
      app.post(/.*/, expressIdempotent(orders, options)(place))
      return listening(createServer(app))
    },
  ],
  [
    'Express behind express.json()',
    () => {
      const app = express()
      app.use(express.json())
      app.post(/.*/, expressIdempotent(orders, options)(place))
      return listening(createServer(app))
    },
  ],
  [
    'Fastify',
    async () => {
      const app = fastify()
      app.post('/*', fastifyIdempotent(orders, options)(place))
      await app.listen({ port: 0, host: '127.0.0.1' })
      closers.push(() => app.close())
      return through((app.server.address() as AddressInfo).port)
    },
  ],
]

function post(
  key: string | undefined,
  body: string,
  { path = '/orders', tenant = '', type = 'application/json' } = {},
) {
  const headers = new Headers({ 'content-type': type })
  if (key !== undefined) headers.set('idempotency-key', key)
  if (tenant !== '') headers.set('x-tenant', tenant)
  return new Request(`http://localhost${path}`, { method: 'POST', headers, body })
}

describe.each(frameworks)('an idempotent handler in %s', (_name, make) => {
  let send: Fetch
  beforeEach(async () => {
    send = await make()
  })

  it('answers a request that comes again as the first time, with one effect, and says so', async () => {
    const first = await send(post('"k1"', '{"total":42,"note":"ü"}'))
    expect([
      first.status,
      first.headers.get('idempotency-replayed'),
      first.headers.get('set-cookie'),
    ]).toEqual([201, null, 'seen=1'])
    const body = await first.text()
    for (const again of ['{"total":42,"note":"ü"}', '{ "note": "ü", "total": 42 }']) {
      const replay = await send(post('k1', again))
      expect([replay.status, await replay.text()]).toEqual([201, body])
      expect([replay.headers.get('idempotency-replayed'), replay.headers.get('location')]).toEqual([
        'true',
        '/orders/1',
      ])
      expect(replay.headers.get('content-type')).toBe(first.headers.get('content-type'))
      expect(replay.headers.get('set-cookie')).toBeNull()
    }
    expect(await orders.log.seq('orders')).toBe(1)
  })

  it('refuses a missing or malformed key with 400, and a key of another request with 422, as problem details', async () => {
    await send(post('"k1"', '{"total":1}'))
    for (const [status, request] of [
      [400, post(undefined, '{"total":1}')],
      [400, post('"k1', '{"total":1}')],
      [400, post('"a", "b"', '{"total":1}')],
      [422, post('"k1"', '{"total":2}')],
      [422, post('"k1"', '{"total":1}', { path: '/orders?x=1' })],
    ] as const) {
      const response = await send(request)
      expect([response.status, response.headers.get('content-type')]).toEqual([
        status,
        'application/problem+json',
      ])
      expect(response.headers.get('link')).toBe('<https://docs.test/keys>; rel="describedby"')
      expect(await response.json()).toMatchObject({
        status,
        title: expect.any(String),
        detail: expect.any(String),
      })
    }
    expect(await orders.log.seq('orders')).toBe(1)
  })

  it('keeps keys of another path or tenant apart', async () => {
    for (const other of [{}, { path: '/carts' }, { tenant: 'a' }, { tenant: 'b' }])
      expect((await send(post('"k"', '{"total":1}', other))).headers.get('idempotency-replayed')).toBeNull()
    expect(await orders.log.seq('orders')).toBe(4)
  })

  it('keeps a refusal below 500, and neither an answer nor an effect of a failure', async () => {
    for (const replayed of [null, 'true']) {
      const refused = await send(post('"refused"', '{"total":-2}'))
      expect([refused.status, refused.headers.get('idempotency-replayed')]).toEqual([402, replayed])
    }
    const before = await orders.log.seq('orders')
    for (const _ of [1, 2]) {
      const failed = await send(post('"failed"', '{"total":-1}'))
      expect([failed.status, failed.headers.get('idempotency-replayed')]).toEqual([503, null])
    }
    expect(await orders.log.seq('orders')).toBe(before)
  })

  it('answers one of many that come at once, and the others 409 or the same', async () => {
    const responses = await Promise.all(Array.from({ length: 8 }, () => send(post('"k"', '{"total":1}'))))
    const statuses = responses.map(({ status }) => status)
    expect(statuses.filter((status) => status !== 409 && status !== 201)).toEqual([])
    expect(
      responses.filter(({ headers }) => headers.get('location') && !headers.has('idempotency-replayed')),
    ).toHaveLength(1)
    expect(await orders.log.seq('orders')).toBe(1)
  })
})

describe('an idempotent handler', () => {
  it('gives binary, empty and streamed bodies again, byte by byte', async () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i % 256)
    const bodies = [
      bytes,
      new Uint8Array(),
      new TextEncoder().encode('\ufeffbom'),
      new Uint8Array([65, 0, 66]),
    ]
    for (const [i, body] of bodies.entries()) {
      const stream = new ReadableStream({
        start(controller) {
          for (let at = 0; at < body.length; at += 7) controller.enqueue(body.subarray(at, at + 7))
          controller.close()
        },
      })
      const answer = idempotent(orders)(() => new Response(stream, { status: 200 }))
      for (const _ of [1, 2]) {
        const response = await answer(post(`k${i}`, 'x', { type: 'text/plain' }))
        expect(new Uint8Array(await response.arrayBuffer())).toEqual(body)
      }
    }
    const empty = idempotent(orders)(() => new Response(null, { status: 204 }))
    for (const _ of [1, 2]) expect((await empty(post('none', ''))).status).toBe(204)
  })

  it('refuses bodies beyond its limits, and writes nothing', async () => {
    const answer = idempotent(orders, { maxRequestBytes: 10, maxResponseBytes: 10 })(async (request, tx) => {
      tx.append('orders', { type: 'placed', data: 1 })
      return new Response((await request.text()).repeat(3))
    })
    expect((await answer(post('a', 'x'.repeat(11)))).status).toBe(413)
    await expect(answer(post('a', 'x'.repeat(10)))).rejects.toMatchObject({ code: 'too-large' })
    expect(await orders.log.seq('orders')).toBe(0)
    expect(await (await answer(post('a', 'xxx'))).text()).toBe('x'.repeat(9))
  })

  it('takes JSON of any size that its limit allows', async () => {
    const answer = idempotent(orders, { maxRequestBytes: 2_000_000 })(() => new Response('done'))
    const body = (text: string) => JSON.stringify({ text: text.repeat(1_500_000) })
    for (const replayed of [null, 'true'])
      expect((await answer(post('large', body('x')))).headers.get('idempotency-replayed')).toBe(replayed)
    expect((await answer(post('large', body('y')))).status).toBe(422)
  })

  it('lets what the handler throws through, and keeps nothing of it', async () => {
    let runs = 0
    const answer = idempotent(orders)((_request, tx) => {
      tx.append('orders', { type: 'placed', data: 1 })
      if (runs++ === 0) throw new RangeError('own')
      return new Response('done')
    })
    await expect(answer(post('a', ''))).rejects.toThrow(new RangeError('own'))
    expect(await (await answer(post('a', ''))).text()).toBe('done')
    expect(await orders.log.seq('orders')).toBe(1)
  })

  it('without a key handles the request each time where none is required', async () => {
    const answer = idempotent(orders, { isRequired: false })(place)
    for (const _ of [1, 2]) expect((await answer(post(undefined, '{"total":1}'))).status).toBe(201)
    expect((await answer(post(undefined, '{"total":-1}'))).status).toBe(503)
    expect(await orders.log.seq('orders')).toBe(2)
  })

  it('under way for another process answers 409 with Retry-After', async () => {
    const [begun, { open, opened }] = [gate(), gate()]
    const answer = idempotent(orders)(async () => {
      begun.open()
      await opened
      return new Response('done')
    })
    const first = answer(post('a', ''))
    await begun.opened
    const second = await answer(post('a', ''))
    expect([second.status, second.headers.get('retry-after')]).toEqual([409, '1'])
    open()
    expect((await first).status).toBe(200)
  })
})

describe('a handler with a lock', () => {
  const locked = (request: Request) => new URL(request.url).pathname
  const to = (path: string, key: string) =>
    new Request(`http://shop.test${path}`, { method: 'POST', headers: { 'idempotency-key': key } })

  it('is run one at a time for each key of the lock, once for each Idempotency-Key', async () => {
    const running = new Map<string, number>()
    const most = new Map<string, number>()
    const answer = idempotent(orders, { lock: locked, waitMs: 5_000 })(async (request, tx) => {
      const path = locked(request)
      running.set(path, (running.get(path) ?? 0) + 1)
      most.set(path, Math.max(most.get(path) ?? 0, running.get(path) as number))
      await new Promise((resolve) => setTimeout(resolve, 1))
      tx.append(path, { type: 'done', data: null })
      running.set(path, (running.get(path) as number) - 1)
      return new Response('done')
    })
    const keys = Array.from({ length: 10 }, (_, n) => [
      to('/a', `k${n}`),
      to('/a', `k${n}`),
      to('/b', `k${n}`),
    ])
    const responses = await Promise.all(keys.flat().map(answer))
    expect(responses.map(({ status }) => status)).toEqual(Array(30).fill(200))
    expect([...most]).toEqual([
      ['/a', 1],
      ['/b', 1],
    ])
    expect([await orders.log.seq('/a'), await orders.log.seq('/b')]).toEqual([10, 10])
  })

  it('that waits for too long is answered 409, to be sent again', async () => {
    const store = await openStore('memory:', { domains: { orders: {} }, deadlineMs: 500 })
    closers.push(() => store.close())
    const hurried = store.domain('orders')
    const { open, holding } = await hold(hurried, '/a')
    const answer = idempotent(hurried, { lock: locked })(() => new Response('done'))
    const response = await answer(to('/a', 'k'))
    expect([response.status, response.headers.get('retry-after')]).toEqual([409, '1'])
    open()
    await holding
    expect((await answer(to('/a', 'k'))).status).toBe(200)
  })

  it('that loses the lock writes nothing and is answered 409, and goes through when it is sent again', async () => {
    const ending = { kind: 'delete', collection: grants, id: 'lock//a' } as const
    let isLost = false
    const answer = idempotent(orders, { lock: locked })(async (_request, tx) => {
      if (!isLost) await portOf(orders).commit({ at: 0, writes: [ending], checks: [] })
      isLost = true
      tx.append('/a', { type: 'done', data: null })
      return new Response('done')
    })
    const response = await answer(to('/a', 'k'))
    expect([response.status, response.headers.get('retry-after')]).toEqual([409, '1'])
    expect(await orders.log.seq('/a')).toBe(0)
    expect((await answer(to('/a', 'k'))).status).toBe(200)
    expect(await orders.log.seq('/a')).toBe(1)
  })

  it('that loses the lock behind its commit is answered as it was committed: without a key, it would be done twice', async () => {
    const late = {
      withLock: async (key: string, work: (lock: { domain: Domain }) => Promise<Response>) => {
        await orders.withLock(key, work)
        throw lostLease(`lock/${key}`)
      },
    }
    const options = { lock: locked, isRequired: false }
    const answer = idempotent(
      late as unknown as Domain,
      options,
    )((_request, tx) => {
      tx.append('/a', { type: 'done', data: null })
      return new Response('done', { status: 201 })
    })
    expect((await answer(new Request('http://shop.test/a', { method: 'POST' }))).status).toBe(201)
    expect(await orders.log.seq('/a')).toBe(1)
  })
})

describe('a request whose caller has gone', () => {
  it('waits for the lock no longer, and does nothing', async () => {
    const { open, holding } = await hold(orders, 'busy')
    const gone = new AbortController()
    const answer = idempotent(orders, { lock: () => 'busy' })((_request, tx) => {
      tx.append('busy', { type: 'done', data: null })
      return new Response('done')
    })
    const asked = (key: string, signal?: AbortSignal) =>
      answer(
        new Request('http://shop.test/', {
          method: 'POST',
          headers: { 'idempotency-key': key },
          ...(signal && { signal }),
        }),
      )
    const first = asked('k', gone.signal)
    setImmediate(() => gone.abort())
    expect((await first).status).toBe(409)
    open()
    await holding
    expect((await asked('other')).status).toBe(200)
    expect(await orders.log.seq('busy')).toBe(1)
  })
})

describe('an Idempotency-Key field', () => {
  it.each([
    ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    [' "a b" ', 'a b'],
    ['"a\\"b\\\\c"', 'a"b\\c'],
    ['abc-123_X', 'abc-123_X'],
    [`"${'x'.repeat(255)}"`, 'x'.repeat(255)],
  ])('%s is the key %s', (field, key) => expect(parseIdempotencyKey(field)).toBe(key))

  it.each([
    '',
    '""',
    '"',
    '"a',
    'a"',
    '"a\\b"',
    '"ü"',
    'ü',
    'a b',
    'a,b',
    'a;b',
    '"a";p=1',
    '"a", "b"',
    '"\t"',
    'x'.repeat(256),
  ])('%j is none', (field) => expect(parseIdempotencyKey(field)).toBeUndefined())
})

describe('what an idempotent handler is given', () => {
  it('is what its framework gave, by its own type', async () => {
    const byHono = new Hono<{ Variables: { user: string } }>()
    byHono.use((c, next) => {
      c.set('user', 'ada')
      return next()
    })
    byHono.post(
      '/*',
      honoIdempotent(orders)((_request, _tx, c: Context<{ Variables: { user: string } }>) =>
        c.text(`${c.get('user')} ${c.req.path}`),
      ),
    )
    const byExpress = express()
    byExpress.post(
      '/:what',
      expressIdempotent(orders)(
        (_request, _tx, { params }: ExpressRequest) => new Response(`ada /${params.what}`),
      ),
    )
    const byFastify = fastify()
    byFastify.post(
      '/*',
      fastifyIdempotent(orders)(
        (_request, _tx, { protocol, url }: FastifyRequest) => new Response(`${protocol} ${url}`),
      ),
    )
    await byFastify.listen({ port: 0, host: '127.0.0.1' })
    closers.push(() => byFastify.close())
    const sends: Fetch[] = [
      async (request) => byHono.fetch(request),
      await listening(createServer(byExpress)),
      through((byFastify.server.address() as AddressInfo).port),
    ]
    const texts = sends.map(async (send, i) => (await send(post(`"${i}"`, '{}'))).text())
    expect(await Promise.all(texts)).toEqual(['ada /orders', 'ada /orders', 'http /orders'])
  })
})
