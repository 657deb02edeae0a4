/**
 * Builds a projection from the feed: folds a page of events into documents and commits them together with how far it
 * came. The commit depends on the run's own revision, on the register and on the lease, so that a page takes effect
 * once, whoever else believes to be the runner.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import type { Change, Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import { isOwnCollection } from '../../model/collection.ts'
import type { Commit, Outcome, TableHandler } from '../../model/commit.ts'
import type { Document, DocumentKey } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import type { Cursor, Page } from '../../model/page.ts'
import { decodeValue, encodeValue, type JsonText } from '../../model/value.ts'
import type { Lease } from '../lease.ts'
import type { Port } from '../port.ts'
import type { StoredEvent } from '../shape.ts'
import { type AnyProjection, collectionOf, type Projection, type TableProjection } from './definition.ts'
import { decodeOwn, failedAt, keysOf, project, stepOnce } from './fold.ts'
import { type Register, type Run, registerCheck, runKey } from './register.ts'
import { StateCache } from './state-cache.ts'
import { refuseTruncated } from './whole.ts'

/** Positions without events after which the place is noted all the same: what a restart reads again. */
const quietPositions = 5_000
const deletedAtOnce = 500
const keysAtOnce = 1_000
const defaultBatch = 1_000

/** `moved`: this page is in. `overtaken`: nothing was written, the register or the run is another by now. */
export type Advance =
  | { readonly kind: 'moved'; readonly position: number; readonly isAtHead: boolean }
  | { readonly kind: 'overtaken' }

const overtaken: Advance = { kind: 'overtaken' }

export class Builder {
  readonly #port: Port
  readonly #projection: AnyProjection
  readonly #id: string
  readonly #lease: Lease
  readonly #cache = new StateCache()
  #run: { run: Run; revision: number } | undefined
  /** Behind the run's position when the last pages had no events. */
  #position = 0
  #limit: number
  #registerRevision = 0
  readonly #since: number
  #taken = 0

  constructor(port: Port, projection: AnyProjection, id: string, lease: Lease, batch = defaultBatch) {
    this.#port = port
    this.#projection = projection
    this.#id = id
    this.#lease = lease
    this.#limit = batch
    this.#since = port.clock.monotonic()
  }

  get position(): number {
    return this.#position
  }

