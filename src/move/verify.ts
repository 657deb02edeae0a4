/**
 * Compares two copies of a domain record by record, while both are written to: the two feeds are read side by side up
 * to the copy's head, each record's checksum recomputed from its content where it is read. A difference is looked at
 * again, so that what has only not arrived yet (lag) is told from what will never be right (divergence).
 */
import type { Backend } from '../backend/backend.ts'
import { isUnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import type { Position } from '../model/position.ts'
import type { Sides } from './sides.ts'

export interface Difference {
  /**
   * - `missing`: the source has a record there, the target none;
   * - `extra`: the target has one, the source none (a foreign write, or a deletion that did not arrive);
   * - `changed`: both have one, and they are not the same;
   * - `damaged`: a record of the target is not what its own checksum was made of;
   * - `damaged-source`: the same, of the source.
   */
  readonly kind: 'missing' | 'extra' | 'changed' | 'damaged' | 'damaged-source'
  readonly position: Position
  /** What it is: a stream and seq, or a collection and id; the message of a damaged record. */
  readonly record: string
}

export interface Comparison {
  /** Up to where both were compared. */
  readonly head: Position
  readonly compared: number
  /** Records of the source that the target did not have yet: none of them differs. */
  readonly lag: number
  readonly differences: readonly Difference[]
  /** The running digests at this head, if both were seen there; else undefined. */
  readonly digests: { readonly source: string; readonly target: string } | undefined
  /** No differences, and the digests equal where they could be compared. */
  readonly isEqual: boolean
}

export interface CompareOptions {
  readonly signal?: AbortSignal
  /** Records read at a time; 5,000 if left out. */
  readonly pageItems?: number
  readonly onProgress?: (position: Position, head: Position) => void | Promise<void>
}

export async function compareSides(sides: Sides, options: CompareOptions = {}): Promise<Comparison> {
  const { domain, source, target } = sides
  const { head } = await target.fence(domain)
  const sourceHead = (await source.fence(domain)).head
  const [left, right] = [new Reader(source, domain, head, options), new Reader(target, domain, head, options)]
  const differences: Difference[] = []
  let compared = 0
  for (;;) {
    const [a, b] = [await left.peek(), await right.peek()]
    if (a === undefined && b === undefined) break
    compared++
    const position = Math.min(
      a?.position ?? Number.POSITIVE_INFINITY,
      b?.position ?? Number.POSITIVE_INFINITY,
    )
    if (a?.position === position) left.take()
    if (b?.position === position) right.take()
    const difference = await judge(
      sides,
      a?.position === position ? a : undefined,
      b?.position === position ? b : undefined,
    )
    if (difference !== undefined) differences.push(difference)
    if (compared % 1_000 === 0) await options.onProgress?.(position, head)
    options.signal?.throwIfAborted()
  }
  const digests = await digestsAtOneHead(sides)
  const isEqual = differences.length === 0 && (digests === undefined || digests.source === digests.target)
  return { head, compared, lag: Math.max(0, sourceHead - head), differences, digests, isEqual }
}

type Entry =
  | { readonly position: Position; readonly change: Change }
  | { readonly position: Position; readonly damage: string }

async function judge(
  sides: Sides,
  a: Entry | undefined,
  b: Entry | undefined,
): Promise<Difference | undefined> {
  if (a !== undefined && 'damage' in a)
    return { kind: 'damaged-source', position: a.position, record: a.damage }
  if (b !== undefined && 'damage' in b) return { kind: 'damaged', position: b.position, record: b.damage }
  if (a !== undefined && b !== undefined) {
    const isSame = a.change.checksum === b.change.checksum && nameOf(a.change) === nameOf(b.change)
    return isSame ? undefined : { kind: 'changed', position: a.position, record: nameOf(a.change) }
  }
  if (a !== undefined)
    return (await isReplaced(sides.target, sides.domain, a.change))
      ? undefined
      : { kind: 'missing', position: a.position, record: nameOf(a.change) }
  if (b === undefined || (await isReplaced(sides.source, sides.domain, b.change))) return undefined
  return { kind: 'extra', position: b.position, record: nameOf(b.change) }
}

/** Whether a record is not in one of the two feeds because a later one took its place there since. */
async function isReplaced(on: Backend, domain: string, change: Change): Promise<boolean> {
  if (change.kind === 'event') {
    const { stream, seq } = change
    const range = { after: seq - 1, before: seq + 1, backwards: false, limit: 1 }
    const [found] = (await on.read(domain, stream, range)).items
    return found?.position === change.position && found.checksum === change.checksum
  }
  const [found] = (await on.get(domain, [{ collection: change.collection, id: change.id }])).documents
  return found !== undefined && found.position > change.position
}

function nameOf(change: Change): string {
  if (change.kind === 'event') return `event ${change.seq} of stream ${JSON.stringify(change.stream)}`
  return `${change.kind} ${JSON.stringify(change.id)} of collection ${change.collection}`
}

/** The records of one side up to a position, in order, a damaged one in its place. */
class Reader {
  readonly #backend: Backend
  readonly #domain: string
  readonly #until: Position
  readonly #pageItems: number
  #after: Position = 0
  #entries: Entry[] = []
  #at = 0

  constructor(backend: Backend, domain: string, until: Position, { pageItems = 5_000 }: CompareOptions) {
    this.#backend = backend
    this.#domain = domain
    this.#until = until
    this.#pageItems = pageItems
  }

  take(): void {
    this.#at++
  }

  async peek(): Promise<Entry | undefined> {
    while (this.#at >= this.#entries.length && this.#after < this.#until) await this.#fill()
    const entry = this.#entries[this.#at]
    return entry !== undefined && entry.position <= this.#until ? entry : undefined
  }

  /** One page; where a record is damaged, ever smaller ones around it. */
  async #fill(): Promise<void> {
    this.#at = 0
    for (let limit = this.#pageItems; ; limit = Math.max(1, limit >> 2)) {
      try {
        const page = await this.#backend.changes(this.#domain, this.#after, limit)
        this.#entries = page.items.map((change) => ({ position: change.position, change }))
        this.#after = page.next
        return
      } catch (error) {
        if (!isUnderpinError(error, 'damaged') || typeof error.details.position !== 'number') throw error
        if (limit > 1) continue
        const { position } = error.details
        this.#entries = [{ position, damage: error.message }]
        this.#after = position
        return
      }
    }
  }
}

/** Both digests, if the copy stands at the source's head, by a source that did not move meanwhile. */
async function digestsAtOneHead({ domain, source, target }: Sides): Promise<Comparison['digests']> {
  const before = await source.fence(domain)
  const copy = await target.fence(domain)
  const after = await source.fence(domain)
  if (before.head !== copy.head || after.head !== copy.head) return undefined
  return { source: after.digest, target: copy.digest }
}
