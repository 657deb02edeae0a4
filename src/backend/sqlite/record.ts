/** Rows as records and back. */
import type { Change } from '../../model/change.ts'
import { verifyChange } from '../../model/change.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import type { JsonText } from '../../model/value.ts'
import type { SqlValue } from '../sql/scan.ts'

export const eventColumns = 'position, stream, seq, type, at, commit_position, meta, data, checksum'
export const documentColumns = 'revision, id, at, commit_position, expires_at, data, checksum'

type Row = readonly unknown[]

export function eventValues(event: Event): SqlValue[] {
  const { position, stream, seq, type, at, commit, meta, data, checksum } = event
  return [position, stream, seq, type, at, commit, meta, data, checksum]
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

export function documentValues(change: Document | Tombstone): SqlValue[] {
  const { position, id, at, commit, checksum } = change
  const isTombstone = change.kind === 'tombstone'
  return [
    position,
    id,
    at,
    commit,
    isTombstone ? null : change.expiresAt,
    isTombstone ? null : change.data,
    checksum,
  ]
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
