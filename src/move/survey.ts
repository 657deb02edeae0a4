/**
 * What lies ahead of a mover. Positions are no measure of work: those of superseded states are empty, and records differ
 * in size. So the feed is looked into at even distances, a few records each, before it is copied.
 */
import type { Backend, CallOptions } from '../backend/backend.ts'
import { isUnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import type { Position } from '../model/position.ts'

/** Records and their bytes. */
export interface Amount {
  readonly records: number
  readonly bytes: number
}

export const noAmount: Amount = { records: 0, bytes: 0 }

/** A record costs about as much as so many bytes beside its own: what work is measured in. */
const recordBytes = 600

export function workOf({ records, bytes }: Amount): number {
  return records * recordBytes + bytes
}

export function amountOf(changes: readonly Change[]): Amount {
  let bytes = 0
  for (const change of changes) bytes += sizeOf(change)
  return { records: changes.length, bytes }
}

/** Characters, which are bytes for most texts. */
function sizeOf(change: Change): number {
  switch (change.kind) {
    case 'event':
      return change.data.length + (change.meta?.length ?? 0)
    case 'document':
      return change.data.length
    case 'tombstone':
      return 0
  }
}

/** A part of the feed, and what one of its positions holds on average. */
interface Stratum {
  readonly from: Position
  readonly to: Position
  readonly each: Amount
}

/** How much there is in parts of the feed, by what was looked into. */
export class Survey {
  readonly #strata: readonly Stratum[]

  constructor(strata: readonly Stratum[]) {
    this.#strata = strata
  }

  /** Behind one position, up to another. What nobody looked into is taken to be like the last part. */
  between(from: Position, to: Position): Amount {
    let [records, bytes] = [0, 0]
    let until = from
    for (const stratum of this.#strata) {
      const width = Math.min(to, stratum.to) - Math.max(from, stratum.from)
      if (width <= 0) continue
      records += width * stratum.each.records
      bytes += width * stratum.each.bytes
      until = stratum.to
    }
    const rest = Math.max(0, to - until)
    const each = this.#strata.at(-1)?.each ?? { records: 1, bytes: 200 }
    return { records: records + rest * each.records, bytes: bytes + rest * each.bytes }
  }
}

/** Parts of a survey; and records looked at in each. */
const parts = 40
const looked = 25
/** Fewer positions are not worth looking into. */
const leastPositions = 20_000

/** Looks into the feed behind a position, up to another. */
export async function survey(
  source: Backend,
  domain: string,
  from: Position,
  to: Position,
  options?: CallOptions,
): Promise<Survey> {
  if (to - from < leastPositions) return new Survey([])
  const width = (to - from) / parts
  const strata: Stratum[] = []
  for (let part = 0; part < parts; part++) {
    const [first, last] = [Math.floor(from + part * width), Math.floor(from + (part + 1) * width)]
    const each = await lookInto(source, domain, first, last, options)
    if (each !== undefined) strata.push({ from: first, to: last, each })
  }
  return new Survey(strata)
}

/** Per position, of a part; undefined if it cannot be read, which the mover will meet and say. */
async function lookInto(
  source: Backend,
  domain: string,
  from: Position,
  to: Position,
  options?: CallOptions,
): Promise<Amount | undefined> {
  try {
    const { items, next } = await source.changes(domain, from, looked, options)
    const inside = items.filter(({ position }) => position <= to)
    // A part with few records ends the look beyond itself: then all that it holds was seen.
    const width = Math.max(1, Math.min(next, to) - from)
    const { records, bytes } = amountOf(inside)
    return { records: records / width, bytes: bytes / width }
  } catch (error) {
    if (isUnderpinError(error, 'damaged')) return undefined
    throw error
  }
}
