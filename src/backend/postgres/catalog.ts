/** The collections of a domain as they are declared, read again when the fence's row says that they changed. */
import { type CollectionDefinition, definitionsCollection } from '../../model/collection.ts'
import { toDefinitions } from '../sql/record.ts'
import type { Query } from './driver.ts'
import type { Tables } from './table.ts'

export type Definitions = ReadonlyMap<string, CollectionDefinition>

export class Catalog {
  readonly #tables: Tables
  readonly #domain: string
  #version = -1
  #definitions: Definitions | undefined

  constructor(tables: Tables, domain: string) {
    this.#tables = tables
    this.#domain = domain
  }

  get version(): number {
    return this.#version
  }

  /** What is known without asking; undefined if nothing is, or if it is not of this version. */
  known(version = this.#version): Definitions | undefined {
    return version === this.#version ? this.#definitions : undefined
  }

  /** The declarations of a version, or the latest if none is named. */
  async load(query: Query, version?: number): Promise<Definitions> {
    const known = version === undefined ? undefined : this.known(version)
    if (known !== undefined) return known
    const table = this.#tables.collection(this.#domain, definitionsCollection)
    const rows = await query(`SELECT id, data FROM ${table} WHERE data IS NOT NULL`)
    this.#definitions = toDefinitions(rows)
    this.#version = version ?? -1
    return this.#definitions
  }

  forget(): void {
    this.#definitions = undefined
  }
}
