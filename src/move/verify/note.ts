/** What the record of a move keeps of a comparison. */
import type { VerifyNote } from '../record.ts'
import type { CompareOptions, Comparison } from '../verify.ts'

/** Differences that are kept, so that the next comparison knows since when each was seen. */
const mostOpen = 100

export function verifyNote({ head, compared, count, differences }: Comparison, at: number): VerifyNote {
  const open = differences.slice(0, mostOpen).map(({ kind, key, position, since }) => ({
    kind,
    position,
    since,
    ...(key === undefined ? {} : { key }),
  }))
  return { at, head, compared, differences: count, open }
}

/** Whether a comparison says something of the whole copy: of a part, only what differs counts. */
export function countsAsFull(options: CompareOptions, { isEqual }: Comparison): boolean {
  return !isEqual || ((options.by ?? 'both') === 'both' && options.resume === undefined)
}
