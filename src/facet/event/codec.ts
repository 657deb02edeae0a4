/** How the events of a domain are written and read: by definitions, or as they are. */
import { UnderpinError } from '../../error.ts'
import type { Event } from '../../model/event.ts'
import { type NewEvent, type StoredEvent, toStoredEvent } from '../shape.ts'

export interface EventCodec {
  /** The types of events that are defined, or undefined where any may be. */
  readonly types: readonly string[] | undefined
  /** What is stored of an event that the application appends; `invalid` if it does not fit its definition. */
  encode(event: NewEvent): NewEvent
  /** What the application sees of a stored event: usually one event, by its upcasters also several or none. */
  decode(event: Event): readonly StoredEvent[]
  /** Whether a stored event can be decoded, and what comes of it fits its definition: fails with why not. */
  examine(event: Event): Promise<void>
}

/** Events without definitions: any type, any data. */
export const plainEvents: EventCodec = {
  types: undefined,
  encode(event) {
    checkMeta(event)
    return event
  },
  decode: (event) => [toStoredEvent(event)],
  async examine() {},
}

/** Events with all that is stored of them, reserved keys included: for what copies them. */
export const storedEvents: EventCodec = { ...plainEvents, encode: (event) => event }

/** Streams of Underpin's own, which the definitions of an application say nothing of. */
export function isOwnStream(stream: string): boolean {
  return stream.startsWith('$')
}

/** All that the application sees of stored events, in the order in which they were read. */
export function decodeEvents<E extends NewEvent>(
  codec: EventCodec,
  events: readonly Event[],
  { backwards = false }: { readonly backwards?: boolean } = {},
): StoredEvent<E>[] {
  const decoded: StoredEvent[] = []
  for (const event of events) {
    const seen = codec.decode(event)
    if (seen.length === 1) decoded.push(seen[0] as StoredEvent)
    else decoded.push(...(backwards ? seen.toReversed() : seen))
  }
  return decoded as StoredEvent<E>[]
}

/** Keys of the meta that begin with `$` are Underpin's own. */
export function checkMeta({ type, meta }: NewEvent): void {
  if (meta === undefined) return
  for (const key in meta) {
    if (!key.startsWith('$')) continue
    throw new UnderpinError('invalid', `The meta of event ${JSON.stringify(type)} has the key ${key}`, {
      hint: 'Keys of the meta that begin with $ are reserved: name it otherwise.',
      details: { type, key },
    })
  }
}
