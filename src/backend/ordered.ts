/** A list kept in the order of its keys, for backends that hold documents in memory. */

/**
 * Entries in ascending order. New ones are collected and merged when the order is next asked for, so that filling a
 * list costs one sort and not one insertion each.
 */
export class Ordered<E> {
  readonly #compare: (a: E, b: E) => number
  #entries: E[] = []
  #added: E[] = []

  constructor(compare: (a: E, b: E) => number) {
    this.#compare = compare
  }

  /** Adds an entry that is not there yet. */
  add(entry: E): void {
    this.#added.push(entry)
  }

  delete(entry: E): void {
    this.#settle()
    const at = this.#bound(entry)
    const found = this.#entries[at]
    if (found !== undefined && this.#compare(found, entry) === 0) this.#entries.splice(at, 1)
  }

  /** From the first entry that is not below `place` (which `compare` orders against an entry), upwards. */
  *from(place: (entry: E) => number): Generator<E> {
    const entries = this.#settle()
    for (let i = lowerBound(entries, place); i < entries.length; i++) yield entries[i] as E
  }

  /** From the last entry that is below `place`, downwards. */
  *backFrom(place: (entry: E) => number): Generator<E> {
    const entries = this.#settle()
    for (let i = lowerBound(entries, place) - 1; i >= 0; i--) yield entries[i] as E
  }

  #bound(entry: E): number {
    return lowerBound(this.#entries, (other) => this.#compare(other, entry))
  }

  #settle(): E[] {
    if (this.#added.length === 0) return this.#entries
    if (this.#added.length < 8) {
      for (const entry of this.#added) this.#entries.splice(this.#bound(entry), 0, entry)
    } else {
      this.#entries = [...this.#entries, ...this.#added].sort(this.#compare)
    }
    this.#added = []
    return this.#entries
  }
}

/** The index of the first entry that `place` does not put below zero. */
function lowerBound<E>(entries: readonly E[], place: (entry: E) => number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (place(entries[middle] as E) < 0) low = middle + 1
    else high = middle
  }
  return low
}
