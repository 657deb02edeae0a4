/** Performs the operations of a script on a store. */
import { collection, type Domain, events, type Transaction } from '../../src/index.ts'
import type { SyncDomain } from '../../src/sync.ts'
import type { Operation } from './script.ts'

export interface MarkEvent {
  readonly type: 'done'
  readonly data: { readonly n: number; readonly part: number }
}

export interface OperationDocument {
  readonly n: number
}

export interface LedgerDocument {
  readonly lines: readonly number[]
}

export const domains = {
  app: {
    events: events<MarkEvent>(),
    collections: { operations: collection<OperationDocument>(), ledgers: collection<LedgerDocument>() },
  },
}

type Documents = { operations: OperationDocument; ledgers: LedgerDocument }
export type App = Domain<MarkEvent, Documents>
export type SyncApp = SyncDomain<MarkEvent, Documents>

const idOf = (n: number) => `op-${n}`

/** One commit, by the facet that fits: the log, the documents, or a transaction over both. */
export async function perform(app: App, operation: Operation): Promise<void> {
  const { n, stream, putsDocument, ledger, removes } = operation
  const options = operation.hasId ? { id: idOf(n) } : {}
  if (ledger === undefined && removes === undefined && !(stream !== undefined && putsDocument)) {
    if (stream !== undefined) await app.log.append(stream, eventsOf(operation), options)
    if (putsDocument) await app.documents('operations').put(idOf(n), { n }, options)
    return
  }
  const work = async (tx: Transaction<MarkEvent, Documents>) => {
    if (stream !== undefined) tx.append(stream, eventsOf(operation))
    if (putsDocument) tx.put('operations', idOf(n), { n })
    if (ledger !== undefined) {
      const before = await tx.get('ledgers', ledger)
      tx.put('ledgers', ledger, { lines: [...(before?.value.lines ?? []), n] })
    }
    if (removes !== undefined) tx.delete('operations', idOf(removes), { expect: 'present' })
  }
  await app.transaction(work, { retries: 1_000, ...options })
}

/** The same with the synchronous verbs. */
export function performSync(app: SyncApp, operation: Operation): void {
  const { n, stream, putsDocument, ledger, removes } = operation
  const options = operation.hasId ? { id: idOf(n) } : {}
  if (ledger === undefined && removes === undefined && !(stream !== undefined && putsDocument)) {
    if (stream !== undefined) app.log.append(stream, eventsOf(operation), options)
    if (putsDocument) app.documents('operations').put(idOf(n), { n }, options)
    return
  }
  app.transaction((tx) => {
    if (stream !== undefined) tx.append(stream, eventsOf(operation))
    if (putsDocument) tx.put('operations', idOf(n), { n })
    if (ledger !== undefined) {
      const before = app.documents('ledgers').get(ledger)
      const lines = [...(before?.value.lines ?? []), n]
      tx.put('ledgers', ledger, { lines }, { expect: before?.revision ?? 'absent' })
    }
    if (removes !== undefined) tx.delete('operations', idOf(removes), { expect: 'present' })
  }, options)
}

function eventsOf({ n, events }: Operation): MarkEvent[] {
  return Array.from({ length: events }, (_, part) => ({ type: 'done', data: { n, part } }))
}
