/** What a move will take, from what was measured: pure. */
import type { Backend } from '../../backend/backend.ts'
import type { Latency } from '../status.ts'

/** A prediction in milliseconds, and the band that it lies in. */
export interface Prediction {
  readonly ms: number
  readonly lowMs: number
  readonly highMs: number
  /** What it was made of. */
  readonly basis: string
}

/** Milliseconds that a record took, on average over a page; undefined where it was not measured. */
export interface RecordCost {
  readonly readMs: number | undefined
  readonly applyMs: number | undefined
}

/** What a record is taken to cost at the target, in reads at the source, where nothing was written there to find out. */
const appliesAsReads = 3

/** The time to copy so many records, without a throttle, from a source that nobody writes to meanwhile. */
export function predictCopy(records: number, { readMs, applyMs }: RecordCost): Prediction | undefined {
  if (readMs === undefined) return undefined
  // Pages are read ahead while others are applied: the slower of the two is what it takes, and a part of the other.
  const ahead = 0.8
  const both = (a: number, b: number) => records * (Math.max(a, b) + (1 - ahead) * Math.min(a, b))
  if (applyMs === undefined)
    return {
      ms: both(readMs, readMs * appliesAsReads),
      lowMs: both(readMs, readMs),
      highMs: both(readMs, readMs * appliesAsReads * 4),
      basis: 'pages read at the source; nothing was written at the target to measure it (probe)',
    }
  const ms = both(readMs, applyMs)
  return {
    ...{ ms, lowMs: ms / 1.5, highMs: ms * 2 },
    basis: 'pages read at the source, and written to an empty copy at the target',
  }
}

/** Milliseconds that a sync is taken to cost where it was not measured. */
const syncMs = 2

/** The pause of a cutover between two sides, by what a look at each of them takes. */
export function predictPause(
  { sourceMs, targetMs }: Latency,
  { source, target }: { readonly source: Backend; readonly target: Backend },
): Prediction {
  const changeMs = (lookMs: number, { supports }: Backend) =>
    2 * lookMs + (supports.durability === 'durable' ? syncMs : 0)
  // At the source five looks, a page, the seal and the decision; at the target five looks, a page and the opening.
  const ms = 6 * sourceMs + 2 * changeMs(sourceMs, source) + 5 * targetMs + 2 * changeMs(targetMs, target)
  return { ms, lowMs: ms / 4, highMs: ms * 4, basis: 'the round trips of both sides' }
}
