/** Judges what a killed process left: pure, so that it can be tested with histories that are wrong. */
import { marksOf, type Operation, positionsOf } from './script.ts'

/** What is in the store. */
export interface History {
  /** How often each mark is there. */
  readonly marks: ReadonlyMap<string, number>
  readonly positions: readonly number[]
  readonly head: number
  /** The seqs of each stream, in the order of the feed. */
  readonly streams: ReadonlyMap<string, readonly number[]>
  /** Documents that declare collections, and so took a position each. */
  readonly declarations: number
  /** Whether all checksums and the digest were what the records sum up to. */
  readonly isSound: boolean
}

/** What is wrong with a history; nothing of it may be. */
export interface Verdict {
  /** Operations that were acknowledged and are not there, or not all of them. */
  readonly lost: readonly number[]
  /** Operations that are there more than once. */
  readonly doubled: readonly number[]
  /** Operations that are there in part. */
  readonly half: readonly number[]
  /** What breaks the order of the feed. */
  readonly faults: readonly string[]
}

export function judge(
  operations: readonly Operation[],
  acknowledged: ReadonlySet<number>,
  history: History,
): Verdict {
  const counts = new Map(
    operations.map((operation) => [
      operation,
      marksOf(operation).map((mark) => history.marks.get(mark) ?? 0),
    ]),
  )
  const which = (isWrong: (counts: readonly number[], operation: Operation) => boolean) =>
    operations.filter((operation) => isWrong(counts.get(operation) ?? [], operation)).map(({ n }) => n)
  return {
    lost: which((counts, { n }) => acknowledged.has(n) && counts.includes(0)),
    doubled: which((counts) => counts.some((count) => count > 1)),
    half: which((counts) => counts.includes(0) && counts.some((count) => count > 0)),
    faults: faultsOf(operations, history),
  }
}

/** The operations of which nothing is there. */
export function missingOf(operations: readonly Operation[], { marks }: History): readonly Operation[] {
  return operations.filter((operation) => marksOf(operation).every((mark) => !marks.has(mark)))
}

function faultsOf(operations: readonly Operation[], history: History): string[] {
  const { positions, head, streams, declarations, isSound } = history
  const faults: string[] = []
  const known = new Set(operations.flatMap(marksOf))
  for (const mark of history.marks.keys()) if (!known.has(mark)) faults.push(`${mark} is not of the script`)
  if (positions.some((position, i) => position <= (positions[i - 1] ?? 0)))
    faults.push('positions out of order')
  if ((positions.at(-1) ?? 0) !== head)
    faults.push(`the head is ${head}, the last position ${positions.at(-1)}`)
  // Positions of superseded documents are not in the feed, but every commit must have taken exactly its own.
  const missing = new Set(missingOf(operations, history))
  const taken = operations
    .filter((operation) => !missing.has(operation))
    .reduce((sum, operation) => sum + positionsOf(operation), declarations)
  if (taken !== head)
    faults.push(`the head is ${head}, but the commits that are there take ${taken} positions`)
  for (const [stream, seqs] of streams)
    if (seqs.some((seq, i) => seq !== i + 1)) faults.push(`${stream} has the seqs ${seqs.join(' ')}`)
  if (!isSound) faults.push('checksums or digest differ')
  return faults
}
