/**
 * Garbage collection of blobs: mark what events, documents and pins refer to, sweep the rest.
 *
 * The mark walks the feed of each domain to its head. A feed gives every event and the latest state of each document in
 * the order of positions, so a walk that has come to the head has seen every reference that is live at that moment,
 * whatever was committed while it walked. Before each batch of removals the feeds are walked on from where they were:
 * what was committed or moved between domains meanwhile is marked too. What has only just been put and is referred to
 * nowhere yet is kept by the grace time.
 */
import { UnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { decodeValue, type JsonText } from '../../model/value.ts'
import { type AnyDomain, portOf } from '../domain.ts'
import type { Port } from '../port.ts'
import { throwIfAborted } from './content.ts'
import { eachCid } from './ref.ts'
import type { BlobStore, KeptBlob } from './store.ts'

export interface CollectOptions {
  /**
   * Every domain that refers to blobs of this store, of whichever stores: a blob that only a domain left out here refers
   * to is removed.
   */
  readonly domains: readonly AnyDomain[]
  /**
   * Milliseconds that a blob is kept after it was put or touched, referred to or not; a day if left out. Longer than any
   * program takes from a put to the commit of its reference.
   */
  readonly graceMs?: number
  /** Counts, and removes nothing. */
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
}

/** What a collection found and did. */
export interface Collected {
  /** Blobs that stay: referred to, pinned, or in their grace time. */
  readonly kept: number
  readonly removed: number
  readonly removedBytes: number
}

const dayMs = 86_400_000
const batchItems = 100
const pageItems = 1_000

/**
 * Removes the blobs that nothing refers to. Safe beside puts, reads, commits and other collections; safe to be killed:
 * the next one ends what it began. A reference counts if it is a `BlobRef`, anywhere in an event's data or meta or in a
 * document; an identifier kept as a bare string does not, and needs a pin.
 */
export async function collectBlobs(
  blobs: BlobStore,
  { domains, graceMs = dayMs, dryRun = false, signal }: CollectOptions,
): Promise<Collected> {
  if (domains.length === 0)
    throw new TypeError(
      'collectBlobs needs the domains that refer to blobs: without one, all would be removed',
    )
  if (!(graceMs >= 0)) throw new UnderpinError('invalid', `graceMs must be 0 or more, not ${graceMs}`)
  const before = blobs.clock.now() - graceMs
  const marks = new Marks(blobs, domains.map(portOf), signal)
  await marks.walk()
  if (!dryRun) await blobs.tidy(before, (cid) => marks.has(cid), signal && { signal })
  const collected = { kept: 0, removed: 0, removedBytes: 0 }
  let batch: KeptBlob[] = []
  for await (const kept of blobs.list(signal && { signal })) {
    if (kept.at > before || marks.has(kept.cid)) collected.kept++
    else batch.push(kept)
    if (batch.length < batchItems) continue
    await sweep(batch)
    batch = []
  }
  await sweep(batch)
  return collected

  async function sweep(candidates: readonly KeptBlob[]): Promise<void> {
    if (candidates.length === 0) return
    await marks.walk()
    for (const { cid, size } of candidates) {
      throwIfAborted(signal)
      const isRemoved = !marks.has(cid) && (dryRun || (await blobs.sweep(cid, before, signal && { signal })))
      if (isRemoved) {
        collected.removed++
        collected.removedBytes += size
      } else collected.kept++
    }
  }
}

/** What is referred to. Only ever grows. */
class Marks {
  readonly #blobs: BlobStore
  readonly #feeds: { readonly port: Port; after: number }[]
  readonly #signal: AbortSignal | undefined
  readonly #cids = new Set<string>()

  constructor(blobs: BlobStore, ports: readonly Port[], signal: AbortSignal | undefined) {
    this.#blobs = blobs
    this.#feeds = ports.map((port) => ({ port, after: 0 }))
    this.#signal = signal
  }

  has(cid: string): boolean {
    return this.#cids.has(cid)
  }

  /** Walks every feed on to its head; twice, so that a reference that went from a later domain to an earlier one is seen. */
  async walk(): Promise<void> {
    for (const cid of await this.#blobs.pins(this.#signal && { signal: this.#signal })) this.#cids.add(cid)
    for (const feed of [...this.#feeds, ...this.#feeds]) {
      for (let isBehind = true; isBehind; ) {
        throwIfAborted(this.#signal)
        const limit = Math.min(pageItems, feed.port.limits.pageItems)
        const page = await feed.port.changes(feed.after, limit, this.#signal && { signal: this.#signal })
        for (const change of page.items) this.#mark(change)
        feed.after = page.next
        isBehind = page.next < page.head
      }
    }
  }

  #mark(change: Change): void {
    if (change.kind === 'tombstone') return
    this.#markText(change.data)
    if (change.kind === 'event' && change.meta !== null) this.#markText(change.meta)
  }

  #markText(text: JsonText): void {
    if (text.includes('"$blob"')) eachCid(decodeValue(text), (cid) => this.#cids.add(cid))
  }
}
