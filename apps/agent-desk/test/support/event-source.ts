/** A reader of server-sent events: what a browser's `EventSource` does, for tests. */
import type { StoredDeskEvent } from '../../src/event.ts'

export interface ReadEventsOptions {
  /** Sent as `Last-Event-ID`. */
  readonly after?: number
  readonly thread?: string
  readonly signal?: AbortSignal
}

/** The events of a server until it ends, dies, or the signal aborts. */
export async function* readEvents(
  url: string,
  { after, thread, signal }: ReadEventsOptions = {},
): AsyncGenerator<StoredDeskEvent> {
  const query = thread === undefined ? '' : `?thread=${thread}`
  const headers: Record<string, string> = after === undefined ? {} : { 'last-event-id': String(after) }
  try {
    const response = await fetch(`${url}/events/stream${query}`, { headers, ...(signal && { signal }) })
    if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`)
    for await (const block of blocksOf(response.body)) {
      const event = parse(block)
      if (event !== undefined) yield event
    }
  } catch (error) {
    if (!signal?.aborted && !isDisconnect(error)) throw error
  }
}

/** Blocks that a blank line ends; one that a dying server left half is dropped, as a browser does. */
async function* blocksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = ''
  for await (const chunk of body.pipeThrough(
    new TextDecoderStream() as never,
  ) as unknown as AsyncIterable<string>) {
    text += chunk
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      yield text.slice(0, end)
      text = text.slice(end + 2)
    }
  }
}

function parse(block: string): StoredDeskEvent | undefined {
  const fields = new Map(
    block
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const data = fields.get('data')
  if (data === undefined) return undefined
  const event = JSON.parse(data) as StoredDeskEvent
  if (fields.get('id') !== String(event.sequence) || fields.get('event') !== event.type)
    throw new Error(`The fields of the event are not what its data says: ${block}`)
  return event
}

/** What `fetch` fails with when the server dies. */
function isDisconnect(error: unknown): boolean {
  return error instanceof TypeError && /terminated|fetch failed/.test(error.message)
}
