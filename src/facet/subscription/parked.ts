/** Parked changes: what a subscription could not handle, one document each in `$parked`: a reference and the reason. */

import type { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Check, FailedCheck } from '../../model/check.ts'
import { plainCollection } from '../../model/collection.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { OwnCollections, Port } from '../port.ts'

const parkedCollection = '$parked'
export const parkedCollections: OwnCollections = { [parkedCollection]: plainCollection }

/** Where a parked change is to be found. The change itself stays where it is: nobody can edit it. */
export type Reference =
  | { readonly kind: 'event'; readonly stream: string; readonly seq: number; readonly type: string }
  | { readonly kind: 'document'; readonly collection: string; readonly documentId: string }

export interface Parked {
  readonly position: Position
  readonly change: Reference
  readonly key: string
  readonly error: string
  /** How often it was tried; 0 if it was parked because it stands behind another one of its key. */
  readonly attempts: number
  /** Whether later changes of its key are parked behind it. */
  readonly blocksKey: boolean
  /** Whether it was asked to be replayed, and was not yet. */
  readonly isDue: boolean
}

export interface StoredParked extends Parked {
  readonly id: string
  readonly revision: number
  /** When it was parked or last tried, in milliseconds since 1970. */
  readonly at: number
}

export function parkedId(consumer: string, position: Position): string {
  return `${consumer}/${String(position).padStart(16, '0')}`
}

/** Those whose ids begin with a prefix, in the order of their ids: by partition and position. */
export async function readParked(port: Port, prefix: string): Promise<readonly StoredParked[]> {
  const found: StoredParked[] = []
  let after: Cursor | null = null
  do {
    const page: Page<Document, Cursor | null> = await port.scan({
      collection: parkedCollection,
      by: 'id',
      prefix,
      backwards: false,
      limit: Math.min(1_000, port.limits.pageItems),
      after,
    })
    for (const { id, data, position, at } of page.items)
      found.push({ ...(decodeValue(data) as Parked), id, revision: position, at })
    after = page.next
  } while (after !== null)
  return found
}

export function park(id: string, parked: Parked): Write {
  const { position, change, key, error, attempts, blocksKey, isDue } = parked
  const data = encodeValue({ position, change, key, error, attempts, blocksKey, isDue })
  return { kind: 'put', collection: parkedCollection, id, data, expiresAt: null }
}

export function unpark(id: string): Write {
  return { kind: 'delete', collection: parkedCollection, id }
}

/** It is still as it was read. */
export function stillParked({ id, revision }: StoredParked): Check {
  return { kind: 'document', collection: parkedCollection, id, expect: revision }
}

/** Whether a commit failed because a parked change is not as it was read. */
export function isAboutParked({ details }: UnderpinError): boolean {
  const failed = (details.failed ?? []) as readonly FailedCheck[]
  return failed.some((check) => check.kind === 'document' && check.collection === parkedCollection)
}
