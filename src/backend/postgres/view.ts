/**
 * What a PostgreSQL database holds of one domain, for planning commits. Planning is synchronous and asks for what it
 * needs; what is not known yet is noted, fetched together, and the plan is made again. So no second piece of code has to
 * know what a plan depends on.
 */
import type { CollectionDefinition, FieldValue } from '../../model/collection.ts'
import { HeadCache } from '../cache.ts'
import type { Plan } from '../plan.ts'
import { fieldColumn } from '../sql/name.ts'
import { toNumber } from '../sql/record.ts'
import { indexCondition, toSql } from '../sql/scan.ts'
import type { Held, View } from '../stage.ts'
import { texts } from './array.ts'
import type { Catalog, Definitions } from './catalog.ts'
import type { Query } from './driver.ts'
import type { FenceRow } from './fence-row.ts'
import { postgres, type Tables } from './table.ts'

interface HolderKey {
  readonly collection: string
  readonly index: string
  readonly key: readonly FieldValue[]
}

export class PostgresView implements View {
  readonly #tables: Tables
  readonly #domain: string
  readonly #catalog: Catalog
  readonly #cache = new HeadCache()
  #version = -1
  /** Who holds a unique key: known for one plan only, because whatever is written may change it. */
  readonly #holders = new Map<string, string | undefined>()
  #missingStreams = new Set<string>()
  #missingDocuments = new Map<string, Set<string>>()
  #missingHolders = new Map<string, HolderKey>()
  #isMissingDefinitions = false

  constructor(tables: Tables, domain: string, catalog: Catalog) {
    this.#tables = tables
    this.#domain = domain
    this.#catalog = catalog
  }

  /** Forgets what another process may have changed. */
  moveTo({ fence, catalog }: FenceRow): void {
    this.#version = catalog
    this.#cache.moveTo(fence.head)
  }

  /** Takes over what was written. */
  absorb({ stage, head }: Plan): void {
    this.#cache.absorb(stage, head)
  }

  /** Whether a document is known not to be there, in any state. */
  isNew(collection: string, id: string): boolean {
    return this.#cache.documents.get(`${collection}\0${id}`) === null
  }

  clear(): void {
    this.#cache.clear()
  }

  /** Makes a plan, fetching what it turns out to need. */
  async plan<P>(query: Query, make: () => P): Promise<P> {
    this.#holders.clear()
    for (;;) {
      const plan = attempt(make)
      if (!this.#isMissingSomething) {
        if (plan.error !== undefined) throw plan.error
        return plan.value as P
      }
      await this.#fetch(query)
    }
  }

  seq(stream: string): number {
    const known = this.#cache.seqs.get(stream)
    if (known === undefined) this.#missingStreams.add(stream)
    return known ?? 0
  }

  document(collection: string, id: string): Held | undefined {
    const known = this.#cache.documents.get(`${collection}\0${id}`)
    if (known !== undefined) return known ?? undefined
    if (this.definition(collection) === undefined) return undefined
    const ids = this.#missingDocuments.get(collection)
    if (ids === undefined) this.#missingDocuments.set(collection, new Set([id]))
    else ids.add(id)
    return undefined
  }

  definition(collection: string): CollectionDefinition | undefined {
    const definitions = this.#catalog.known(this.#version)
    if (definitions === undefined) this.#isMissingDefinitions = true
    return definitions?.get(collection)
  }

  holder(collection: string, index: string, key: readonly FieldValue[]): string | undefined {
    const name = JSON.stringify([collection, index, key])
    if (!this.#holders.has(name)) this.#missingHolders.set(name, { collection, index, key })
    return this.#holders.get(name)
  }

  /** All collections of the domain. */
  definitions(query: Query): Promise<Definitions> {
    return this.#catalog.load(query, this.#version)
  }

  get #isMissingSomething(): boolean {
    return (
      this.#isMissingDefinitions ||
      this.#missingStreams.size > 0 ||
      this.#missingDocuments.size > 0 ||
      this.#missingHolders.size > 0
    )
  }

  async #fetch(query: Query): Promise<void> {
    const [streams, documents, holders] = [this.#missingStreams, this.#missingDocuments, this.#missingHolders]
    this.#missingStreams = new Set()
    this.#missingDocuments = new Map()
    this.#missingHolders = new Map()
    if (this.#isMissingDefinitions) {
      this.#isMissingDefinitions = false
      await this.definitions(query)
    }
    if (streams.size > 0) await this.#fetchSeqs(query, [...streams])
    for (const [collection, ids] of documents) await this.#fetchDocuments(query, collection, [...ids])
    for (const [name, holder] of holders) await this.#fetchHolder(query, name, holder)
  }

  async #fetchSeqs(query: Query, streams: readonly string[]): Promise<void> {
    const rows = await query(
      `SELECT s.stream, coalesce(e.seq, 0) FROM unnest($1::text[]) AS s (stream)
       LEFT JOIN LATERAL (SELECT seq FROM ${this.#tables.events(this.#domain)} WHERE stream = s.stream COLLATE "C" ORDER BY seq DESC LIMIT 1) e ON true`,
      [texts(streams)],
    )
    for (const [stream, seq] of rows) this.#cache.seqs.set(String(stream), Number(seq))
  }

  async #fetchDocuments(query: Query, collection: string, ids: readonly string[]): Promise<void> {
    const rows = await query(
      `SELECT id, revision, checksum, expires_at, data IS NULL FROM ${this.#tables.collection(this.#domain, collection)} WHERE id = ANY ($1::text[])`,
      [texts(ids)],
    )
    for (const id of ids) this.#cache.documents.set(`${collection}\0${id}`, null)
    for (const [id, position, checksum, expiresAt, isTombstone] of rows) {
      this.#cache.documents.set(`${collection}\0${id}`, {
        position: Number(position),
        checksum: String(checksum),
        expiresAt: toNumber(expiresAt),
        isTombstone: isTombstone === true,
      })
    }
  }

  async #fetchHolder(query: Query, name: string, { collection, index, key }: HolderKey): Promise<void> {
    const definition = this.#catalog.known(this.#version)?.get(collection)?.indexes[index]
    this.#holders.set(name, undefined)
    if (definition === undefined) return
    const equals = definition.fields.map((field, i) => `${fieldColumn(field)} = $${i + 1}`)
    const where = [...equals, indexCondition(postgres, definition)].join(' AND ')
    const [row] = await query(
      `SELECT id FROM ${this.#tables.collection(this.#domain, collection)} WHERE ${where} LIMIT 1`,
      key.map(toSql),
    )
    if (row !== undefined) this.#holders.set(name, String(row[0]))
  }
}

/** A plan made from what is not all known may fail for that alone; only the last one counts. */
function attempt<P>(make: () => P): { value?: P; error?: unknown } {
  try {
    return { value: make() }
  } catch (error) {
    return { error }
  }
}
