/** The routes, over the repositories alone: which store it is, and whether it is being moved, they do not know. */
import { createHash } from 'node:crypto'
import { type Context, Hono } from 'hono'
import type { Clock } from 'underpin'
import { honoIdempotent } from 'underpin/http'
import type { Repositories } from '../lib/db.ts'
import type { StreamTransaction } from '../lib/domain.ts'
import { lockOf } from '../lib/repositories/streams.ts'
import { accruedAt, type Command, type StreamRecord } from '../lib/stream.ts'
import { bodyOf, etagOf, queryOf, requiredTenantOf, tenantOf, versionsOf } from './input.ts'
import { openapi } from './openapi.ts'
import { renderPage } from './page.ts'
import { failureOf, notFound, problemResponse, refusalOf } from './problem.ts'
import {
  activityListSchema,
  exportRequestSchema,
  pageSchema,
  streamListSchema,
  termsSchema,
  withdrawalSchema,
} from './schema.ts'

export interface AppOptions {
  readonly repositories: Repositories
  readonly clock: Pick<Clock, 'now'>
  /** Where clients reach this server; the address of the request if left out. */
  readonly publicUrl?: string | undefined
  /** Told of what was answered with 500. */
  readonly onDefect: (error: unknown) => void
}

const maxRequestBytes = 65_536
/** Milliseconds after which others go on with what a process that died was at. */
const ttlMs = 2_000
/** Milliseconds for which a key gets the same answer: a week, so that who was away for days can still ask again. */
const keysLiveMs = 7 * 24 * 3_600_000
/** Milliseconds that a request waits for the same one under way, before it is told 409. */
const waitMs = 5_000

export function createApp({ repositories, clock, publicUrl, onDefect }: AppOptions): Hono {
  const { streams, exports, domain, store } = repositories
  const app = new Hono()
  const common = { tenant: tenantOf, maxRequestBytes, expiresInMs: keysLiveMs, waitMs, ttlMs }
  const post = honoIdempotent(domain, common)
  /** Changes of one stream: one at a time in all processes. */
  const postToStream = honoIdempotent(domain, {
    ...common,
    lock: (_request: Request, { req }: Context) => lockOf(req.param('id') ?? ''),
  })

  app.post(
    '/streams',
    post((request, tx) =>
      answer(async () => {
        const created = await streams.create(tx, await bodyOf(request, termsSchema))
        return streamResponse(created, 201, { location: `/streams/${created.id}` })
      }),
    ),
  )
  app.get('/streams', async (c) => c.json(await streams.list(queryOf(c, streamListSchema))))
  app.get('/streams/:id', async (c) => {
    const found = await streams.get(c.req.param('id'))
    if (found === undefined) return problemResponse(notFound)
    const isKnown = c.req
      .header('if-none-match')
      ?.split(',')
      .some((tag) => tag.trim() === etagOf(found))
    return isKnown
      ? new Response(null, { status: 304, headers: { etag: etagOf(found) } })
      : streamResponse(found)
  })
  app.get('/streams/:id/balance', async (c) => {
    const found = await streams.get(c.req.param('id'))
    return found === undefined ? problemResponse(notFound) : c.json(balanceOf(found, clock.now()))
  })
  app.get('/streams/:id/activity', async (c) => {
    const stream = c.req.param('id')
    if ((await streams.get(stream)) === undefined) return problemResponse(notFound)
    return c.json(await streams.activity({ stream, ...queryOf(c, pageSchema) }))
  })

  const change = (request: Request, tx: StreamTransaction, id: string, command: Command) =>
    answer(async () => {
      const changed = await streams.change(tx, id, command, { versions: versionsOf(request) })
      return changed === undefined ? problemResponse(notFound) : streamResponse(changed)
    })
  for (const kind of ['start', 'pause', 'stop', 'settle', 'cancel'] as const)
    app.post(
      `/streams/:id/${kind}`,
      postToStream((request, tx, c: Context) => change(request, tx, c.req.param('id') ?? '', { kind })),
    )
  app.post(
    '/streams/:id/withdraw',
    postToStream((request, tx, c: Context) =>
      answer(async () => {
        const { amount } = await bodyOf(request, withdrawalSchema)
        return change(request, tx, c.req.param('id') ?? '', { kind: 'withdraw', amount })
      }),
    ),
  )

  app.get('/activity', async (c) => c.json(await streams.activity(queryOf(c, activityListSchema))))
  app.get('/users/:wallet', async (c) => {
    const found = await streams.user(c.req.param('wallet'))
    return found === undefined ? problemResponse(notFound) : c.json(found)
  })

  app.post(
    '/exports',
    post((request) =>
      answer(async () => {
        const tenant = requiredTenantOf(request)
        // The same request is the same export, whatever became of the answer.
        const id = createHash('sha256')
          .update(request.headers.get('idempotency-key') ?? '')
          .digest('hex')
        const found = await exports.request(tenant, { ...(await bodyOf(request, exportRequestSchema)), id })
        return Response.json(found, { status: 202, headers: { location: `/exports/${id}` } })
      }),
    ),
  )
  app.get('/exports', async (c) => c.json({ items: await exports.list(requiredTenantOf(c.req.raw)) }))
  app.get('/exports/audit', async (c) => c.json({ items: await exports.audit(requiredTenantOf(c.req.raw)) }))
  app.get('/exports/download', (c) => exports.download(c.req.raw))
  app.get('/exports/:id', async (c) => {
    const [tenant, id] = [requiredTenantOf(c.req.raw), c.req.param('id')]
    const found = await exports.get(tenant, id)
    if (found === undefined) return problemResponse(notFound)
    const base = publicUrl ?? new URL(c.req.url).origin
    const link = await exports.link(tenant, id, `${base}/exports/download`)
    return c.json({ ...found, ...(link === undefined ? {} : { link }) })
  })

  app.get('/health', async (c) => {
    const health = await store.health()
    return c.json(health, health.isHealthy ? 200 : 503)
  })
  app.get('/openapi.json', (c) => c.json(openapi))
  const page = renderPage()
  app.get('/', (c) => c.html(page))

  app.notFound(() => problemResponse(notFound))
  app.onError((error) => {
    const problem = failureOf(error)
    if (problem.status === 500) onDefect(error)
    return problemResponse(problem)
  })
  return app
}

/** A refusal is an answer, and kept like any other; every other failure leaves nothing behind. */
async function answer(work: () => Promise<Response>): Promise<Response> {
  try {
    return await work()
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal === undefined) throw error
    return problemResponse(refusal)
  }
}

function streamResponse(record: StreamRecord, status = 200, headers: Record<string, string> = {}): Response {
  return Response.json(record, { status, headers: { etag: etagOf(record), ...headers } })
}

function balanceOf(record: StreamRecord, now: number) {
  const at = Math.max(now, record.updatedAt)
  const { settled, withdrawn, refunded } = record
  const accrued = accruedAt(record, at)
  return { at, accrued, settled, withdrawn, available: accrued - withdrawn, refunded }
}
