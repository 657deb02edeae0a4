/** The documents facet: current-state values by id, in declared collections. */
import type { CallOptions } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { FieldValue } from '../model/collection.ts'
import type { Cursor, Query } from '../model/page.ts'
import {
  type CommitOptions,
  type CommitResult,
  type DeleteOptions,
  Draft,
  failedChecksOf,
  type PutOptions,
} from './draft.ts'
import { settle } from './log.ts'
import { refuseOwn } from './own.ts'
import type { DeclaredCollection, Port } from './port.ts'
import { parseWith } from './schema.ts'
import { send } from './send.ts'
import { type StoredDocument, toStoredDocument } from './shape.ts'

/** Which documents of a collection, and in which order. */
export interface ListOptions {
  /** Ids that begin with this, in order of id. */
  readonly prefix?: string
  /** In the order of a declared index, and only the documents in it. */
  readonly index?: string
  /** Values of the index's first fields. */
  readonly equals?: readonly FieldValue[]
  /** Bounds of the index field behind those: from this value on, below that one. */
  readonly from?: FieldValue
  readonly below?: FieldValue
  readonly backwards?: boolean
  /** At most so many; 100 if left out. A page may hold fewer when some have expired. */
  readonly limit?: number
  /** Where the page before ended. */
  readonly cursor?: Cursor
}

/** A part of a collection. */
export interface DocumentPage<T> {
  readonly documents: readonly StoredDocument<T>[]
  /** Goes on behind this page, under writes too, without skipping or repeating; undefined at the end. */
  readonly cursor: Cursor | undefined
}

const updateAttempts = 100

export class Documents<T> {
  readonly #port: Port
  readonly #name: string
  readonly #collection: DeclaredCollection

  constructor(port: Port, name: string) {
    this.#port = port
    this.#name = name
    this.#collection = port.collection(name)
  }

  /** The document, or undefined if it is not there, deleted or expired. */
  async get(id: string, options: CallOptions = {}): Promise<StoredDocument<T> | undefined> {
    const { documents } = await this.#port.get([{ collection: this.#name, id }], options)
    return toStoredDocument<T>(documents[0], this.#port.clock.now())
  }

  /** Several documents at one moment, in the order of the ids. */
  async getMany(
    ids: readonly string[],
    options: CallOptions = {},
  ): Promise<readonly (StoredDocument<T> | undefined)[]> {
    const keys = ids.map((id) => ({ collection: this.#name, id }))
    const { documents } = await this.#port.get(keys, options)
    const now = this.#port.clock.now()
    return documents.map((record) => toStoredDocument<T>(record, now))
  }

  /**
   * Puts a document. Its new revision is the result's `position`. Fails with `conflict` if the document is not as
   * expected or a unique index has its key; with `invalid` if it does not fit the schema or the declared fields.
   */
  put(id: string, value: T, options: PutOptions & CommitOptions & CallOptions = {}): Promise<CommitResult> {
    return settle(async () => {
      refuseOwn(this.#name)
      const draft = new Draft(this.#port)
      const { schema } = this.#collection
      const parsed =
        schema === undefined ? value : await parseWith(schema, value, `Document ${JSON.stringify(id)}`)
      draft.put(this.#name, this.#collection, id, parsed, options)
      return send(this.#port, draft, options)
    })
  }

  /** Deletes a document, or notes that it is deleted if it never was there. */
  delete(id: string, options: DeleteOptions & CommitOptions & CallOptions = {}): Promise<CommitResult> {
    return settle(() => {
      refuseOwn(this.#name)
      const draft = new Draft(this.#port)
      draft.delete(this.#name, id, options)
      return send(this.#port, draft, options)
    })
  }

  /**
   * Replaces a document by what `change` makes of its current value (undefined if there is none), again if another
   * writer came between. Keeps its expiry unless `expiresAt` is given.
   */
  async update(
    id: string,
    change: (value: T | undefined) => T,
    options: { readonly expiresAt?: number } & CallOptions = {},
  ): Promise<CommitResult> {
    for (let attempt = 1; ; attempt++) {
      const found = await this.get(id, options)
      const expiresAt = options.expiresAt ?? found?.expiresAt
      const expect = found?.revision ?? 'absent'
      try {
        return await this.put(id, change(found?.value), {
          ...options,
          expect,
          ...(expiresAt === undefined ? {} : { expiresAt }),
        })
      } catch (error) {
        if (attempt === updateAttempts || !isLostRace(error)) throw error
      }
    }
  }

  /** One page of the collection. */
  async list(options: ListOptions & CallOptions = {}): Promise<DocumentPage<T>> {
    const page = await this.#port.scan(toQuery(this.#name, options), options)
    const now = this.#port.clock.now()
    const documents = page.items.flatMap((record) => toStoredDocument<T>(record, now) ?? [])
    return { documents, cursor: page.next ?? undefined }
  }

  /** All documents of a query, page by page; `limit` bounds a page. */
  async *all(options: ListOptions & CallOptions = {}): AsyncGenerator<StoredDocument<T>> {
    let cursor = options.cursor
    do {
      const page: DocumentPage<T> = await this.list({
        limit: 1_000,
        ...options,
        ...(cursor === undefined ? {} : { cursor }),
      })
      yield* page.documents
      cursor = page.cursor
    } while (cursor !== undefined)
  }

  /** Deletes expired documents, at most `limit`; returns how many. Expired ones count as absent without it: this frees their space. */
  async sweep(limit = 1_000, options: CallOptions = {}): Promise<number> {
    const until = this.#port.clock.now()
    const query: Query = { collection: this.#name, by: 'expiry', until, backwards: false, limit, after: null }
    const { items } = await this.#port.scan(query, options)
    const draft = new Draft(this.#port)
    for (const { id } of items) draft.delete(this.#name, id, { expect: 'absent' })
    if (items.length === 0) return 0
    try {
      await send(this.#port, draft, options)
    } catch (error) {
      if (isUnderpinError(error, 'conflict')) return 0
      throw error
    }
    return items.length
  }
}

function isLostRace(error: unknown): boolean {
  return failedChecksOf(error)?.every(({ kind }) => kind === 'document') ?? false
}

/** The query of a list; `invalid` if it asks for two orders at once. */
export function toQuery(collection: string, options: ListOptions): Query {
  const { prefix, index, equals = [], from, below, backwards = false, limit = 100, cursor = null } = options
  const common = { collection, backwards, limit, after: cursor }
  if (index === undefined) {
    if (equals.length > 0 || from !== undefined || below !== undefined) {
      throw new UnderpinError('invalid', 'equals, from and below need an index', {
        hint: 'Name the index, or use prefix for ids.',
      })
    }
    return { ...common, by: 'id', prefix: prefix ?? '' }
  }
  if (prefix !== undefined)
    throw new UnderpinError('invalid', 'prefix is for ids and cannot be combined with an index')
  return {
    ...common,
    by: 'index',
    index,
    equals,
    ...(from === undefined ? {} : { from }),
    ...(below === undefined ? {} : { below }),
  }
}
