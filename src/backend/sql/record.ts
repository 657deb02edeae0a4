/** Rows as records and back. */
import type { Change } from '../../model/change.ts'
import { verifyChange } from '../../model/change.ts'
import { type CollectionDefinition, plainCollection, systemCollections } from '../../model/collection.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import { type Fence, type Role, vacantFence } from '../../model/fence.ts'
import { decodeValue, type JsonText } from '../../model/value.ts'
import type { SqlValue } from './scan.ts'

export const eventColumns = 'position, stream, seq, type, at, commit_position, meta, data, checksum'
export const documentColumns = 'revision, id, at, commit_position, expires_at, data, checksum'

export const fenceColumns = 'role, epoch, head, digest, incarnation, successor'

type Row = readonly unknown[]

/** The fence of a row of `fenceColumns`; that of a domain which was never here if there is no row. */
export function toFence(row: Row | undefined): Fence {
  if (row === undefined) return vacantFence
  const [role, epoch, head, digest, incarnation, successor] = row as [
    Role,
    number,
    number,
    string,
    string,
    string | null,
  ]
  return { role, epoch, head, digest, incarnation, successor }
}

/** All collections of a domain, from the rows (id, data) of its declarations. */
export function toDefinitions(rows: readonly Row[]): ReadonlyMap<string, CollectionDefinition> {
  const definitions = new Map(systemCollections.map((name) => [name, plainCollection]))
  for (const [id, data] of rows)
    definitions.set(String(id), decodeValue(data as JsonText) as CollectionDefinition)
  return definitions
}

/** Adds the values of an event's row, in the order of `eventColumns`. */
export function pushEvent(values: SqlValue[], event: Event): void {
  const { position, stream, seq, type, at, commit, meta, data, checksum } = event
  values.push(position, stream, seq, type, at, commit, meta, data, checksum)
}

export function toEvent(row: Row): Event {
  return verifyChange({
    kind: 'event',
    position: row[0] as number,
    stream: row[1] as string,
    seq: row[2] as number,
    type: row[3] as string,
    at: row[4] as number,
    commit: row[5] as number,
    meta: row[6] as JsonText | null,
    data: row[7] as JsonText,
    checksum: row[8] as string,
  })
}

/** Adds the values of a document's or tombstone's row, in the order of `documentColumns`. */
export function pushDocument(values: SqlValue[], change: Document | Tombstone): void {
  const { position, id, at, commit, checksum } = change
  if (change.kind === 'tombstone') values.push(position, id, at, commit, null, null, checksum)
  else values.push(position, id, at, commit, change.expiresAt, change.data, checksum)
}

/** A row of a collection's table; without data it is a tombstone. */
export function toDocument(collection: string, row: Row): Document | Tombstone {
  const common = {
    collection,
    id: row[1] as string,
    at: row[2] as number,
    position: row[0] as number,
    commit: row[3] as number,
    checksum: row[6] as string,
  }
  if (row[5] === null) return verifyChange<Change & Tombstone>({ kind: 'tombstone', ...common })
  return verifyChange<Change & Document>({
    kind: 'document',
    ...common,
    expiresAt: row[4] as number | null,
    data: row[5] as JsonText,
  })
}
