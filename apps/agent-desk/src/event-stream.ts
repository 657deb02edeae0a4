/** Events as server-sent events: from a sequence on, without gap or double, and then as they come. */
import type { Context } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { Broadcast } from './broadcast.ts'
import type { Desk } from './desk.ts'
import { eventTypeName, type StoredDeskEvent } from './event.ts'
import { Refusal } from './refusal.ts'

export interface EventStreamOptions {
  readonly desk: Desk
  readonly broadcast: Broadcast
  /** Ends every stream. */
  readonly signal: AbortSignal
  /** Milliseconds between signs of life of a stream on which nothing happens. */
  readonly heartbeatMs: number
}

const signOfLife = ':\n\n'

/**
 * Answers with the events behind `Last-Event-ID`, else behind `?after=`, else with those to come; with `?thread=`, of one
 * thread alone. Each has its sequence as its id, so that a browser that connects again goes on where it was.
 */
export function streamEvents(context: Context, options: EventStreamOptions): Response {
  const { desk, broadcast, heartbeatMs } = options
  desk.catchUp()
  const given = context.req.header('last-event-id') ?? context.req.query('after')
  const after = given === undefined ? desk.state.sequence : readSequence(given, desk.state.sequence)
  const thread = context.req.query('thread')
  return streamSSE(context, async (sse) => {
    const over = new AbortController()
    sse.onAbort(() => over.abort())
    const heartbeat = setInterval(() => void sse.write(signOfLife), heartbeatMs)
    try {
      await sse.write(signOfLife)
      for await (const event of broadcast.from(after, AbortSignal.any([over.signal, options.signal])))
        if (thread === undefined || isOf(event, thread)) await sse.write(toText(event))
    } finally {
      clearInterval(heartbeat)
    }
  })
}

/** `invalid` for what is no sequence, or is one that this desk has not reached: it is from another one. */
export function readSequence(text: string, last: number): number {
  const sequence = Number(text)
  if (/^\d{1,15}$/.test(text) && sequence <= last) return sequence
  throw new Refusal(
    'invalid',
    `${JSON.stringify(text)} is no sequence of this desk, whose last is ${last}`,
    'Give the id of an event of this desk, or 0 for all of them.',
  )
}

function isOf({ data }: StoredDeskEvent, threadId: string): boolean {
  return 'threadId' in data && data.threadId === threadId
}

/** JSON has no line breaks, so the data is one line. */
function toText(event: StoredDeskEvent): string {
  return `id: ${event.sequence}\nevent: ${eventTypeName(event)}\ndata: ${JSON.stringify(event)}\n\n`
}
