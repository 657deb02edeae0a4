/** How far those have come who still need events. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page, Query } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'

/** Collections whose documents say a `position` up to which their consumer has seen the feed. */
const collections = ['$subscriptions', '$projections'] as const

/** The least checkpoint of all subscriptions and projections; undefined if there are none. */
export async function leastCheckpoint(port: Port, options: CallOptions): Promise<Position | undefined> {
  let least: Position | undefined
  for (const collection of collections)
    for await (const { data } of documentsOf(port, collection, options)) {
      const { position } = decodeValue(data) as { readonly position?: unknown }
      // What does not say how far it has come is taken to be at the beginning.
      const found = typeof position === 'number' ? position : 0
      least = Math.min(least ?? found, found)
    }
  return least
}

async function* documentsOf(port: Port, collection: string, options: CallOptions): AsyncGenerator<Document> {
  const limit = Math.min(1_000, port.limits.pageItems)
  for (let after: Cursor | null = null; ; ) {
    const query: Query = { collection, by: 'id', prefix: '', backwards: false, limit, after }
    const page: Page<Document, Cursor | null> | undefined = await port
      .scan(query, options)
      .catch((error: unknown) => {
        // A collection that was never declared has no documents.
        if (isUnderpinError(error, 'invalid')) return undefined
        throw error
      })
    if (page === undefined) return
    yield* page.items
    if (page.next === null) return
    after = page.next
  }
}
