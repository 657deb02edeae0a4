/**
 * Gets of single documents: those that arrive while others are under way form one statement. The same idea as group
 * commit; a get that finds nothing under way goes at once, so that a lone caller never waits.
 */
import type { Clock } from '../../clock.ts'
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

/** Two, so that one is answered by the server while the other is taken apart here; others where those got no answer. */
const lanes = 2
const mostLanes = 8
const slowMs = 1_000
const largestGroup = 256

/** The gets of one collection. */
export class Gets {
  readonly #tables: Tables
  readonly #domain: string
  readonly #collection: string
  readonly #clock: Clock
  #waiting: Waiting[] = []
  /** When each statement under way was sent. */
  readonly #underWay = new Set<{ since: number }>()

  constructor(tables: Tables, domain: string, collection: string, clock: Clock) {
    this.#tables = tables
    this.#domain = domain
    this.#collection = collection
    this.#clock = clock
  }

  get(query: Query, id: string): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, resolve, reject })
      if (this.#isFree) void this.#run(query)
    })
  }

  get #isFree(): boolean {
    if (this.#underWay.size < lanes) return true
    if (this.#underWay.size >= mostLanes) return false
    const slow = [...this.#underWay].filter(({ since }) => this.#clock.monotonic() - since > slowMs)
    return this.#underWay.size - slow.length < lanes
  }

  async #run(query: Query): Promise<void> {
    const lane = { since: 0 }
    this.#underWay.add(lane)
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, largestGroup)
      lane.since = this.#clock.monotonic()
      try {
        this.#answer(group, await this.#read(query, group))
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    this.#underWay.delete(lane)
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
