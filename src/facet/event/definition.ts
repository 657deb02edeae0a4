/** Definitions of events: what data an event of a type has, in which version, and how older versions are read. */
import type { Schema } from '../schema.ts'
import type { NewEvent } from '../shape.ts'

declare const becoming: unique symbol

/**
 * Makes of the data of one version that of the next, or, with {@link becomes}, other events. Pure and synchronous: it is
 * run at every read. `data` is a copy of its own.
 */
// biome-ignore lint/suspicious/noExplicitAny: the data of a version that has no type any more but the one given here.
export type Upcaster = (data: any) => unknown

export type Upcasters = Readonly<Record<number, Upcaster>>

/** The definition of a type of events. Made with {@link event} or {@link retired}. */
export interface EventDefinition<D, B extends NewEvent = never> {
  readonly schema: Schema<D> | undefined
  /** The version that is written. */
  readonly version: number
  readonly upcast: Upcasters
  /** Events of this type are read as others, and written no more. */
  readonly isRetired: boolean
  readonly [becoming]?: B
}

/** Events that an upcaster puts in the place of one. */
export class Becomes<B extends NewEvent = NewEvent> {
  readonly events: readonly (B & Becoming)[]

  /** Use {@link becomes}. */
  constructor(events: readonly (B & Becoming)[]) {
    this.events = events
  }
}

/**
 * What an upcaster returns to put other events in the place of one: one, several, or none. Each may name the `version`
 * of its type that its data has, and is then upcast further; left out, it is the current one. They keep the stream, seq,
 * position, time and meta of the stored event.
 */
export function becomes(): Becomes<never>
export function becomes<const B extends Becoming>(...events: readonly B[]): Becomes<B>
export function becomes(...events: readonly Becoming[]): Becomes<Becoming> {
  return new Becomes(events)
}

interface Becoming {
  readonly type: string
  readonly data: unknown
  /** The version that the data has; the current one if left out. */
  readonly version?: number
}

/** A schema that takes everything: gives data its type where nothing is validated. */
export function typed<D>(): Schema<D> {
  return { '~standard': { version: 1, vendor: 'underpin', validate: (value) => ({ value: value as D }) } }
}

/** For each version the next one. */
type Next = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]
type NextOf<K> = K extends keyof Next
  ? Next[K]
  : K extends number
    ? `${K}` extends keyof Next
      ? Next[`${K}`]
      : number
    : number

/** What the data of a version must be: what the next upcaster takes, or the data of the current version. */
type DataAt<N, U, D> = N extends keyof U ? (U[N] extends (data: infer A) => unknown ? A : never) : D

/** Upcasters of which each returns what the next one takes, and the last one the current data. */
type Chain<U, D> = {
  readonly [K in keyof U]: U[K] extends (data: infer A) => unknown
    ? (data: A) => DataAt<NextOf<K>, U, D> | Becomes
    : never
}

/** The events that upcasters put in the place of one. */
type BecomingOf<U> = U[keyof U] extends infer F
  ? F extends (data: never) => infer R
    ? R extends Becomes<infer B>
      ? B
      : never
    : never
  : never

export interface EventOptions<D, U extends Upcasters> {
  /** What the data must fit when it is appended, and what it is stored as. For the type alone: `typed<Data>()`. */
  readonly schema?: Schema<D>
  /** The version that is written; 1 if left out. Each older version needs an upcaster. */
  readonly version?: number
  /** By version, what makes of its data that of the next one. */
  readonly upcast?: U & Chain<U, D>
}

/**
 * Defines a type of events: `event({ schema, version: 2, upcast: { 1: (old) => data } })`, or for the type alone
 * `event<Data>()`. Data is validated with the schema when it is appended, and stored as the schema returns it; it is not
 * validated when it is read (`underpin schema check` does that for all that is stored).
 */
export function event<D>(): EventDefinition<D>
export function event<D, const U extends Upcasters = Record<never, never>>(
  options: EventOptions<D, U>,
): EventDefinition<D, BecomingOf<U>>
export function event({
  schema,
  version = 1,
  upcast = {},
}: EventOptions<unknown, Upcasters> = {}): EventDefinition<unknown, NewEvent> {
  return define({ schema, version, upcast, isRetired: false })
}

/**
 * Defines a type of which events are stored but no more written: the last of its upcasters puts other events, or none,
 * in their place with {@link becomes}: `retired({ 1: (old) => becomes({ type: 'paid', data: old }) })`.
 */
export function retired<const U extends Upcasters>(
  upcast: U & Chain<U, Becomes>,
): EventDefinition<never, BecomingOf<U>> {
  const version = Object.keys(upcast).length + 1
  const definition = define({ schema: undefined, version, upcast: upcast as Upcasters, isRetired: true })
  return definition as unknown as EventDefinition<never, BecomingOf<U>>
}

function define(given: EventDefinition<unknown>): EventDefinition<unknown> {
  const { version, upcast } = given
  if (!Number.isSafeInteger(version) || version < 1)
    throw new TypeError(`The version of an event must be a whole number from 1 on, not ${String(version)}`)
  const versions = Object.keys(upcast).map(Number)
  for (let older = 1; older < version; older++)
    if (typeof upcast[older] !== 'function')
      throw new TypeError(`An event of version ${version} needs an upcaster for version ${older}`)
  const beyond = versions.find((at) => !(at >= 1 && at < version && Number.isSafeInteger(at)))
  if (beyond !== undefined)
    throw new TypeError(`An event of version ${version} cannot have an upcaster for version ${beyond}`)
  return Object.freeze({ ...given, upcast: { ...upcast } })
}
