/**
 * Two ordered readings side by side, in ranges that both have read to their ends. Of each range the sums of the checksums
 * are compared first, which were just recomputed from the contents; only where they differ is it taken apart.
 */
import { type Change, keyOf, keyText, type RecordKey } from '../../model/change.ts'
import { type Digest, DigestSum, emptyDigest } from '../../model/digest.ts'
import { isDamage, type Seen } from './difference.ts'
import type { Ahead, Part } from './reader.ts'

export interface Order<K> {
  of(seen: Seen): K
  compare(a: K, b: K): number
}

export interface SideRange<K> {
  readonly source: readonly Seen[]
  readonly target: readonly Seen[]
  /** Records of the target that stand behind its head. */
  readonly beyond: readonly Seen[]
  /** Where the range ends; undefined for the last one. */
  readonly until: K | undefined
}

export async function* sideBySide<K>(
  source: Ahead<K>,
  target: Ahead<K>,
  order: Order<K>,
): AsyncGenerator<SideRange<K>> {
  let [a, b] = await Promise.all([source.take(), target.take()])
  for (;;) {
    const until = lower(a.until, b.until, order)
    const [here, there] = [split(a, until, order), split(b, until, order)]
    yield { source: here.items, target: there.items, beyond: b.beyond, until }
    if (until === undefined) return
    ;[a, b] = await Promise.all([
      here.isWhole ? source.take() : { ...a, items: here.rest },
      there.isWhole ? target.take() : { ...b, items: there.rest, beyond: [] },
    ])
  }
}

function lower<K>(a: K | undefined, b: K | undefined, { compare }: Order<K>): K | undefined {
  if (a === undefined) return b
  return b === undefined || compare(a, b) <= 0 ? a : b
}

interface Split {
  readonly items: readonly Seen[]
  readonly rest: readonly Seen[]
  /** The reading ends where the range does. */
  readonly isWhole: boolean
}

function split<K>(part: Part<K>, until: K | undefined, { of, compare }: Order<K>): Split {
  const { items } = part
  const isWhole = until !== undefined && part.until !== undefined && compare(part.until, until) === 0
  if (until === undefined || isWhole) return { items, rest: [], isWhole }
  let [low, high] = [0, items.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(of(items[middle] as Seen), until) <= 0) low = middle + 1
    else high = middle
  }
  return { items: items.slice(0, low), rest: items.slice(low), isWhole }
}

/** The sum of the checksums of records; undefined if one of them is damaged. */
export function sumOf(items: readonly Seen[]): Digest | undefined {
  const sum = new DigestSum(emptyDigest)
  for (const seen of items) {
    if (isDamage(seen)) return undefined
    sum.add(seen.checksum)
  }
  return sum.toString()
}

/** The keys of the records in which two sides of a range differ. */
export function suspectsIn<K>(
  source: readonly Seen[],
  target: readonly Seen[],
  { of, compare }: Order<K>,
): RecordKey[] {
  const keys = new Map<string, RecordKey>()
  const suspect = (seen: Seen | undefined) => {
    const key = seen === undefined ? undefined : isDamage(seen) ? seen.key : keyOf(seen)
    if (key !== undefined) keys.set(keyText(key), key)
  }
  for (let [i, j] = [0, 0]; i < source.length || j < target.length; ) {
    const [a, b] = [source[i], target[j]]
    const side = a === undefined ? 1 : b === undefined ? -1 : compare(of(a), of(b))
    if (side <= 0) i++
    if (side >= 0) j++
    if (side === 0 && isSame(a as Seen, b as Seen)) continue
    if (side <= 0) suspect(a)
    if (side >= 0) suspect(b)
  }
  return [...keys.values()]
}

function isSame(a: Seen, b: Seen): boolean {
  if (isDamage(a) || isDamage(b)) return false
  return a.checksum === b.checksum && keyText(keyOf(a)) === keyText(keyOf(b as Change))
}
