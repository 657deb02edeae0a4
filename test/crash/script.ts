/**
 * What a child process commits until it is killed: the same for the same seed, so that the test knows it without being
 * told. Every operation is one commit that leaves marks of itself in the store; the checker looks for them.
 */
import { randomOf } from './random.ts'

export type Verbs = 'asynchronous' | 'synchronous'

/** One commit. Its marks are an event for each part, a document, a line in a ledger, a tombstone. */
export interface Operation {
  readonly n: number
  /** Committed with an id, so that it may be committed again without looking whether it is there. */
  readonly hasId: boolean
  readonly stream: string | undefined
  readonly events: number
  /** Puts the document `op-<n>`. */
  readonly putsDocument: boolean
  /** Adds its number to this document, which others add theirs to. */
  readonly ledger: string | undefined
  /** Deletes the document of this operation. */
  readonly removes: number | undefined
}

/** Operations that are called at once, so that group commits hold several; a batch begins when the last one is done. */
export type Batch = readonly Operation[]

export function makeScript(seed: number, verbs: Verbs, batches: number): readonly Batch[] {
  const random = randomOf(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const removable: number[] = []
  let n = 0
  const makeOperation = (): Operation => {
    const kind = below(10)
    const isTransaction = kind >= 5
    const ledger = kind === 4 || kind >= 6 ? `ledger-${below(3)}` : undefined
    return {
      n: n++,
      // A synchronous transaction does not read, so with an id it may not depend on what is in a ledger.
      hasId: random() < 0.5 && !(verbs === 'synchronous' && ledger !== undefined),
      stream: kind < 3 || isTransaction ? `stream-${below(4)}` : undefined,
      events: kind < 3 || isTransaction ? 1 + below(3) : 0,
      putsDocument: kind === 3 || isTransaction,
      ledger,
      removes: isTransaction && removable.length > 5 ? removable.shift() : undefined,
    }
  }
  return Array.from({ length: batches }, () => {
    const batch = Array.from({ length: below(3) === 0 ? 2 + below(7) : 1 }, makeOperation)
    for (const { n, stream, putsDocument } of batch)
      if (putsDocument && stream !== undefined) removable.push(n)
    return batch
  })
}

/** The marks that an operation leaves. */
export function marksOf({ n, events, putsDocument, ledger, removes }: Operation): readonly string[] {
  return [
    ...Array.from({ length: events }, (_, part) => eventMark(n, part)),
    ...(putsDocument ? [documentMark(n)] : []),
    ...(ledger === undefined ? [] : [ledgerMark(n)]),
    ...(removes === undefined ? [] : [removalMark(removes)]),
  ]
}

export const eventMark = (n: number, part: number) => `event ${part} of operation ${n}`
export const documentMark = (n: number) => `document of operation ${n}`
export const ledgerMark = (n: number) => `ledger line of operation ${n}`
export const removalMark = (removed: number) => `removal of the document of operation ${removed}`

/** The positions that an operation takes: one for each mark, and one for the record of its id. */
export function positionsOf(operation: Operation): number {
  return marksOf(operation).length + (operation.hasId ? 1 : 0)
}
