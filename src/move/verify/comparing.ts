/** One comparison under way: what was read so far, and what was found. */
import { keyOf, type RecordKey } from '../../model/change.ts'
import { definitionsCollection, systemCollections } from '../../model/collection.ts'
import type { Digest } from '../../model/digest.ts'
import type { Fence } from '../../model/fence.ts'
import { compareText } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import type { Sides } from '../sides.ts'
import type { CompareOptions } from '../verify.ts'
import { Differences, type ForeignEvidence, isDamage, type Seen } from './difference.ts'
import { type LookOptions, lookAgain } from './look.ts'
import { Pace } from './pace.ts'
import { Ahead, checkOf, feedPart, idOf, idPart, type ReadOptions, seqOf, streamPart } from './reader.ts'
import { type Order, sideBySide, sumOf, suspectsIn } from './side-by-side.ts'
import { Tally } from './tally.ts'

const byPosition: Order<Position> = { of: ({ position }) => position, compare: (a, b) => a - b }
const bySeq: Order<number> = { of: seqOf, compare: (a, b) => a - b }
const byId: Order<string | null> = { of: idOf, compare: (a, b) => compareText(a ?? '', b ?? '') }

/** Streams that are read at a time. */
const streamsAtOnce = 8
/** Differences from which on no more are looked for: this copy has to be made anew. */
const mostDifferences = 100_000
/** Times that the end of the copy's feed is looked for while it moves on. */
const endLooks = 100

export interface Content {
  readonly fence: Digest
  readonly found: Digest
}

export class Comparing {
  readonly differences: Differences
  /** Records of the source. */
  compared = 0
  readonly #sides: Sides
  readonly #copy: Fence
  readonly #from: Position
  readonly #pageItems: number
  readonly #looks: LookOptions
  readonly #pace: Pace
  readonly #tally: Tally | undefined
  #position: Position
  /** The copy lacks the declaration of a collection that it may hold documents of: its feed does not show them. */
  #isHiding = false

