/** The way of a domain's synchronous calls to its one embedded backend. */
import type { SyncBackend } from './backend/backend.ts'
import type { Clock } from './clock.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import { type EventCodec, plainEvents } from './facet/event/codec.ts'
import type { DeclaredCollection, SyncPort } from './facet/port.ts'
import type { DocumentExpectation } from './model/check.ts'
import {
  type CollectionDefinition,
  checkDefinition,
  definitionsCollection,
  mergeDefinitions,
} from './model/collection.ts'
import type { Commit, Outcome } from './model/commit.ts'
import type { Document, DocumentKey } from './model/document.ts'
import { type Fence, vacantFence } from './model/fence.ts'
import type { Limits } from './model/limit.ts'
import type { Cursor, Page, Query, Range, Served } from './model/page.ts'
import type { Position } from './model/position.ts'
import { decodeValue, encodeValue, type JsonText } from './model/value.ts'
import type { RouteOptions } from './route.ts'

export class SyncRoute implements SyncPort {
  readonly domain: string
  readonly events: EventCodec
  readonly clock: Clock
  readonly limits: Limits
  readonly #deadlineMs: number
  readonly #backend: SyncBackend
  readonly #collections = new Map<string, DeclaredCollection>()
  #epoch = 0

  constructor(domain: string, backend: SyncBackend, options: RouteOptions) {
    const { clock, limits, deadlineMs, events = plainEvents } = options
    this.domain = domain
    this.events = events
    this.clock = clock
    this.limits = limits
    this.#deadlineMs = deadlineMs
    this.#backend = backend
  }

  /** Creates the domain if it is not there, takes up the stored collections, and stores what is declared beyond them. */
  prepare(declared: ReadonlyMap<string, DeclaredCollection>): void {
    const authority = { ...vacantFence, role: 'authority', epoch: 1, incarnation: this.clock.id() } as const
    if (this.#retry(() => this.#backend.fence(this.domain)).role === 'vacant')
      this.#retry(() => this.#backend.transition(this.domain, vacantFence, authority))
    this.#takeUpStored()
    for (const [name, collection] of declared) this.#declare(name, collection)
  }

  /** Whether a collection is known to be declared. */
  has(name: string): boolean {
    return this.#collections.has(name)
  }

  collection(name: string): DeclaredCollection {
    const declared = this.#collections.get(name)
    if (declared !== undefined) return declared
    throw new UnderpinError(
      'invalid',
      `The collection ${JSON.stringify(name)} is not declared in domain ${this.domain}`,
      {
        hint: 'Declare it where the store is opened.',
      },
    )
  }

  /** Declares one more collection, or more indexes of one; a schema that it has stays unless another is given. */
  declare(name: string, collection: DeclaredCollection): void {
    checkDefinition(name, collection.definition, this.limits)
    this.#declare(name, collection)
  }

  commit(commit: Commit): Outcome {
    return this.#withEpoch((epoch) => this.#backend.commit(this.domain, epoch, [commit])[0] as Outcome)
  }

  read(stream: string, range: Range) {
    return this.#read(() => this.#backend.read(this.domain, stream, range))
  }

  get(keys: readonly DocumentKey[]) {
    return this.#read(() => this.#backend.get(this.domain, keys))
  }

  scan(query: Query) {
    return this.#read(() => this.#backend.scan(this.domain, query))
  }

  changes(after: Position, limit: number) {
    return this.#read(() => this.#backend.changes(this.domain, after, limit))
  }

  head(): Position {
    const fence = this.#retry(() => this.#backend.fence(this.domain))
    if (fence.role !== 'authority') throw this.#fenced(fence)
    return fence.head
  }

  #takeUpStored(): void {
    const limit = Math.min(1_000, this.limits.pageItems)
    const query = {
      collection: definitionsCollection,
      by: 'id',
      prefix: '',
      backwards: false,
      limit,
    } as const
    let after: Cursor | null = null
    do {
      const page: Page<Document, Cursor | null> = this.scan({ ...query, after })
      for (const { id, data } of page.items) {
        const definition = decodeValue(data) as CollectionDefinition
        this.#collections.set(id, { definition, schema: undefined })
      }
      after = page.next
    } while (after !== null)
  }

  #declare(
    name: string,
    { definition, schema = this.#collections.get(name)?.schema }: DeclaredCollection,
  ): void {
    for (;;) {
      const [record] = this.get([{ collection: definitionsCollection, id: name }]).documents
      const isStored = record?.kind === 'document'
      const merged = isStored
        ? mergeDefinitions(name, decodeValue(record.data) as CollectionDefinition, definition)
        : definition
      const data = encodeValue(merged)
      const isDone =
        (isStored && record.data === data) || this.#store(name, data, isStored ? record.position : 'absent')
      if (!isDone) continue
      this.#collections.set(name, { definition: merged, schema })
      return
    }
  }

  /** False if another process declared the collection meanwhile. */
  #store(name: string, data: JsonText, expect: DocumentExpectation): boolean {
    const outcome = this.commit({
      at: this.clock.now(),
      writes: [{ kind: 'put', collection: definitionsCollection, id: name, data, expiresAt: null }],
      checks: [{ kind: 'document', collection: definitionsCollection, id: name, expect }],
    })
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed'
  }

  #read<R extends Served>(call: () => R): R {
    const result = this.#retry(call)
    if (result.role !== 'authority') throw this.#fenced(this.#retry(() => this.#backend.fence(this.domain)))
    return result
  }

  /** The epoch is learnt by being refused; authority that is elsewhere cannot be followed synchronously. */
  #withEpoch<R>(call: (epoch: number) => R): R {
    try {
      return this.#retry(() => call(this.#epoch))
    } catch (error) {
      if (!isUnderpinError(error, 'fenced')) throw error
    }
    const fence = this.#retry(() => this.#backend.fence(this.domain))
    if (fence.role !== 'authority') throw this.#fenced(fence)
    this.#epoch = fence.epoch
    return this.#retry(() => call(fence.epoch))
  }

  /** This backend knows of other copies only the incarnation that it handed off to. */
  #fenced({ role, epoch, successor }: Fence): UnderpinError {
    const isPassing = role === 'sealed'
    return new UnderpinError(
      'fenced',
      `Domain ${this.domain} is ${role} here: ${isPassing ? 'it is being moved' : `it was moved${successor === null ? '' : ` to the copy ${successor}`}`}`,
      {
        hint: isPassing
          ? 'Nothing was written. Call again in a moment.'
          : 'Open it with openStore and all of its backends, which finds where it is now; here it goes on if it is moved back.',
        details: { domain: this.domain, role, epoch, successor },
      },
    )
  }

  /** Waits, blocking, while another process holds the lock. */
  #retry<R>(call: () => R): R {
    const since = this.clock.monotonic()
    for (;;) {
      try {
        return call()
      } catch (error) {
        if (!isUnderpinError(error, 'unavailable') || this.clock.monotonic() - since > this.#deadlineMs)
          throw error
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1 + 4 * this.clock.random())
      }
    }
  }
}
