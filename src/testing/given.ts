/** Given, when, then: for deciders and projections, which are pure, so that no store is needed. */
import { AssertionError, deepStrictEqual } from 'node:assert'
import type { NewEvent, StoredEvent } from '../facet/shape.ts'
import { decodeValue, encodeValue } from '../model/value.ts'

/** What decides: a state folded from events, and the events that a command leads to in it. Pure. */
export interface Decider<S, C, E extends NewEvent> {
  readonly seed: S
  step(state: S, event: E): S
  /** One event, several, or none; throws if the command is refused. */
  decide(state: S, command: C): E | readonly E[]
}

/** As `domain.projection` takes it: a state for each key. Pure. */
export interface TestedProjection<S, E> {
  readonly seed: S
  step(state: S, event: E, key: string): S | null | undefined
  key?(event: E): string | readonly string[] | undefined
}

/** An event that has happened. What is left out: stream `test`, seq and position in order, a second between two. */
export type GivenEvent<E extends NewEvent> = E &
  Partial<Pick<StoredEvent, 'stream' | 'seq' | 'position' | 'at'>>

/** An error class, a part of its message, or some of its properties: `{ code: 'conflict' }`. */
export type ExpectedError =
  | (new (
      ...args: never[]
    ) => Error)
  | RegExp
  | string
  | Readonly<Record<string, unknown>>

const began = 1_700_000_000_000

/**
 * What has happened: `given([placed]).when(decider, pay).then([paid])`, `given([placed]).project(totals).then(42)`.
 * Framework-free: what is not as expected throws an `AssertionError` with the difference. Everything runs twice, on
 * frozen copies: what changes its input, or gives another result the second time, is no pure function and fails.
 */
export function given<E extends NewEvent>(events: GivenEvent<E> | readonly GivenEvent<E>[] = []): Given<E> {
  return new Given(Array.isArray(events) ? events : [events])
}

export class Given<E extends NewEvent> {
  readonly #events: readonly StoredEvent[]

