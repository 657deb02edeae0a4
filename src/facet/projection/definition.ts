/** What a projection is: a pure function of the events of a domain, declared once and run in any mode. */
import { UnderpinError } from '../../error.ts'
import type { CollectionDefinition, FieldType } from '../../model/collection.ts'
import { checkName, quote } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import { encodeValue, type JsonText } from '../../model/value.ts'
import { declare, type IndexOptions } from '../definition.ts'
import type { NewEvent, StoredEvent } from '../shape.ts'

/**
 * What a step sees of an event: the same in the commit that appends it and in every replay. Position and seq are not
 * known in the commit, so no step sees them.
 */
export type ProjectedEvent<E extends NewEvent = NewEvent> = E extends NewEvent
  ? {
      readonly stream: string
      readonly type: E['type']
      readonly data: E['data']
      readonly meta: Readonly<Record<string, unknown>> | undefined
      /** Milliseconds since 1970. */
      readonly at: number
    }
  : never

interface Named {
  /** Lower-case letters, digits, `-` and `_`. `p_<name>_<version>_b` has to fit into 28 characters. */
  readonly name: string
  /** A whole number from 1 on: raise it whenever `step`, `key`, `seed` or the fields change. */
  readonly version: number
  /** Whether a version that has caught up takes over by itself; `automatic` if left out. */
  readonly swap?: 'automatic' | 'manual'
}

export interface ProjectionOptions<S, E extends NewEvent = NewEvent> extends Named {
  /** The state before the first event of a key. Each key gets a copy. */
  readonly seed: S
  /**
   * The state after an event. Pure and synchronous: no clock, no randomness, no input or output, the event unchanged.
   * `undefined` or `null` deletes the document; the next event of the key begins with the seed again.
   */
  step(state: S, event: ProjectedEvent<E>, key: string): S | null | undefined
  /** The ids of the documents that an event changes; `undefined` ignores it. The event's stream if left out. */
  key?(event: ProjectedEvent<E>): string | readonly string[] | undefined
  /** Field paths (`address.city`) of the state that indexes use, and their types. */
  readonly fields?: Readonly<Record<string, FieldType>>
  /** No unique ones: a projection could not keep the promise without refusing events. */
  readonly indexes?: Readonly<Record<string, Omit<IndexOptions, 'unique'>>>
}

export interface TableProjectionOptions<E extends NewEvent = NewEvent, Client = unknown> extends Named {
  /**
   * Writes tables of your own from events, in order, in the transaction that also keeps how far it came: each event
   * takes effect once. On SQLite it must not be asynchronous.
   */
  tables(client: Client, events: readonly StoredEvent<E>[]): void | Promise<void>
  /** Creates or empties this version's tables: called in the transaction in which building begins, and by `rebuild`. */
  clear(client: Client): void | Promise<void>
}

/** A projection into documents. Made with {@link projection}. */
export interface Projection<S = unknown, E extends NewEvent = NewEvent> extends ProjectionOptions<S, E> {
  readonly kind: 'documents'
  /** The JSON text of the seed. */
  readonly seedText: JsonText
  readonly definition: CollectionDefinition
}

/** A projection into tables. Made with {@link tableProjection}. */
export interface TableProjection<E extends NewEvent = NewEvent, Client = unknown>
  extends TableProjectionOptions<E, Client> {
  readonly kind: 'tables'
}

// biome-ignore lint/suspicious/noExplicitAny: a projection of any state, events and client.
export type AnyProjection = Projection<any, any> | TableProjection<any, any>

/**
 * Declares a projection into documents: `projection({ name: 'totals', version: 1, seed: 0, step: (sum, { data }) => … })`.
 * `invalid` for a name or version that is none, a seed that is no JSON, or fields that contradict themselves.
 */
export function projection<S, E extends NewEvent = NewEvent>(
  options: ProjectionOptions<S, E>,
): Projection<S, E> {
  checkNamed(options)
  if (typeof options.step !== 'function') throw new TypeError('A projection needs a step function')
  const { fields = {}, indexes = {} } = options
  if (Object.values(indexes).some((index) => (index as IndexOptions).unique === true))
    throw new UnderpinError('invalid', `Projection ${options.name} declares a unique index`, {
      hint: 'Unique indexes would refuse events. Put the key into the id of the document instead.',
    })
  if (options.seed === undefined)
    throw new UnderpinError('invalid', `Projection ${options.name} has no seed`, {
      hint: 'Give the state before the first event; null if there is none.',
    })
  const { definition } = declare(collectionOf(options.name, String(options.version)).slice(1), {
    fields,
    indexes,
  })
  return Object.freeze({
    ...bound(options),
    kind: 'documents',
    seedText: encodeValue(options.seed),
    definition,
  })
}

/** Declares a projection into SQL tables, where `supports.tables` is true; elsewhere running it is refused with `unsupported`. */
export function tableProjection<E extends NewEvent = NewEvent, Client = unknown>(
  options: TableProjectionOptions<E, Client>,
): TableProjection<E, Client> {
  checkNamed(options)
  if (typeof options.tables !== 'function' || typeof options.clear !== 'function')
    throw new TypeError('A table projection needs the functions tables and clear')
  return Object.freeze({ ...bound(options), kind: 'tables' })
}

/** The collection of a build, `$p_<name>_<build>`. */
export function collectionOf(name: string, build: string): string {
  return `$p_${name}_${build}`
}

/** Methods of a class instance live on its prototype, which a spread would lose. */
function bound<O extends object>(options: O): O {
  if (Object.getPrototypeOf(options) === Object.prototype) return options
  throw new TypeError('A projection is declared by a plain object')
}

function checkNamed({ name, version }: Named): void {
  checkName(name, 'The projection', limits)
  if (!Number.isSafeInteger(version) || version < 1)
    throw new UnderpinError('invalid', `The version of projection ${name} must be a whole number from 1 on`)
  const longest = collectionOf(name, `${version}_b`).slice(1)
  if (longest.length > limits.nameBytes)
    throw new UnderpinError(
      'invalid',
      `The name of projection ${quote(name)} is too long: ${quote(longest)} has ${longest.length} characters; the limit is ${limits.nameBytes}`,
      { hint: `Take a name of at most ${limits.nameBytes - longest.length + name.length} characters.` },
    )
}
