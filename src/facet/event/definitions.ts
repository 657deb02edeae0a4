/** The definitions of a domain's events at work: appended events are checked and stamped, stored ones brought up to date. */
import { UnderpinError } from '../../error.ts'
import type { Event } from '../../model/event.ts'
import { quote } from '../../model/key.ts'
import { decodeValue } from '../../model/value.ts'
import type { EventTypes, type } from '../definition.ts'
import { parseWith, parseWithSync } from '../schema.ts'
import { type NewEvent, type StoredEvent, toStoredEvent } from '../shape.ts'
import { checkMeta, type EventCodec, isOwnStream } from './codec.ts'
import { Becomes, type EventDefinition } from './definition.ts'

// biome-ignore lint/suspicious/noExplicitAny: definitions of any data, in both directions.
type Definitions = Readonly<Record<string, EventDefinition<any, any>>>

/** The events that definitions let an application append and read. */
type EventsIn<D extends Definitions> = {
  [T in keyof D & string]: D[T] extends EventDefinition<infer Data, NewEvent>
    ? [Data] extends [never]
      ? never
      : { readonly type: T; readonly data: Data; readonly meta?: Readonly<Record<string, unknown>> }
    : never
}[keyof D & string]

/** The events that upcasters make without naming a version: what they make must be what is defined. */
type Made<D extends Definitions> = {
  [T in keyof D]: D[T] extends EventDefinition<infer _, infer B> ? B : never
}[keyof D]

type Current<D extends Definitions> = Exclude<Made<D>, { readonly version: number }>

type Fits<D extends Definitions> = [Current<D>['type']] extends [keyof D]
  ? [Current<D>] extends [Frozen<EventsIn<D>>]
    ? unknown
    : 'An upcaster becomes events with data that their definitions do not have'
  : 'An upcaster becomes events that are not defined'

/** As it is inferred of a literal. */
type Frozen<T> = { readonly [K in keyof T]: Frozen<T[K]> }

/**
 * Defines all types of events of a domain, for `openStore(url, { domains: { orders: { events: defineEvents({ … }) } } })`.
 * What is not defined is then neither written (`invalid`) nor read (`unsupported`). Streams whose names begin with `$`
 * are Underpin's own and stay as they are.
 */
export function defineEvents<const D extends Definitions>(
  definitions: D & Fits<D>,
): EventDefinitions<EventsIn<D>> {
  return new EventDefinitions<EventsIn<D>>(definitions as Definitions)
}

/** Upcasters that go on in a circle are ended here. */
const stepsMax = 100

/** The reserved key of the meta that holds the version of an event; left out for version 1. */
const versionKey = '$version'

interface Step {
  readonly type: string
  readonly version: number
  readonly data: unknown
}

export class EventDefinitions<E extends NewEvent = NewEvent> implements EventCodec, EventTypes<E> {
  declare readonly [type]?: E
  readonly types: readonly string[]
  readonly #definitions: ReadonlyMap<string, EventDefinition<unknown, NewEvent>>

