/**
 * What the route of a domain tells those who attend to its moves. A hook that is not there costs one comparison: while
 * there is no move, only the waits of callers are told, and those there are none.
 */
import type { Found } from '../backend/backend.ts'
import type { Outcome } from '../model/commit.ts'
import type { Document, DocumentKey } from '../model/document.ts'
import type { Event } from '../model/event.ts'
import type { Cursor, Page, Query, Range } from '../model/page.ts'

/** A read, as it can be made once more elsewhere. */
export type Read =
  | { readonly kind: 'get'; readonly keys: readonly DocumentKey[] }
  | { readonly kind: 'scan'; readonly query: Query }
  | { readonly kind: 'read'; readonly stream: string; readonly range: Range }

/** What a read was answered with. */
export type Answer = Found | Page<Document, Cursor | null> | Page<Event, number | null>

/** Changed while the domain is in use: the route looks anew at each call. */
export interface RouteHooks {
  /** A read was made; `answer` is what its caller waits for. Must return at once and never throw. */
  onRead?: ((read: Read, answer: Promise<Answer>) => void) | undefined
  /** A commit came to an outcome; what it returns is waited for before the caller hears of it. Never rejects. */
  onCommitted?: ((outcome: Outcome, signal: AbortSignal | undefined) => Promise<void>) | undefined
  /** A call was refused because authority had gone elsewhere, and took `ms` until it was served under `epoch`. Never throws. */
  onWaited?: ((ms: number, epoch: number) => void) | undefined
}

export const noHooks: RouteHooks = Object.freeze({})
