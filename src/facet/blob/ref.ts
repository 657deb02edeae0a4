/** References to blobs: plain JSON in events and documents, in place of the bytes. */
import { UnderpinError } from '../../error.ts'
import { checkCid, isCid } from './cid.ts'

/** A reference to bytes that a blob store keeps. Stands anywhere in an event or a document. */
export interface BlobRef {
  /** The CID of the content. */
  readonly $blob: string
  /** Bytes. */
  readonly size: number
  /** The media type that was given with the content. */
  readonly type?: string
}

export function blobRef(cid: string, size: number, type?: string): BlobRef {
  return type === undefined ? { $blob: cid, size } : { $blob: cid, size, type }
}

/** Whether a value is a reference to a blob. */
export function isBlobRef(value: unknown): value is BlobRef {
  if (typeof value !== 'object' || value === null) return false
  const { $blob, size, type } = value as Partial<Record<keyof BlobRef, unknown>>
  return isCid($blob) && Number.isSafeInteger(size) && (type === undefined || typeof type === 'string')
}

/** The CID of a reference, or of a CID itself; `invalid` if it is neither. */
export function cidIn(ref: BlobRef | string): string {
  if (typeof ref === 'string') {
    checkCid(ref)
    return ref
  }
  if (isBlobRef(ref)) return ref.$blob
  throw new UnderpinError('invalid', 'This is not a reference to a blob', {
    hint: 'Keep what put() returned: { $blob, size, type }.',
  })
}

/** Calls `found` for the CID of every reference in a value, however deep. */
export function eachCid(value: unknown, found: (cid: string) => void): void {
  if (typeof value !== 'object' || value === null) return
  const { $blob } = value as { $blob?: unknown }
  if (isCid($blob)) found($blob)
  for (const part of Object.values(value)) eachCid(part, found)
}
