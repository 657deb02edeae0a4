/** Exports as they are stored: documents of `$exports`, and a stream of audit events for each tenant. */
import { UnderpinError } from '../../error.ts'
import type { CollectionDefinition } from '../../model/collection.ts'
import { checkId } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import type { BlobRef } from '../blob/ref.ts'
import type { OwnCollections } from '../port.ts'
import type { ExportFormat } from './csv.ts'
import type { ExportSource } from './source.ts'

export const exportsCollection = '$exports'
const definition: CollectionDefinition = {
  fields: { tenant: 'string', requestedAt: 'number', dueAt: 'number' },
  indexes: {
    by_tenant: { fields: ['tenant', 'requestedAt'], unique: false, where: {} },
    due: { fields: ['dueAt'], unique: false, where: {} },
  },
}
export const exportCollections: OwnCollections = { [exportsCollection]: definition }

/**
 * - `requested`, `running`: its work is ahead, or under way.
 * - `ready`: it can be downloaded, until it is `expired`.
 * - `failed`, `cancelled`: over, with nothing to download.
 */
export type ExportState = 'requested' | 'running' | 'ready' | 'expired' | 'failed' | 'cancelled'

export interface ExportRecord {
  readonly tenant: string
  readonly id: string
  readonly kind: string
  readonly params: unknown
  readonly format: ExportFormat
  readonly requestedBy: string | null
  readonly requestedAt: number
  readonly state: ExportState
  /** When a worker has to do with it next: to go on, or to let it expire; null when it is over. */
  readonly dueAt: number | null
  /** What it reads, as its kind said when it was requested. */
  readonly source: ExportSource
  /** Where reading goes on; null at the beginning. */
  readonly cursor: string | number | null
  readonly isRead: boolean
  readonly rows: number
  readonly bytes: number
  /** What was written so far, in pieces that never change. */
  readonly parts: readonly BlobRef[]
  readonly content: BlobRef | null
  /** Attempts in a row that failed. */
  readonly failures: number
  readonly error: string | null
  readonly finishedAt: number | null
  readonly expiresAt: number | null
  readonly downloads: number
}

/** An export as its tenant sees it. */
export interface ExportInfo {
  readonly id: string
  readonly kind: string
  readonly params: unknown
  readonly format: ExportFormat
  readonly state: ExportState
  readonly requestedBy: string | undefined
  /** Milliseconds since 1970, like all times here. */
  readonly requestedAt: number
  readonly finishedAt: number | undefined
  readonly expiresAt: number | undefined
  /** So far. */
  readonly rows: number
  readonly bytes: number
  readonly downloads: number
  /** Why it failed, or why its last attempt did. */
  readonly error: string | undefined
}

export function toInfo(record: ExportRecord): ExportInfo {
  const { id, kind, params, format, state, requestedAt, rows, bytes, downloads } = record
  return {
    id,
    kind,
    params,
    format,
    state,
    requestedBy: record.requestedBy ?? undefined,
    requestedAt,
    finishedAt: record.finishedAt ?? undefined,
    expiresAt: record.expiresAt ?? undefined,
    rows,
    bytes,
    downloads,
    error: record.error ?? undefined,
  }
}

/** What happened to the exports of a tenant; appended with the change itself, and never changed. */
export interface ExportEvent {
  readonly type:
    | 'export.requested'
    | 'export.ready'
    | 'export.failed'
    | 'export.cancelled'
    | 'export.downloaded'
    | 'export.expired'
  readonly data: { readonly export: string; readonly [fact: string]: unknown }
}

const keyBytes = 400

/** The id of the document: a tenant's id is never a part of another one's, whatever characters it has. */
export function keyOf(tenant: string, id: string): string {
  checkId(tenant, 'The tenant', limits)
  checkId(id, 'The id of the export', limits)
  const key = `${encodeURIComponent(tenant)}/${encodeURIComponent(id)}`
  if (key.length <= keyBytes) return key
  throw new UnderpinError('too-large', `The tenant and the id of an export have more than ${keyBytes} bytes`)
}

export function auditStream(tenant: string): string {
  return `$exports/${encodeURIComponent(tenant)}`
}
