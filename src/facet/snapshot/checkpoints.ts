/** How far those have come who still need events. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page, Query } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, type JsonText } from '../../model/value.ts'
import type { Port } from '../port.ts'

/** A subscription's checkpoint, and the run of a projection's build, say a `position` up to which all was taken. */
const subscriptions = '$subscriptions'
const runs = '$projection_runs'
/** Changes that a subscription has passed, and is still to handle. */
const parked = '$parked'
/** A projection's register says which builds it has. */
const registers = '$projections'

/** What of a build in a register matters here. */
interface Build {
  readonly stage?: string
  readonly isInline?: boolean
}

/**
 * The least checkpoint of all subscriptions and projections, and what is before the first event of the stream that is
 * parked; undefined if there are none. What does not say how far it has come is taken to be at the beginning.
 */
export async function leastCheckpoint(
  port: Port,
  stream: string,
  options: CallOptions,
): Promise<Position | undefined> {
  const positions: Position[] = []
  for await (const { data } of documentsOf(port, parked, options)) {
    const { position, change } = decodeValue(data) as { position: Position; change: { stream?: string } }
    if (change.stream === stream) positions.push(position - 1)
  }
  for await (const { data } of documentsOf(port, subscriptions, options)) positions.push(positionIn(data))
  const ran = new Map<string, Position>()
  for await (const { id, data } of documentsOf(port, runs, options)) ran.set(id, positionIn(data))
  for await (const { id, data } of documentsOf(port, registers, options)) {
    const { builds } = decodeValue(data) as { readonly builds?: Readonly<Record<string, Build>> }
    if (builds === undefined) positions.push(0)
    for (const [build, found] of Object.entries(builds ?? {}))
      if (needsEvents(found)) positions.push(ran.get(`${id}@${build}`) ?? 0)
  }
  return positions.length === 0 ? undefined : Math.min(...positions)
}

/** Not one that has ended, and not one that every commit of events keeps current. */
function needsEvents({ stage, isInline }: Build): boolean {
  if (stage === 'retired' || stage === 'cancelled') return false
  return !(isInline && stage === 'ready')
}

function positionIn(data: JsonText): Position {
  const { position } = decodeValue(data) as { readonly position?: unknown }
  return typeof position === 'number' ? position : 0
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
