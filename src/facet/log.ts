/** The log facet: streams of events. */
import type { CallOptions } from '../backend/backend.ts'
import type { Event } from '../model/event.ts'
import type { Page, Range } from '../model/page.ts'
import { type AppendOptions, type CommitOptions, type CommitResult, Draft } from './draft.ts'
import { decodeEvents, type EventCodec } from './event/codec.ts'
import type { Port, SyncPort } from './port.ts'
import { send, sendSync } from './send.ts'
import type { NewEvent, StoredEvent } from './shape.ts'
import { readStream, readStreamSync } from './truncated.ts'

export interface ReadOptions {
  /** Only events with a higher seq. */
  readonly after?: number
  /** Only events with a lower seq. */
  readonly before?: number
  /** Highest seq first. */
  readonly backwards?: boolean
  /** At most so many stored events; 1,000 if left out. */
  readonly limit?: number
}

/** A part of a stream. */
export interface EventPage<E extends NewEvent> {
  readonly events: readonly StoredEvent<E>[]
  /** The options that read the part behind this one, or undefined at the end. */
  readonly next: ReadOptions | undefined
}

export class Log<E extends NewEvent = NewEvent> {
  readonly #port: Port

  constructor(port: Port) {
    this.#port = port
  }

  /**
   * Appends one or more events to a stream, atomically. Acknowledged means durable (as far as the backend is).
   * Fails with `conflict` if the stream is not as expected, `invalid` or `too-large` before anything is written,
   * `unknown` if the outcome cannot be told.
   */
  append(
    stream: string,
    events: E | readonly E[],
    options: AppendOptions & CommitOptions & CallOptions = {},
  ): Promise<CommitResult> {
    return settle(() => {
      const draft = new Draft(this.#port)
      draft.append(stream, events, options)
      return send(this.#port, draft, options)
    })
  }

  /**
   * One page of a stream, in order of seq. Fails with `damaged` if a record is not what was written, and with `truncated`
   * if it asks for events that were truncated: `details` names the first seq that is left and the archive.
   */
  async read(stream: string, options: ReadOptions & CallOptions = {}): Promise<EventPage<E>> {
    return (await this.#read(stream, options)).page
  }

  /** All events of a stream from `after` on, page by page. */
  async *events(stream: string, options: ReadOptions & CallOptions = {}): AsyncGenerator<StoredEvent<E>> {
    let left = options.limit ?? Number.POSITIVE_INFINITY
    let next: (ReadOptions & CallOptions) | undefined = options
    while (next !== undefined && left > 0) {
      const { page, count }: Read<E> = await this.#read(stream, {
        ...options,
        ...next,
        limit: Math.min(left, 1_000),
      })
      yield* page.events
      left -= count
      next = page.next
    }
  }

  async #read(stream: string, options: ReadOptions & CallOptions): Promise<Read<E>> {
    const range = toRange(options)
    return toRead<E>(this.#port.events, await readStream(this.#port, stream, range, options), range)
  }

  /** The last seq of a stream; 0 if it is empty. */
  async seq(stream: string, options: CallOptions = {}): Promise<number> {
    const page = await this.#port.read(stream, toRange({ backwards: true, limit: 1 }), options)
    return page.items[0]?.seq ?? 0
  }
}

/** The log for synchronous code: the same verbs, answered at once; an acknowledged append is durable here too. */
export class SyncLog<E extends NewEvent = NewEvent> {
  readonly #port: SyncPort

  constructor(port: SyncPort) {
    this.#port = port
  }

  append(
    stream: string,
    events: E | readonly E[],
    options: AppendOptions & CommitOptions = {},
  ): CommitResult {
    const draft = new Draft(this.#port)
    draft.append(stream, events, options)
    return sendSync(this.#port, draft, options)
  }

  read(stream: string, options: ReadOptions = {}): EventPage<E> {
    return this.#read(stream, options).page
  }

  *events(stream: string, options: ReadOptions = {}): Generator<StoredEvent<E>> {
    let left = options.limit ?? Number.POSITIVE_INFINITY
    let next: ReadOptions | undefined = options
    while (next !== undefined && left > 0) {
      const { page, count }: Read<E> = this.#read(stream, {
        ...options,
        ...next,
        limit: Math.min(left, 1_000),
      })
      yield* page.events
      left -= count
      next = page.next
    }
  }

  #read(stream: string, options: ReadOptions): Read<E> {
    const range = toRange(options)
    return toRead<E>(this.#port.events, readStreamSync(this.#port, stream, range), range)
  }

  seq(stream: string): number {
    return this.#port.read(stream, toRange({ backwards: true, limit: 1 })).items[0]?.seq ?? 0
  }
}

function toRange({
  after = 0,
  before = Number.POSITIVE_INFINITY,
  backwards = false,
  limit = 1_000,
}: ReadOptions): Range {
  return { after, before, backwards, limit }
}

/** A page, and how many stored events it was made of: a limit counts those. */
interface Read<E extends NewEvent> {
  readonly page: EventPage<E>
  readonly count: number
}

function toRead<E extends NewEvent>(
  codec: EventCodec,
  { items, next }: Page<Event, number | null>,
  range: Range,
): Read<E> {
  return { page: toEventPage(decodeEvents<E>(codec, items, range), next, range), count: items.length }
}

function toEventPage<E extends NewEvent>(
  events: readonly StoredEvent<E>[],
  next: number | null,
  { after, before, backwards, limit }: Range,
): EventPage<E> {
  if (next === null) return { events, next: undefined }
  const bounds = backwards
    ? { after, before: next }
    : { after: next, ...(before === Number.POSITIVE_INFINITY ? {} : { before }) }
  return { events, next: { ...bounds, backwards, limit } }
}

/** Bad input of an asynchronous call is a rejected promise, never a thrown error. */
export function settle<T>(run: () => Promise<T>): Promise<T> {
  try {
    return run()
  } catch (error) {
    return Promise.reject(error)
  }
}
