/**
 * Gets of single documents: those that arrive while others are under way form one statement. The same idea as group
 * commit; a get that finds nothing under way goes at once, so that a lone caller never waits.
 */
import type { Document, Tombstone } from '../../model/document.ts'
import type { Served } from '../../model/page.ts'
import { toDocument } from '../sql/record.ts'
import type { Query, Row } from './driver.ts'
import { getRows } from './read.ts'
import type { Tables } from './table.ts'

type Found = Served & { readonly document: Document | Tombstone | undefined }

interface Waiting {
  readonly id: string
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
}

/** Two, so that one is answered by the server while the other is taken apart here. */
const underWayAtOnce = 2
const largestGroup = 256

/** The gets of one collection. */
export class Gets {
  readonly #tables: Tables
  readonly #domain: string
  readonly #collection: string
  #waiting: Waiting[] = []
  #underWay = 0

  constructor(tables: Tables, domain: string, collection: string) {
    this.#tables = tables
    this.#domain = domain
    this.#collection = collection
  }

  get(query: Query, id: string): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, resolve, reject })
      if (this.#underWay < underWayAtOnce) void this.#run(query)
    })
  }

  async #run(query: Query): Promise<void> {
    this.#underWay++
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, largestGroup)
      try {
        this.#answer(group, await this.#read(query, group))
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    this.#underWay--
  }

  #read(query: Query, group: readonly Waiting[]) {
    const ids = group.map(({ id }) => id)
    return getRows(query, this.#tables, this.#domain, this.#collection, ids)
  }

  /** A damaged record fails those who asked for it, and nobody else. */
  #answer(
    group: readonly Waiting[],
    { served, rows }: { served: Served; rows: ReadonlyMap<string, Row> },
  ): void {
    for (const { id, resolve, reject } of group) {
      const row = rows.get(id)
      try {
        resolve({ document: row === undefined ? undefined : toDocument(this.#collection, row), ...served })
      } catch (error) {
        reject(error)
      }
    }
  }
}
