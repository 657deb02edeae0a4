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

/** Whole numbers may come as texts or as BigInt: a driver that the caller brought reads `bigint` its own way. */
type Row = readonly unknown[]

/** A column of whole numbers that may be null. */
export function toNumber(value: unknown): number | null {
  return value === null ? null : Number(value)
}

/** The fence of a row of `fenceColumns`; that of a domain which was never here if there is no row. */
export function toFence(row: Row | undefined): Fence {
  if (row === undefined) return vacantFence
  const [role, epoch, head, digest, incarnation, successor] = row as [
    Role,
    unknown,
    unknown,
    string,
    string,
    string | null,
  ]
  return { role, epoch: Number(epoch), head: Number(head), digest, incarnation, successor }
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
    position: Number(row[0]),
    stream: row[1] as string,
    seq: Number(row[2]),
    type: row[3] as string,
    at: Number(row[4]),
    commit: Number(row[5]),
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
    at: Number(row[2]),
    position: Number(row[0]),
    commit: Number(row[3]),
    checksum: row[6] as string,
  }
  if (row[5] === null) return verifyChange<Change & Tombstone>({ kind: 'tombstone', ...common })
  return verifyChange<Change & Document>({
    kind: 'document',
    ...common,
    expiresAt: toNumber(row[4]),
    data: row[5] as JsonText,
  })
}

/** Of rows of documents with one id the last: an insert that replaces nothing can write each id once. */
export function lastOfEach(values: readonly SqlValue[]): SqlValue[] {
  const rows = new Map<SqlValue, SqlValue[]>()
  for (let at = 0; at < values.length; at += 7) {
    const row = values.slice(at, at + 7)
    rows.delete(row[1] as string)
    rows.set(row[1] as string, row)
  }
  return [...rows.values()].flat()
}