  constructor(sides: Sides, copy: Fence, options: CompareOptions) {
    const { domain, source, target, clock } = sides
    const { signal, pageItems = 5_000, listed = 100, resume, by, known } = options
    this.#sides = sides
    this.#copy = copy
    this.#pageItems = pageItems
    this.#from = resume?.position ?? 0
    this.#position = this.#from
    this.differences = new Differences(listed, known)
    this.#tally = this.#from === 0 && by !== 'keys' ? new Tally(copy.head) : undefined
    this.#pace = new Pace(clock, this.#from, options)
    this.#looks = {
      checkSource: checkOf(source, domain, ['authority', 'sealed', 'handed-off']),
      checkTarget: checkOf(target, domain, ['follower'], copy.epoch),
      signal,
    }
  }

  /** The feeds side by side, up to the copy's head; with each stream where it begins, if asked for. */
  async byPositions(withStreams: boolean): Promise<void> {
    const { domain, source, target } = this.#sides
    const { head } = this.#copy
    this.#isHiding = await this.#isDeclaredBehind(head)
    const left = new Ahead(this.#from, feedPart(source, domain, head, this.#readSource))
    const right = new Ahead(this.#from, feedPart(target, domain, head, this.#readTarget))
    for await (const range of sideBySide(left, right, byPosition)) {
      const isLast = range.until === undefined
      const a = isLast ? upTo(range.source, head) : range.source
      const b = isLast ? upTo(range.target, head) : range.target
      const [sum, copySum] = [sumOf(a), sumOf(b)]
      this.#tally?.add(b, copySum)
      this.compared += a.length
      const isEqual = sum !== undefined && sum === copySum && a.length === b.length
      const suspects = isEqual ? [] : suspectsIn(a, b, byPosition)
      await this.#look([...suspects, ...keysOf(range.beyond)])
      if (withStreams) await this.#compareStreams(beginningIn(a))
      await this.#advance('positions', range.until ?? head)
    }
  }

  /** The collections by ids, and the streams by seqs: those that begin in the feed of the source, unless it was read already. */
  async byKeys(withFeed: boolean): Promise<void> {
    if (withFeed) await this.#streamsOfFeed()
    for (const collection of await this.#collections()) await this.#compareCollection(collection)
  }

  /** Reads on to where the copy stands by then, and compares the digest in its fence with that of its contents. */
  async end(): Promise<Content | undefined> {
    const { domain, target } = this.#sides
    const read = feedPart(target, domain, Number.POSITIVE_INFINITY, this.#readTarget)
    let content: Content | undefined
    for (let [after, looks] = [this.#copy.head, 0]; looks < endLooks; looks++) {
      const { items, beyond, until } = await read(after)
      this.#tally?.add(items, sumOf(items))
      await this.#look([...keysOf(beyond), ...keysOf(items.filter(isDamage))])
      if (until !== undefined) {
        after = until
        continue
      }
      const fence = await target.fence(domain)
      const found = this.#isHiding ? undefined : this.#tally?.digest
      if (fence.head !== after) continue
      if (found !== undefined) content = { fence: fence.digest, found }
      break
    }
    if (content !== undefined && content.fence !== content.found) this.#foreign(content)
    return content
  }

  /** A difference of the fence itself. */
  addDigest(record: string, foreign: ForeignEvidence | null): void {
    this.differences.add({
      ...{ kind: 'digest', key: undefined, record, position: this.#copy.head, source: undefined },
      ...{ target: undefined, fields: [], foreign, since: this.#sides.clock.now() },
    })
  }

  #foreign({ fence, found }: Content): void {
    if (this.differences.count > 0) this.differences.foreignBy('sum')
    else this.addDigest(`The copy's fence names the digest ${fence}, its records add up to ${found}`, 'sum')
  }

  get #readSource(): ReadOptions {
    const { checkSource: check, signal } = this.#looks
    return { pageItems: this.#pageItems, signal, check }
  }

  get #readTarget(): ReadOptions {
    const { checkTarget: check, signal } = this.#looks
    return { pageItems: this.#pageItems, signal, check }
  }

  async #look(keys: readonly RecordKey[]): Promise<void> {
    const fresh = keys.filter((key) => !this.differences.has(key))
    if (fresh.length === 0 || this.differences.count >= mostDifferences) return
    for (const verdict of await lookAgain(this.#sides, fresh, this.#looks))
      if (verdict.kind === 'different') this.differences.add(verdict.difference)
  }

  async #streamsOfFeed(): Promise<void> {
    const { domain, source } = this.#sides
    const { head } = this.#copy
    const feed = new Ahead(this.#from, feedPart(source, domain, head, this.#readSource))
    for (;;) {
      const { items, until } = await feed.take()
      this.compared += items.length
      await this.#compareStreams(beginningIn(upTo(items, head)))
      await this.#advance('keys', until ?? head)
      if (until === undefined) return
    }
  }

  async #compareStreams(streams: readonly string[]): Promise<void> {
    const left = [...streams]
    const readers = Array.from({ length: Math.min(streamsAtOnce, left.length) }, async () => {
      for (let stream = left.pop(); stream !== undefined; stream = left.pop())
        await this.#compareStream(stream)
    })
    await Promise.all(readers)
  }

  /** Only up to the copy's head: an event stays what it is, and what came behind the head is compared another time. */
  async #compareStream(stream: string): Promise<void> {
    const { domain, source, target } = this.#sides
    const { head } = this.#copy
    const left = new Ahead(0, streamPart(source, domain, stream, this.#readSource))
    const right = new Ahead(0, streamPart(target, domain, stream, this.#readTarget))
    for await (const range of sideBySide(left, right, bySeq)) {
      const [a, b] = [upTo(range.source, head), upTo(range.target, head)]
      await this.#look(suspectsIn(a, b, bySeq))
    }
  }

  async #compareCollection(collection: string): Promise<void> {
    const { domain, source, target } = this.#sides
    const left = new Ahead(null, idPart(source, domain, collection, this.#readSource))
    const right = new Ahead(null, idPart(target, domain, collection, this.#readTarget))
    for await (const { source: a, target: b } of sideBySide(left, right, byId)) {
      await this.#look(suspectsIn(a, b, byId))
      if (collection === truncationsCollection) await this.#compareStreams(a.map(idOf))
      await this.#advance('keys', this.#position)
    }
  }

  /** All collections that either side declares. */
  async #collections(): Promise<readonly string[]> {
    const { domain, source, target } = this.#sides
    const names = new Set(systemCollections)
    for (const [side, options] of [
      [source, this.#readSource],
      [target, this.#readTarget],
    ] as const) {
      const declared = new Ahead(null, idPart(side, domain, definitionsCollection, options))
      for (let isEnd = false; !isEnd; ) {
        const { items, until } = await declared.take()
        for (const seen of items) names.add(idOf(seen))
        isEnd = until === undefined
      }
    }
    return [...names]
  }

  /** Whether a collection is declared further on in the feed, as those are that were declared again. */
  async #isDeclaredBehind(head: Position): Promise<boolean> {
    const declared = new Ahead(
      null,
      idPart(this.#sides.source, this.#sides.domain, definitionsCollection, this.#readSource),
    )
    for (;;) {
      const { items, until } = await declared.take()
      if (items.some(({ position }) => position > head)) return true
      if (until === undefined) return false
    }
  }

  async #advance(phase: 'positions' | 'keys', position: Position): Promise<void> {
    const { head, incarnation } = this.#copy
    this.#position = position
    await this.#pace.advance({
      ...{ phase, position, head, compared: this.compared, differences: this.differences.count },
      checkpoint: { incarnation, position: phase === 'positions' ? position : head },
    })
  }
}

function upTo(items: readonly Seen[], head: Position): readonly Seen[] {
  return items.every(({ position }) => position <= head)
    ? items
    : items.filter(({ position }) => position <= head)
}

function keysOf(items: readonly Seen[]): RecordKey[] {
  return items.flatMap((seen) => (isDamage(seen) ? seen.key : keyOf(seen)))
}

/** The streams whose first event is among these. Of one that was truncated it is not: those are listed elsewhere. */
function beginningIn(items: readonly Seen[]): string[] {
  const streams: string[] = []
  for (const seen of items) if (seen.kind === 'event' && seen.seq === 1) streams.push(seen.stream)
  return streams
}
