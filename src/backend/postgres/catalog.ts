/** The collections of a domain as they are declared, read again when the fence's row says that they changed. */
import { type CollectionDefinition, definitionsCollection } from '../../model/collection.ts'
import { toDefinitions } from '../sql/record.ts'
import type { Query } from './driver.ts'
import type { Tables } from './table.ts'

export type Definitions = ReadonlyMap<string, CollectionDefinition>

/** Definitions, and the version of the fence's row that they were read under; -1 if it was not looked at. */
interface Known {
  readonly version: number
  readonly definitions: Definitions
}

export class Catalog {
  readonly #tables: Tables
  readonly #domain: string
  #known: Known | undefined
  /** The version of which it is known that no plain index stands in for a unique one. */
  uniqueAt: number | undefined
  /** Pages to take before plain indexes are looked at again, where one could not be made unique. */
  pagesUntilUnique = 0

  constructor(tables: Tables, domain: string) {
    this.#tables = tables
    this.#domain = domain
  }

  /** The version of what is known; -1 if nothing is, which is no version of a fence's row. */
  get version(): number {
    return this.#known?.version ?? -1
  }

  /** What is known without asking; undefined if nothing is, or if it is not of this version. */
  known(version = this.version): Definitions | undefined {
    return version === this.version ? this.#known?.definitions : undefined
  }

  /** The declarations of a version, or the latest if none is named. */
  async load(query: Query, version?: number): Promise<Definitions> {
    const known = version === undefined ? undefined : this.known(version)
    if (known !== undefined) return known
    const table = this.#tables.collection(this.#domain, definitionsCollection)
    const rows = await query(`SELECT id, data FROM ${table} WHERE data IS NOT NULL`)
    const definitions = toDefinitions(rows)
    this.#known = { version: version ?? -1, definitions }
    return definitions
  }

  forget(): void {
    this.#known = undefined
    this.uniqueAt = undefined
  }
}
