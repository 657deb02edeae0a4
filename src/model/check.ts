/** Checks: conditions on a stream's seq or a document's revision that a commit depends on. */

/** What a stream's last seq must be: exactly n (0 is an empty stream), `none` (empty), or `some` (not empty). */
export type StreamExpectation = number | 'none' | 'some'
/** What a document's revision must be: exactly n, `absent`, or `present`. An expired document is absent. */
export type DocumentExpectation = number | 'absent' | 'present'

export type Check =
  | { readonly kind: 'stream'; readonly stream: string; readonly expect: StreamExpectation }
  | {
      readonly kind: 'document'
      readonly collection: string
      readonly id: string
      readonly expect: DocumentExpectation
    }

/** A check that failed: which, what it expected, and what was found (a seq or a revision; 0 for nothing). */
export type FailedCheck =
  | {
      readonly kind: 'stream'
      readonly stream: string
      readonly expected: StreamExpectation
      readonly found: number
    }
  | {
      readonly kind: 'document'
      readonly collection: string
      readonly id: string
      readonly expected: DocumentExpectation
      readonly found: number
    }
  | {
      /** A put would break a unique index: `holder` has the key, at revision `found`. */
      readonly kind: 'unique'
      readonly collection: string
      readonly id: string
      readonly index: string
      readonly holder: string
      readonly found: number
    }

/** Whether a stream at `seq` is as expected. */
export function streamIs(seq: number, expect: StreamExpectation): boolean {
  if (expect === 'none') return seq === 0
  if (expect === 'some') return seq > 0
  return seq === expect
}

/** Whether a document at `revision` (0 when absent) is as expected. */
export function documentIs(revision: number, expect: DocumentExpectation): boolean {
  if (expect === 'absent') return revision === 0
  if (expect === 'present') return revision > 0
  return revision === expect
}
