/**
 * Documents that were read and verified, for as long as nobody changes the file. SQLite's `data_version` tells when any
 * other connection has written anything at all, by whatever means; what this connection writes, it forgets here itself.
 */
import type { Document, Tombstone } from '../../model/document.ts'
import type { Served } from '../../model/page.ts'
import type { Found } from '../backend.ts'
import { Generations } from '../cache.ts'
import type { Stage } from '../stage.ts'

type Stored = Document | Tombstone | null

/** Characters of JSON text in one generation: with the older one, about 32 MiB at most. */
const generationSize = 8_388_608

export class RecordCache {
  readonly #records = new Generations<Stored>(generationSize, weightOf)
  /** The fences that the records were read under. */
  readonly #served = new Map<string, Served>()
  #version = -1

  get(version: number, domain: string, collection: string, id: string): Found | undefined {
    if (version !== this.#version) return undefined
    const served = this.#served.get(domain)
    const record = this.#records.get(`${domain}\0${collection}\0${id}`)
    if (served === undefined || record === undefined) return undefined
    return { documents: [record ?? undefined], epoch: served.epoch, role: served.role, head: served.head }
  }

  /** Keeps what was read after the version was asked for, frozen, since all its readers share it. */
  set(version: number, domain: string, collection: string, id: string, record: Stored, served: Served): void {
    if (version !== this.#version) this.clear()
    this.#version = version
    this.#served.set(domain, served)
    this.#records.set(`${domain}\0${collection}\0${id}`, Object.freeze(record))
  }

  /** Forgets what this connection wrote. */
  forget(domain: string, stage: Stage): void {
    this.#served.delete(domain)
    for (const [collection, documents] of stage.documents)
      for (const id of documents.keys()) this.#records.delete(`${domain}\0${collection}\0${id}`)
  }

  clear(): void {
    this.#version = -1
    this.#served.clear()
    this.#records.clear()
  }
}

function weightOf(record: Stored): number {
  return 200 + (record?.kind === 'document' ? record.data.length : 0)
}
