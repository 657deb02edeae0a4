/** The desk over HTTP: one route for commands, others to read, and the events as they come. */
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { type ErrorCode, isUnderpinError } from 'underpin'
import type { Broadcast } from './broadcast.ts'
import type { Desk } from './desk.ts'
import type { StoredDeskEvent } from './event.ts'
import { readSequence, streamEvents } from './event-stream.ts'
import { refuseForeign } from './origin.ts'
import { Reader } from './read.ts'
import { Refusal, type RefusalCode } from './refusal.ts'
import type { Runner } from './runner.ts'

const statuses: Readonly<Record<RefusalCode, ContentfulStatusCode>> = {
  invalid: 400,
  foreign: 403,
  'not-found': 404,
  exists: 409,
  'wrong-state': 409,
  gap: 409,
  'not-runner': 409,
  mismatch: 500,
  unavailable: 503,
}

/** What the store refuses because of what was sent: half of an emoji, a value above a limit. */
const storeStatuses: Partial<Record<ErrorCode, ContentfulStatusCode>> = { invalid: 400, 'too-large': 413 }

const bodyBytes = 4_194_304
const heartbeatMs = 15_000
const pageEvents = { usual: 100, most: 1_000 }

export interface HttpOptions {
  readonly desk: Desk
  readonly runner: Runner
  readonly broadcast: Broadcast
  /** Ends the event streams. */
  readonly signal: AbortSignal
  /** Told of what is answered with 500. */
  readonly onError: (error: unknown) => void
}

export function deskApp({ desk, runner, broadcast, signal, onError }: HttpOptions): Hono {
  const app = new Hono()
  const reader = new Reader(desk.handle)
  app.onError((error, context) => answer(context, error, onError))
  app.notFound((context) => answer(context, new Refusal('not-found', 'There is no such route'), onError))

  app.use(refuseForeign())

  app.post('/commands', bodyLimit({ maxSize: bodyBytes }), async (context) => {
    const { command, events } = await runner.dispatch(await readJson(context))
    return context.json({ command, events }, events.length > 0 ? 201 : 200)
  })

  app.get('/projects', (context) => context.json({ projects: reader.projects() }))
  app.get('/projects/:id', (context) => context.json(reader.project(context.req.param('id'))))
  app.get('/projects/:id/threads', (context) => {
    const { projectId } = reader.project(context.req.param('id'))
    return context.json({ threads: reader.threads(projectId) })
  })
  app.get('/threads/:id', (context) => {
    const thread = reader.thread(context.req.param('id'))
    const { threadId } = thread
    return context.json({
      ...thread,
      turns: reader.turns(threadId),
      checkpoints: reader.checkpoints(threadId),
    })
  })
  app.get('/turns', (context) => context.json({ turns: reader.interrupted() }))
  app.get('/turns/:id', (context) => {
    const turn = reader.turn(context.req.param('id'))
    return context.json({ ...turn, messages: reader.messages(turn.turnId) })
  })
  app.get('/settings', (context) => context.json({ settings: reader.settings() }))

  app.get('/events', (context) => context.json(eventPage(context, desk)))
  app.get('/events/stream', (context) => streamEvents(context, { desk, broadcast, signal, heartbeatMs }))
  app.get('/health', (context) => {
    desk.catchUp()
    const { isTelling } = broadcast
    const { isTaking, id } = runner
    const isHealthy = isTelling && isTaking
    const { sequence } = desk.state
    return context.json(
      { isHealthy, isTelling, isTaking, sequence, runner: id, start: desk.start },
      isHealthy ? 200 : 503,
    )
  })
  return app
}

function eventPage(context: Context, desk: Desk): { events: StoredDeskEvent[]; next: number } {
  desk.catchUp()
  const after = readSequence(context.req.query('after') ?? '0', desk.state.sequence)
  const limit = Number(context.req.query('limit') ?? pageEvents.usual)
  if (!Number.isInteger(limit) || limit < 1 || limit > pageEvents.most)
    throw new Refusal('invalid', `The limit must be a whole number from 1 to ${pageEvents.most}`)
  const events: StoredDeskEvent[] = []
  for (const event of desk.events.replayFrom(after)) if (events.push(event) === limit) break
  return { events, next: events.at(-1)?.sequence ?? after }
}

async function readJson(context: Context): Promise<unknown> {
  try {
    return await context.req.json()
  } catch (error) {
    throw new Refusal('invalid', `The body is no JSON: ${(error as Error).message}`)
  }
}

function answer(context: Context, error: unknown, onError: (error: unknown) => void): Response {
  if (error instanceof Refusal) {
    const { code, message, hint } = error
    return context.json({ error: { code, message, ...(hint === undefined ? {} : { hint }) } }, statuses[code])
  }
  const status = isUnderpinError(error) ? storeStatuses[error.code] : undefined
  if (status === undefined) onError(error)
  if (isUnderpinError(error)) {
    const { code, message, hint } = error
    return context.json({ error: { code, message, hint } }, status ?? (code === 'unavailable' ? 503 : 500))
  }
  return context.json({ error: { code: 'internal', message: 'The desk failed; its log says how' } }, 500)
}