  /** Use {@link given}. */
  constructor(events: readonly GivenEvent<E>[]) {
    const seqs = new Map<string, number>()
    this.#events = events.map((event, i) => {
      const { stream = 'test', position = i + 1, at = began + 1_000 * i } = event
      const seq = event.seq ?? (seqs.get(stream) ?? 0) + 1
      seqs.set(stream, seq)
      const { type, data, meta } = asStored(event)
      return frozen({ stream, seq, type, data, meta, at, position })
    })
  }

  /** A command is given to a decider in the state that the events lead to. */
  when<S, C>(decider: Decider<S, C, E>, command: C): Decision<E> {
    return new Decision(this.#events as unknown as readonly E[], decider, command)
  }

  /** The events are folded by a projection. */
  project<S, P extends StoredEvent>(projection: TestedProjection<S, P>): Projected<S> {
    return new Projected(this.#events as readonly P[], projection)
  }
}

/** What a decider made of a command. */
export class Decision<E extends NewEvent> {
  readonly #run: () => readonly NewEvent[]

  /** Use `given(…).when(…)`. */
  constructor(events: readonly E[], decider: Decider<unknown, never, E>, command: unknown) {
    this.#run = () => {
      let state = frozen(structuredClone(decider.seed))
      for (const event of events) state = frozen(decider.step(state, event))
      const decided = decider.decide(state, frozen(structuredClone(command)) as never)
      return (Array.isArray(decided) ? (decided as readonly E[]) : [decided as E]).map(asStored)
    }
  }

  /** Exactly these events; none: `then([])`. */
  // biome-ignore lint/suspicious/noThenProperty: given, when, then. Nothing here is awaited.
  then(expected: E | readonly E[]): void {
    const wanted = (Array.isArray(expected) ? (expected as readonly E[]) : [expected as E]).map(asStored)
    deepStrictEqual(twice(this.#run), wanted)
  }

  /** The command is refused with such an error. */
  thenFails(expected: ExpectedError): void {
    let events: readonly NewEvent[]
    try {
      events = this.#run()
    } catch (error) {
      matchError(error, expected)
      return
    }
    throw new AssertionError({
      message: `The command was expected to fail, and it led to:\n${JSON.stringify(events, undefined, 2)}`,
      actual: events,
      expected,
      operator: 'thenFails',
    })
  }
}

/** What a projection made of the events. */
export class Projected<S> {
  readonly #run: () => Readonly<Record<string, unknown>>
  readonly #seed: S

  /** Use `given(…).project(…)`. */
  constructor(events: readonly StoredEvent[], projection: TestedProjection<S, never>) {
    this.#seed = projection.seed
    this.#run = () => fold(events, projection as TestedProjection<S, unknown>)
  }

  /** The state of the only key that there is; the seed if there is none. */
  // biome-ignore lint/suspicious/noThenProperty: given, when, then. Nothing here is awaited.
  then(expected: S): void {
    const states = twice(this.#run)
    const keys = Object.keys(states)
    if (keys.length > 1)
      throw new AssertionError({
        message: `The events have several keys (${keys.join(', ')}): use thenByKey({ … })`,
        actual: states,
        expected,
        operator: 'then',
      })
    deepStrictEqual(keys.length === 0 ? copy(this.#seed) : states[keys[0] as string], copy(expected))
  }

  /** The states of all keys. */
  thenByKey(expected: Readonly<Record<string, S>>): void {
    deepStrictEqual(twice(this.#run), copy(expected))
  }
}

function fold<S>(
  events: readonly StoredEvent[],
  projection: TestedProjection<S, unknown>,
): Readonly<Record<string, unknown>> {
  const states = new Map<string, S>()
  for (const event of events) {
    const found = projection.key === undefined ? event.stream : (projection.key(event) ?? [])
    for (const key of typeof found === 'string' ? [found] : found) {
      const before = states.get(key) ?? frozen(structuredClone(projection.seed))
      const state = projection.step(before, event, key)
      if (state === undefined || state === null) states.delete(key)
      else states.set(key, frozen(copy(state)))
    }
  }
  return copy(Object.fromEntries(states))
}

/** The result; fails if the second run gives another one. */
function twice<R>(run: () => R): R {
  const result = run()
  try {
    deepStrictEqual(run(), result)
  } catch (cause) {
    const { message } = cause as Error
    throw new AssertionError({ message: `The same input gave another result the second time: ${message}` })
  }
  return result
}

function matchError(error: unknown, expected: ExpectedError): void {
  const message = error instanceof Error ? error.message : String(error)
  const isMatch = () => {
    if (typeof expected === 'string') return message.includes(expected)
    if (expected instanceof RegExp) return expected.test(message)
    if (typeof expected === 'function') return error instanceof expected
    return undefined
  }
  const matched = isMatch()
  if (matched === true) return
  if (matched === false)
    throw new AssertionError({
      message: `The command failed otherwise than expected: ${message}\nexpected ${String(expected)}`,
      actual: error,
      expected,
      operator: 'thenFails',
    })
  const fields = Object.keys(expected).map((key) => [key, (error as Record<string, unknown> | null)?.[key]])
  deepStrictEqual(Object.fromEntries(fields), expected)
}

/** The event as a store would keep it: what JSON does not keep is refused here as it is there. */
function asStored({ type, data, meta }: NewEvent): NewEvent {
  return { type, data: copy(data), ...(meta === undefined ? {} : { meta: copy(meta) }) }
}

/** What comes back of a value that is stored. */
function copy<T>(value: T): T {
  return decodeValue(encodeValue(value)) as T
}

/** Frozen all through, so that what changes its input is told with a `TypeError`. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const field of Object.values(value)) frozen(field)
  return ArrayBuffer.isView(value) ? value : Object.freeze(value)
}
