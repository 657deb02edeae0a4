/** Folding events into states, the same way in every mode. */
import { UnderpinError } from '../../error.ts'
import type { Event } from '../../model/event.ts'
import { checkId, quote } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import { decodeValue } from '../../model/value.ts'
import { type EventCodec, isOwnStream } from '../event/codec.ts'
import type { NewEvent, StoredEvent } from '../shape.ts'
import type { ProjectedEvent, Projection } from './definition.ts'

/** The application's events that a stored one stands for: one, several or none, by its upcasters. None of Underpin's own streams. */
export function decodeOwn(codec: EventCodec, event: Event): readonly StoredEvent[] {
  return isOwnStream(event.stream) ? [] : codec.decode(event)
}

/** What steps see of a stored event. */
export function project(codec: EventCodec, event: Event): readonly ProjectedEvent[] {
  const decoded = decodeOwn(codec, event)
  if (decoded.length === 1) return [toProjected(decoded[0] as StoredEvent)]
  return decoded.map(toProjected)
}

export function toProjected({ stream, type, data, meta, at }: StoredEvent): ProjectedEvent {
  return { stream, type, data, meta, at }
}

/** The ids that an event changes, each once. */
export function keysOf<S, E extends NewEvent>(
  projection: Projection<S, E>,
  event: ProjectedEvent<E>,
): readonly string[] {
  if (projection.key === undefined) return [event.stream]
  const keys = projection.key(event)
  if (keys === undefined || keys === null) return []
  if (typeof keys === 'string') return [checked(projection, keys)]
  return [...new Set(keys)].map((key) => checked(projection, key))
}

function checked({ name }: Projection, key: unknown): string {
  checkId(key, `The key that projection ${name} gave`, limits)
  return key
}

/** The state after an event; undefined if the document is deleted. `state` undefined stands for the seed. */
export function stepOnce<S, E extends NewEvent>(
  projection: Projection<S, E>,
  state: S | undefined,
  event: ProjectedEvent<E>,
  key: string,
): S | undefined {
  const before = state === undefined ? (decodeValue(projection.seedText) as S) : state
  const after = projection.step(before, event, key)
  if (after === null || after === undefined) return undefined
  if (typeof after === 'object' && typeof (after as { then?: unknown }).then === 'function')
    throw new TypeError(`The step of projection ${projection.name} is asynchronous; a step must be pure`)
  return after
}

/** States by key, kept in memory. */
export class Fold<S, E extends NewEvent> {
  readonly states = new Map<string, S>()
  readonly #projection: Projection<S, E>

  constructor(projection: Projection<S, E>) {
    this.#projection = projection
  }

  /** Takes an event; `changed` is told of every key. */
  take(event: ProjectedEvent<E>, changed?: (key: string) => void): void {
    if (this.#projection.key === undefined) this.#step(event.stream, event, changed)
    else for (const key of keysOf(this.#projection, event)) this.#step(key, event, changed)
  }

  #step(key: string, event: ProjectedEvent<E>, changed: ((key: string) => void) | undefined): void {
    const before = this.states.get(key)
    const after = stepOnce(this.#projection, before, event, key)
    if (after === undefined) this.states.delete(key)
    else if (after !== before) this.states.set(key, after)
    changed?.(key)
  }
}

/** The states that a list of events leaves, by key: a projection without a store, for tests. */
export function fold<S, E extends NewEvent>(
  projection: Projection<S, E>,
  events: Iterable<ProjectedEvent<E>>,
): Map<string, S> {
  const folded = new Fold(projection)
  for (const event of events) folded.take(event)
  return folded.states
}

/** Says at which event a projection failed. An error of the store stays as it is. */
export function failedAt(
  projection: { name: string; version: number },
  event: Event,
  cause: unknown,
): UnderpinError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new UnderpinError(
    'invalid',
    `Projection ${projection.name} version ${projection.version} failed at event ${event.seq} of stream ${quote(event.stream)}, position ${event.position}: ${why}`,
    {
      hint: 'Mend the step and raise the version, or resume() if the cause is gone.',
      details: { stream: event.stream, seq: event.seq, position: event.position, type: event.type },
      cause,
    },
  )
}
