/**
 * What a PostgreSQL database holds of one domain, for planning commits. Planning is synchronous and asks for what it
 * needs; what is not known yet is noted, fetched together, and the plan is made again. So no second piece of code has to
 * know what a plan depends on.
 */
import type { CollectionDefinition, FieldValue } from '../../model/collection.ts'
import { emptyDigest } from '../../model/digest.ts'
import type { Below } from '../../model/truncation.ts'
import { HeadCache } from '../cache.ts'
import type { Plan } from '../plan.ts'
import { fieldColumn } from '../sql/name.ts'
import { indexCondition, toSql } from '../sql/scan.ts'
import type { Held, View } from '../stage.ts'
import type { Catalog, Definitions } from './catalog.ts'
import type { Query, Row } from './driver.ts'
import type { FenceRow } from './fence-row.ts'
import { addDocument, fetchHeads, headStatements, type Needs, noNeeds } from './heads.ts'
import { makeUnique, postgres, type Tables } from './table.ts'
import { sumBelow } from './truncate.ts'

/** Pages between two tries to make an index unique: each builds it, only to find that somebody uses the table. */
const pagesBetween = 20

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
  #turn = -1
  #incarnation = ''
  /** Who holds a unique key: known for one plan only, because whatever is written may change it. */
  readonly #holders = new Map<string, string | undefined>()
  /** What streams hold below a seq: known for one plan only. */
  readonly #below = new Map<string, Below>()
  /** Whether there are tables of collections that are not declared: known for one plan only. */
  readonly #undeclared = new Map<string, boolean>()
  readonly #missingTables = new Set<string>()
  #missing = noNeeds()
  #missingBelow = new Map<string, { readonly stream: string; readonly seq: number }>()
  #missingHolders = new Map<string, HolderKey>()
  #isMissingDefinitions = false

  constructor(tables: Tables, domain: string, catalog: Catalog) {
    this.#tables = tables
    this.#domain = domain
    this.#catalog = catalog
  }

  /** Forgets what another process may have changed. */
  moveTo({ fence, turn, catalog }: FenceRow): void {
    if (turn !== this.#turn || fence.incarnation !== this.#incarnation) this.#cache.clear()
    this.#turn = turn
    this.#incarnation = fence.incarnation
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

  /** Statements for what plans will need, and what is to be done with their rows once the view is at its head. */
  ahead({ streams, documents }: Needs) {
    const known = this.#catalog.known(this.#version)
    const declared = new Map([...documents].filter(([collection]) => known?.has(collection)))
    const { statements, take } = headStatements(this.#tables, this.#domain, { streams, documents: declared })
    return { statements, take: (results: readonly (readonly Row[])[]) => take(this.#cache, results) }
  }

  /** Makes a plan, fetching what it turns out to need. */
  async plan<P>(query: Query, make: () => P): Promise<P> {
    this.#holders.clear()
    this.#below.clear()
    this.#undeclared.clear()
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
    if (known === undefined) this.#missing.streams.add(stream)
    return known ?? 0
  }

  below(stream: string, seq: number): Below {
    const name = JSON.stringify([stream, seq])
    const known = this.#below.get(name)
    if (known === undefined) this.#missingBelow.set(name, { stream, seq })
    return known ?? { first: 0, sum: emptyDigest }
  }

  document(collection: string, id: string): Held | undefined {
    const known = this.#cache.documents.get(`${collection}\0${id}`)
    if (known !== undefined) return known ?? undefined
    if (this.definition(collection) === undefined && !this.#hasTable(collection)) return undefined
    addDocument(this.#missing, collection, id)
    return undefined
  }

  definition(collection: string): CollectionDefinition | undefined {
    const definitions = this.#catalog.known(this.#version)
    if (definitions === undefined) this.#isMissingDefinitions = true
    return definitions?.get(collection)
  }

  /** A follower holds documents of collections whose declaration stands further on in the feed. */
  #hasTable(collection: string): boolean {
    if (this.#isMissingDefinitions) return false
    const known = this.#undeclared.get(collection)
    if (known === undefined) this.#missingTables.add(collection)
    return known ?? false
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

  /** Whether it is known that no plain index stands in for a unique one. */
  get isUnique(): boolean {
    return this.#catalog.uniqueAt === this.#version
  }

  /** While it follows: behind the decision of a cutover nobody has authority, and nothing may take as long as there are records. */
  async makeUnique(query: Query): Promise<void> {
    if (this.#catalog.pagesUntilUnique > 0) {
      this.#catalog.pagesUntilUnique--
      return
    }
    if (await makeUnique(query, this.#tables, this.#domain, await this.definitions(query)))
      this.#catalog.uniqueAt = this.#version
    else this.#catalog.pagesUntilUnique = pagesBetween
  }

  get #isMissingSomething(): boolean {
    return (
      this.#isMissingDefinitions ||
      this.#missing.streams.size > 0 ||
      this.#missing.documents.size > 0 ||
      this.#missingTables.size > 0 ||
      this.#missingHolders.size > 0 ||
      this.#missingBelow.size > 0
    )
  }

  async #fetch(query: Query): Promise<void> {
    const [needs, holders, below] = [this.#missing, this.#missingHolders, this.#missingBelow]
    this.#missing = noNeeds()
    this.#missingBelow = new Map()
    this.#missingHolders = new Map()
    if (this.#isMissingDefinitions) {
      this.#isMissingDefinitions = false
      await this.definitions(query)
    }
    for (const collection of this.#missingTables) {
      const table = this.#tables.collection(this.#domain, collection)
      const [row] = await query('SELECT to_regclass($1) IS NOT NULL', [table])
      this.#undeclared.set(collection, row?.[0] === true)
    }
    this.#missingTables.clear()
    await fetchHeads(query, this.#tables, this.#domain, needs, this.#cache)
    for (const [name, { stream, seq }] of below)
      this.#below.set(name, await sumBelow(query, this.#tables, this.#domain, stream, seq))
    for (const [name, holder] of holders) await this.#fetchHolder(query, name, holder)
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
