/** Blobs: bytes beside the log, named by their content, and what keeps and collects them. */
export { cidOf, isCid } from './facet/blob/cid.ts'
export { type Collected, type CollectOptions, collectBlobs } from './facet/blob/collect.ts'
export type { BlobContent, BlobSource } from './facet/blob/content.ts'
export { DirectoryBlobs } from './facet/blob/directory.ts'
export { IpfsBlobs, type IpfsOptions } from './facet/blob/ipfs.ts'
export { type BlobRef, isBlobRef } from './facet/blob/ref.ts'
export {
  type BlobCallOptions,
  type BlobStore,
  type BlobStoreOptions,
  type KeptBlob,
  type PutBlobOptions,
  readBlob,
} from './facet/blob/store.ts'
export type { Upload } from './facet/blob/upload.ts'