  /** Takes the next page. A step that throws fails with `invalid`, and says at which event. */
  async advance(register: Register, options: CallOptions): Promise<Advance> {
    // Whoever changed the register may have begun this build anew.
    if (register.revision !== this.#registerRevision) this.forget()
    this.#registerRevision = register.revision
    const state = await this.#begin(register, options)
    if (state === undefined) return overtaken
    const page = await this.#port.changes(this.#position, this.#limit, options)
    const isAtHead = page.next >= page.head
    const done: Advance = { kind: 'moved', position: page.next, isAtHead }
    if (!isWorthNoting(page.items) && page.next - state.run.position < quietPositions) {
      this.#position = page.next
      return done
    }
    try {
      const isIn = await this.#take(register, page, state, options)
      return isIn ? done : overtaken
    } catch (error) {
      this.forget()
      if (!isTooLarge(error) || this.#limit === 1) throw error
      this.#limit = Math.ceil(this.#limit / 2)
      return overtaken
    }
  }

  /** Forgets what was read, to be read again: after a failure, or when somebody else may have written. */
  forget(): void {
    this.#cache.clear()
    this.#run = undefined
  }

  /** Reads how far the build came; begins a new one by emptying its place. */
  async #begin(register: Register, options: CallOptions) {
    if (this.#run !== undefined) return this.#run
    const { documents } = await this.#port.get([runKey(this.#projection.name, this.#id)], options)
    const [found] = documents
    if (found?.kind === 'document') {
      this.#run = { run: decodeValue(found.data) as Run, revision: found.position }
    } else {
      await refuseTruncated(this.#port, this.#projection.name, options)
      if (!(await this.#clear(register, options))) return undefined
      const run: Run = { position: 0, events: 0, rate: 0 }
      const outcome = await this.#commit(register, [this.#runWrite(run)], 'absent', this.#clearing(), options)
      if (outcome.kind !== 'committed') return undefined
      this.#run = { run, revision: outcome.positions.at(-1) as number }
    }
    this.#position = this.#run.run.position
    return this.#run
  }

  /** What a build of the same name left behind. */
  async #clear(register: Register, options: CallOptions): Promise<boolean> {
    if (this.#projection.kind === 'tables') return true
    const collection = collectionOf(this.#projection.name, this.#id)
    const guards = { checks: [registerCheck(register), this.#lease.check], signal: options.signal }
    return clearCollection(this.#port, collection, guards)
  }

  #clearing(): TableHandler | undefined {
    const projection = this.#projection
    return projection.kind === 'tables' ? (client) => projection.clear(client) : undefined
  }

  async #take(
    register: Register,
    page: Page<Change, number>,
    { run, revision }: { run: Run; revision: number },
    options: CallOptions,
  ): Promise<boolean> {
    const events = page.items.filter((change): change is Event => change.kind === 'event')
    const taken = this.#run
    const next = this.#next(run, page.next, events.length)
    const folded =
      this.#projection.kind === 'documents'
        ? await this.#fold(this.#projection, events, options)
        : {
            writes: [],
            tables: this.#handler(this.#projection, events),
            changed: new Map<string, undefined>(),
          }
    const writes = [...folded.writes, this.#runWrite(next)]
    const outcome = await this.#commit(register, writes, revision, folded.tables, options)
    if (outcome.kind !== 'committed' || this.#run !== taken) {
      this.forget()
      return false
    }
    let i = 0
    for (const [key, text] of folded.changed)
      this.#cache.set(key, { text, revision: outcome.positions[i++] ?? 0 })
    this.#run = { run: next, revision: outcome.positions.at(-1) as number }
    this.#position = page.next
    return true
  }

  #next(run: Run, position: number, events: number): Run {
    this.#taken += position - run.position
    const seconds = (this.#port.clock.monotonic() - this.#since) / 1_000
    const rate = seconds > 0 ? Math.round(this.#taken / seconds) : 0
    return { position, events: run.events + events, rate }
  }

  async #fold(projection: Projection, events: readonly Event[], options: CallOptions) {
    const steps = this.#steps(projection, events)
    const before = await this.#load(projection, new Set(steps.flatMap(({ keys }) => keys)), options)
    const states = new Map<string, unknown>()
    for (const { event, projected, keys } of steps) {
      try {
        for (const key of keys) {
          const state = states.has(key) ? states.get(key) : decoded(before.get(key))
          states.set(key, stepOnce(projection, state, projected, key))
        }
      } catch (error) {
        throw failedAt(projection, event, error)
      }
    }
    return this.#changes(projection, states, before)
  }

  #steps(projection: Projection, events: readonly Event[]) {
    return events.flatMap((event) => {
      const seen = project(this.#port.events, event)
      return seen.map((projected) => {
        try {
          return { event, projected, keys: keysOf(projection, projected) }
        } catch (error) {
          throw failedAt(projection, event, error)
        }
      })
    })
  }

  #changes(
    projection: Projection,
    states: ReadonlyMap<string, unknown>,
    before: ReadonlyMap<string, JsonText | undefined>,
  ) {
    const collection = collectionOf(projection.name, this.#id)
    const writes: Write[] = []
    const changed = new Map<string, JsonText | undefined>()
    for (const [key, state] of states) {
      const text = state === undefined ? undefined : encodeState(projection, key, state, this.#port)
      if (text === before.get(key)) continue
      writes.push(stateWrite(collection, key, text))
      changed.set(key, text)
    }
    return { writes, changed, tables: undefined }
  }

  async #load(projection: Projection, keys: ReadonlySet<string>, options: CallOptions) {
    const found = new Map<string, JsonText | undefined>()
    const missing: string[] = []
    for (const key of keys) {
      const cached = this.#cache.get(key)
      if (cached === undefined) missing.push(key)
      else found.set(key, cached.text)
    }
    const collection = collectionOf(projection.name, this.#id)
    for (let from = 0; from < missing.length; from += keysAtOnce) {
      const part = missing.slice(from, from + keysAtOnce)
      const asked: DocumentKey[] = part.map((id) => ({ collection, id }))
      const { documents } = await this.#port.get(asked, options)
      for (const [i, key] of part.entries()) {
        const record = documents[i]
        const text = record?.kind === 'document' ? record.data : undefined
        found.set(key, text)
        this.#cache.set(key, { text, revision: record?.position ?? 0 })
      }
    }
    return found
  }

  #handler(projection: TableProjection, events: readonly Event[]): TableHandler | undefined {
    const decodedEvents = events.flatMap((event) => decodeOwn(this.#port.events, event)) as StoredEvent[]
    if (decodedEvents.length === 0) return undefined
    return (client) => {
      try {
        const done = projection.tables(client, decodedEvents)
        return done instanceof Promise
          ? done.catch((error) => Promise.reject(failedIn(projection, error)))
          : done
      } catch (error) {
        throw failedIn(projection, error)
      }
    }
  }

  #runWrite(run: Run): Write {
    const key = runKey(this.#projection.name, this.#id)
    return { kind: 'put', ...key, data: encodeValue(run), expiresAt: null }
  }

  async #commit(
    register: Register,
    writes: readonly Write[],
    expect: number | 'absent',
    tables: TableHandler | undefined,
    options: CallOptions,
  ): Promise<Outcome> {
    const checks: Check[] = [
      this.#lease.check,
      registerCheck(register),
      { kind: 'document', ...runKey(this.#projection.name, this.#id), expect },
    ]
    const commit: Commit = { at: this.#port.clock.now(), writes, checks, ...(tables && { tables }) }
    const outcome = await this.#port.commit(commit, options)
    this.#lease.isRefused(outcome)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome
  }
}

/** A failure of the application's own table handler, told from one of the store. */
export class TableFailure extends Error {
  override readonly name = 'TableFailure'
}

function failedIn({ name, version }: TableProjection, cause: unknown): TableFailure {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new TableFailure(`Projection ${name} version ${version} failed to write its tables: ${why}`, {
    cause,
  })
}

/** Events, and documents of the application: their writers may wait for the projection. */
function isWorthNoting(changes: readonly Change[]): boolean {
  return changes.some((change) => change.kind === 'event' || !isOwnCollection(change.collection))
}

function isTooLarge(error: unknown): boolean {
  return error instanceof UnderpinError && error.code === 'too-large' && error.details.key === undefined
}

function decoded(text: JsonText | undefined): unknown {
  return text === undefined ? undefined : decodeValue(text)
}

/** The JSON text of a state; `invalid` or `too-large`, with its key, for one that cannot be stored. */
export function encodeState(projection: Projection, key: string, state: unknown, port: Port): JsonText {
  try {
    return encodeValue(state, port.limits)
  } catch (error) {
    const { code, message } = error as UnderpinError
    throw new UnderpinError(
      code,
      `Projection ${projection.name} version ${projection.version} made a state of ${JSON.stringify(key)} that cannot be stored: ${message}`,
      { details: { key }, cause: error },
    )
  }
}

export function stateWrite(collection: string, id: string, text: JsonText | undefined): Write {
  return text === undefined
    ? { kind: 'delete', collection, id }
    : { kind: 'put', collection, id, data: text, expiresAt: null }
}

/** Deletes all documents of a collection; false if a check failed on the way. */
export async function clearCollection(
  port: Port,
  collection: string,
  { checks, ...options }: { checks: readonly Check[]; signal: AbortSignal | undefined },
): Promise<boolean> {
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal }
  for (;;) {
    const page: Page<Document, Cursor | null> = await port.scan(
      { collection, by: 'id', prefix: '', backwards: false, limit: deletedAtOnce, after: null },
      call,
    )
    if (page.items.length === 0) return true
    const writes: Write[] = page.items.map(({ id }) => ({ kind: 'delete', collection, id }))
    const outcome = await port.commit({ at: port.clock.now(), writes, checks }, call)
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'failed') return false
  }
}
