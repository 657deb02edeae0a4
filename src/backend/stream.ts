/** The events of one stream held in memory, from the first that was not truncated on. */
import { DigestSum, emptyDigest } from '../model/digest.ts'
import type { Event } from '../model/event.ts'
import type { Range } from '../model/page.ts'
import type { Below } from '../model/truncation.ts'

export class Stream {
  #events: Event[]

  /** Not empty: a stream keeps its last event. */
  constructor(events: Event[]) {
    this.#events = events
  }

  get last(): number {
    return this.#events.at(-1)?.seq ?? 0
  }

  push(event: Event): void {
    this.#events.push(event)
  }

  get events(): readonly Event[] {
    return this.#events
  }

  /** Puts a record in its place, or in the place of the one with its seq. */
  put(event: Event): void {
    const at = this.#at(event.seq)
    this.#events.splice(at, this.#events[at]?.seq === event.seq ? 1 : 0, event)
  }

  /** Removes the event with a seq, and returns it. */
  take(seq: number): Event | undefined {
    const at = this.#at(seq)
    return this.#events[at]?.seq === seq ? this.#events.splice(at, 1)[0] : undefined
  }

  below(seq: number): Below {
    const sum = new DigestSum(emptyDigest)
    for (const { checksum } of this.#events.slice(0, this.#at(seq))) sum.add(checksum)
    return { first: this.#events[0]?.seq ?? 0, sum: sum.toString() }
  }

  /** Removes the events below a seq, and returns them. */
  truncate(before: number): readonly Event[] {
    return this.#events.splice(0, this.#at(before))
  }

  read({ after, before, backwards, limit }: Range): {
    readonly items: readonly Event[]
    readonly next: number | null
  } {
    const low = this.#at(after + 1)
    const high = Math.max(low, this.#at(before))
    const items = backwards
      ? this.#events.slice(Math.max(high - limit, low), high).reverse()
      : this.#events.slice(low, Math.min(high, low + limit))
    const isEnd = items.length === high - low
    return { items, next: isEnd ? null : (items.at(-1)?.seq ?? null) }
  }

  /** The place of the first event that has this seq or a higher one. A follower may hold a stream with a gap for a while. */
  #at(seq: number): number {
    let [low, high] = [0, this.#events.length]
    const first = this.#events[0]?.seq ?? 1
    const guess = Math.min(Math.max(seq - first, 0), high)
    if (this.#isAt(guess, seq)) return guess
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#events[middle] as Event).seq < seq) low = middle + 1
      else high = middle
    }
    return low
  }

  #isAt(place: number, seq: number): boolean {
    const [before, at] = [this.#events[place - 1], this.#events[place]]
    return (before === undefined || before.seq < seq) && (at === undefined || at.seq >= seq)
  }
}
