/** Events as server-sent events: from a sequence on, without gap or double, and then as they come. */
import type { Context } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { Desk } from './desk.ts'
import { type DeskEvent, eventTypeName, threadStream } from './event.ts'
import { Refusal } from './refusal.ts'

export interface EventStreamOptions {
  readonly desk: Desk
  /** Ends every stream. */
  readonly signal: AbortSignal
  /** Milliseconds between signs of life of a stream on which nothing happens. */
  readonly heartbeatMs: number
}

/**
 * Answers with the events behind `Last-Event-ID`, else behind `?after=`, else with those to come; with `?thread=`, of one
 * thread alone. Each has its sequence as its id, so that a browser that connects again goes on where it was. The feed is
 * the buffer: a slow reader holds up nobody, and misses nothing.
 */
export function streamEvents(context: Context, options: EventStreamOptions): Response {
  const { desk } = options
  desk.catchUp()
  const given = context.req.header('last-event-id') ?? context.req.query('after')
  const after = given === undefined ? desk.state.sequence : readSequence(given, desk.state.sequence)
  const thread = context.req.query('thread')
  const stream = thread === undefined ? undefined : threadStream(thread)
  return streamSSE(context, async (sse) => {
    const over = new AbortController()
    sse.onAbort(() => over.abort())
    const signal = AbortSignal.any([over.signal, options.signal])
    const heartbeat = setInterval(() => void sse.write(':\n\n'), options.heartbeatMs)
    try {
      await sse.write(':\n\n')
      const filter = stream === undefined ? {} : { filter: { streams: stream } }
      for await (const item of desk.feed.live({ after, ...filter, signal })) {
        if (item.kind !== 'event' || (stream !== undefined && item.stream !== stream)) continue
        const { type, data } = item as DeskEvent
        const storedAt = new Date(item.at).toISOString()
        await sse.writeSSE({
          id: String(item.position),
          event: eventTypeName({ type, data } as DeskEvent),
          data: JSON.stringify({ sequence: item.position, type, data, storedAt }),
        })
      }
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
