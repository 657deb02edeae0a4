/**
 * What keeps the bytes: a directory or IPFS. Content is immutable and named by its hash, so that putting it twice is
 * putting it once, and whatever comes back has been checked.
 *
 * What every blob store keeps to:
 * 1. `put` returns when the content is as durable as the place is. A put that failed, or whose process died, leaves
 *    nothing that can be read.
 * 2. What `get` gives out is what was put: the last byte is released only after the hash of all of it was compared. It
 *    fails with `damaged` instead.
 * 3. `sweep` never takes content that was put or touched after the given time, whatever happens meanwhile.
 */
import type { Clock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { BlobContent, BlobSource } from './content.ts'
import { type BlobRef, cidIn } from './ref.ts'
import type { Upload } from './upload.ts'

export interface PutBlobOptions {
  /** The media type, kept in the reference only. */
  readonly type?: string
  /** At most so many bytes, else `too-large`; the store's own limit holds beside it. */
  readonly sizeMax?: number
  /** Ends the put with `aborted`; nothing is kept. */
  readonly signal?: AbortSignal
}

export interface BlobCallOptions {
  readonly signal?: AbortSignal
}

/** A blob that is kept. */
export interface KeptBlob {
  readonly cid: string
  readonly size: number
  /** When it was last put or touched: milliseconds since 1970, by the clock of who did. */
  readonly at: number
}

export interface BlobStore {
  /** What its times are by. */
  readonly clock: Clock
  /** Keeps content, as it streams in; the reference to it. `too-large` beyond the limits. */
  put(content: BlobSource, options?: PutBlobOptions): Promise<BlobRef>
  /** Content to be read, checked as it streams; undefined if it is not here. `damaged` if its size is another one. */
  get(ref: BlobRef | string, options?: BlobCallOptions): Promise<BlobContent | undefined>
  /** Begins its grace time anew, for a reference to it that is about to be committed; false if it is not here. */
  touch(ref: BlobRef | string, options?: BlobCallOptions): Promise<boolean>
  /** A put that goes on after a restart under the same id. One process at a time. */
  upload(id: string, options?: BlobCallOptions): Promise<Upload>
  /** Keeps it from being collected, referred to or not, until {@link unpin}. */
  pin(ref: BlobRef | string, options?: BlobCallOptions): Promise<void>
  unpin(ref: BlobRef | string, options?: BlobCallOptions): Promise<void>
  pins(options?: BlobCallOptions): Promise<readonly string[]>
  /** All that is kept, in no order. */
  list(options?: BlobCallOptions): AsyncIterable<KeptBlob>
  /** Removes a blob if it was neither put nor touched after `before`; whether it did. For {@link collectBlobs}. */
  sweep(cid: string, before: number, options?: BlobCallOptions): Promise<boolean>
  /** Removes what puts and uploads left that gave no sign of life after `before`, and ends sweeps that were cut off. */
  tidy(before: number, isLive: (cid: string) => boolean, options?: BlobCallOptions): Promise<void>
}

export interface BlobStoreOptions {
  /** The most bytes that a blob may have; no limit if left out. */
  readonly sizeMax?: number
  readonly clock?: Clock
}

/** The whole content, or undefined if it is not here. */
export async function readBlob(
  blobs: BlobStore,
  ref: BlobRef | string,
  options?: BlobCallOptions,
): Promise<Buffer | undefined> {
  return (await blobs.get(ref, options))?.bytes()
}

/** `damaged` if the size in a reference is not that of the content. */
export function checkSize(ref: BlobRef | string, size: number): void {
  if (typeof ref === 'string' || ref.size === size) return
  throw new UnderpinError(
    'damaged',
    `Blob ${cidIn(ref)} has ${size} bytes; the reference to it says ${ref.size}`,
    { details: { cid: cidIn(ref), found: size, expected: ref.size } },
  )
}