  /** Use {@link defineEvents}. */
  constructor(definitions: Definitions) {
    this.#definitions = new Map(Object.entries(definitions))
    this.types = [...this.#definitions.keys()]
  }

  get codec(): EventCodec {
    return this
  }

  /** `invalid` if the type is not defined, the data does not fit its schema, or the meta has a reserved key. */
  encode(event: NewEvent): NewEvent {
    const { type, data, meta } = event
    const definition = this.#definitions.get(type)
    if (definition === undefined) throw this.#undefined('invalid', type, 'cannot be appended', { type })
    if (definition.isRetired)
      throw new UnderpinError('invalid', `Events of type ${quote(type)} are retired and cannot be appended`, {
        details: { type },
      })
    checkMeta(event)
    const parsed = parseWithSync(definition.schema, data, `The data of event ${quote(type)}`)
    if (definition.version === 1)
      return meta === undefined ? { type, data: parsed } : { type, data: parsed, meta }
    return { type, data: parsed, meta: { [versionKey]: definition.version, ...metaObject(type, meta) } }
  }

  /** `unsupported` if its type is not defined or its version is a newer one; `invalid` if an upcaster fails. */
  decode(event: Event): readonly StoredEvent[] {
    if (isOwnStream(event.stream)) return [toStoredEvent(event)]
    const { version, meta } = readMeta(event)
    const { stream, seq, type, at, position } = event
    const definition = this.#find(event, type, version)
    const data = decodeValue(event.data)
    if (version === definition.version && !definition.isRetired)
      return [{ stream, seq, type, data, meta, at, position }]
    return this.#upcast(event, { type, version, data }, 0).map((made, i) => ({
      stream,
      seq,
      type: made.type,
      data: made.data,
      meta: i === 0 ? meta : readMeta(event).meta,
      at,
      position,
    }))
  }

  /** `unsupported` or `invalid`, as {@link decode}; `invalid` also for what its schema does not take. */
  async examine(event: Event): Promise<void> {
    for (const { type, data } of this.decode(event)) {
      const schema = isOwnStream(event.stream) ? undefined : this.#definitions.get(type)?.schema
      await parseWith(schema, data, `${describe(event)}, read as ${quote(type)},`)
    }
  }

  #upcast(origin: Event, step: Step, count: number): readonly Step[] {
    const definition = this.#find(origin, step.type, step.version)
    if (step.version === definition.version) {
      if (!definition.isRetired) return [step]
      throw failed(origin, step, 'is the last one of a retired type and gave no other events', {
        hint: 'Return becomes(…), or becomes() for none.',
      })
    }
    if (count === stepsMax) throw failed(origin, step, `is step ${stepsMax} and no end is in sight`)
    const made = run(origin, step, definition)
    if (!(made instanceof Becomes))
      return this.#upcast(origin, { ...step, version: step.version + 1, data: made }, count + 1)
    return made.events.flatMap(({ type, data, version }) => {
      const current = this.#definitions.get(type)?.version ?? 1
      return this.#upcast(origin, { type, version: version ?? current, data }, count + 1)
    })
  }

  #find(origin: Event, type: string, version: number): EventDefinition<unknown, NewEvent> {
    const { stream, seq, position } = origin
    const details = { stream, seq, position, type, version }
    const definition = this.#definitions.get(type)
    if (definition === undefined)
      throw this.#undefined('unsupported', type, `is in ${describe(origin)}`, details)
    if (Number.isSafeInteger(version) && version >= 1 && version <= definition.version) return definition
    throw new UnderpinError(
      'unsupported',
      `${describe(origin)} is ${quote(type)} in version ${quote(version)}, and version ${definition.version} is the newest that is defined`,
      { hint: 'A newer version of the application wrote it: deploy that one here too.', details },
    )
  }

  #undefined(
    code: 'invalid' | 'unsupported',
    type: string,
    where: string,
    details: Readonly<Record<string, unknown>>,
  ): UnderpinError {
    return new UnderpinError(
      code,
      `The event type ${quote(type)} ${where} and is not defined; defined are ${this.types.map(quote).join(', ') || 'none'}`,
      {
        hint: 'Add it to defineEvents({ … }); with retired({ … }) if it is only read.',
        details: { ...details, defined: this.types },
      },
    )
  }
}

function run(origin: Event, step: Step, definition: EventDefinition<unknown, NewEvent>): unknown {
  const upcaster = definition.upcast[step.version] as (data: unknown) => unknown
  let made: unknown
  try {
    made = upcaster(step.data)
  } catch (cause) {
    throw failed(origin, step, `threw: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  if (made === undefined) throw failed(origin, step, 'returned undefined', { hint: 'Return the new data.' })
  if (typeof (made as { then?: unknown } | null)?.then === 'function') {
    // The upcaster is refused, whatever becomes of its promise.
    void Promise.allSettled([made])
    throw failed(origin, step, 'returned a promise', { hint: 'An upcaster must be synchronous and pure.' })
  }
  return made
}

function failed(
  origin: Event,
  { type, version }: Step,
  why: string,
  options: { readonly hint?: string; readonly cause?: unknown } = {},
): UnderpinError {
  const { stream, seq, position } = origin
  return new UnderpinError(
    'invalid',
    `${describe(origin)} cannot be read: the upcaster of ${quote(type)} from version ${version} ${why}`,
    { ...options, details: { stream, seq, position, type, version } },
  )
}

/** The version of a stored event, whether its definition is known or not. */
export function versionOf(event: Event): unknown {
  return readMeta(event).version
}

/** The version of a stored event, and the meta that the application gave. */
function readMeta({ meta: text }: Event): {
  readonly version: number
  readonly meta: Readonly<Record<string, unknown>> | undefined
} {
  if (text === null) return { version: 1, meta: undefined }
  const stored = decodeValue(text) as Readonly<Record<string, unknown>> | null
  if (stored === null || !Object.hasOwn(stored, versionKey))
    return { version: 1, meta: stored as Readonly<Record<string, unknown>> }
  const { [versionKey]: version, ...meta } = stored
  return { version: version as number, meta: Object.keys(meta).length === 0 ? undefined : meta }
}

/** A version can be noted beside named values only; a class instance would lose its class to the copy. */
function metaObject(type: string, meta: unknown): object | undefined {
  if (meta === undefined || isPlainObject(meta)) return meta
  throw new UnderpinError('invalid', `The meta of event ${quote(type)} must be a plain object`, {
    details: { type },
  })
}

/** Of any realm. */
function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.hasOwn(prototype, 'isPrototypeOf')
}

function describe({ stream, seq, position }: Event): string {
  return `Event ${seq} of stream ${quote(stream)} (position ${position})`
}
