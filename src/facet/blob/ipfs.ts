/**
 * Blobs in IPFS, through kubo's RPC API. A node keeps them under names in its mutable file system, which its own garbage
 * collection spares:
 *
 *     /underpin/blobs/bafkrei…/1700000000000-4f2a…    one name for each put, with its time
 *     /underpin/incoming/1700000000000-4f2a…          what is being put
 *     /underpin/pins/bafkrei…
 *
 * Every put makes a name of its own, and a sweep removes only names that are old: so neither meets the other. Content of
 * one block (up to 1 MiB) has the same CID in IPFS as here, and the node's answer is held against it. Longer content is a
 * tree of blocks with a root CID of its own: it is read back and hashed before the put is acknowledged. Either way, what
 * is read is hashed here, and the node is not taken at its word.
 */
import { type Clock, systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { checkId } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import { isCid } from './cid.ts'
import {
  BlobContent,
  type BlobSource,
  chunksOf,
  damaged,
  type Measured,
  Meter,
  throwIfAborted,
} from './content.ts'
import { makeFolder, readChunks, removeFile, withFile } from './files.ts'
import { blockBytes, Kubo, type KuboEntry } from './kubo.ts'
import { type BlobRef, blobRef, cidIn } from './ref.ts'
import {
  type BlobCallOptions,
  type BlobStore,
  type BlobStoreOptions,
  checkSize,
  type KeptBlob,
  type PutBlobOptions,
} from './store.ts'
import { tidyUploads, Upload } from './upload.ts'

export interface IpfsOptions extends BlobStoreOptions {
  /** The folder in the node's file system; `/underpin` if left out. One for each set of domains that is collected. */
  readonly root?: string
  /** A local folder where uploads wait until they are finished; without it, `upload` is refused as `unsupported`. */
  readonly uploads?: string
  /** Sent with every call: what a proxy in front of the node asks for. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds within which the node must begin to answer; 30,000 if left out. */
  readonly deadlineMs?: number
  readonly fetch?: typeof fetch
}

export class IpfsBlobs implements BlobStore {
  readonly #kubo: Kubo
  readonly #root: string
  readonly #uploads: string | undefined
  readonly clock: Clock
  readonly #sizeMax: number

  private constructor(url: string, options: IpfsOptions) {
    const { clock = systemClock, headers = {}, deadlineMs = 30_000, fetch = globalThis.fetch } = options
    this.#kubo = new Kubo({ url, headers, fetch, clock, deadlineMs })
    this.#root = (options.root ?? '/underpin').replace(/\/+$/, '')
    this.#uploads = options.uploads
    this.clock = clock
    this.#sizeMax = options.sizeMax ?? Number.POSITIVE_INFINITY
  }

  /** Opens the blobs of a node by its RPC address, `http://127.0.0.1:5001`. `unavailable` if there is none. */
  static async open(url: string, options: IpfsOptions = {}): Promise<IpfsBlobs> {
    const blobs = new IpfsBlobs(url, options)
    if (!/^\/[^/]/.test(blobs.#root))
      throw new UnderpinError('invalid', 'The root of the blobs must be a folder: /underpin')
    for (const folder of ['blobs', 'incoming', 'pins']) await blobs.#kubo.makeFolder(blobs.#in(folder))
    if (blobs.#uploads !== undefined) await makeFolder(blobs.#uploads)
    return blobs
  }

  async put(content: BlobSource, { type, sizeMax, signal }: PutBlobOptions = {}): Promise<BlobRef> {
    throwIfAborted(signal)
    const most = Math.min(this.#sizeMax, sizeMax ?? Number.POSITIVE_INFINITY)
    const incoming = this.#in(`incoming/${this.#newName()}`)
    const passing = new Passing(content, most, signal)
    try {
      const root = await this.#kubo.add(passing, incoming, signal).catch((error: unknown) => {
        // What went wrong in the content is what the caller should hear, not that the request broke off.
        throw passing.error ?? error
      })
      const measured = passing.measured as Measured
      await this.#confirm(root, measured, signal)
      await this.#name(root, measured.cid, signal)
      return blobRef(measured.cid, measured.size, type)
    } finally {
      await this.#kubo.remove(incoming).catch(() => {
        // Left for tidy: what the put itself met must be heard, or its success.
      })
    }
  }

  async get(ref: BlobRef | string, { signal }: BlobCallOptions = {}): Promise<BlobContent | undefined> {
    const cid = cidIn(ref)
    const found = (await this.#names(cid, signal)).at(-1)
    if (found === undefined) return undefined
    checkSize(ref, found.size)
    return new BlobContent({ cid, size: found.size }, () => this.#kubo.cat(found.root, signal))
  }

  async touch(ref: BlobRef | string, { signal }: BlobCallOptions = {}): Promise<boolean> {
    const cid = cidIn(ref)
    const found = (await this.#names(cid, signal)).at(-1)
    if (found !== undefined) await this.#name(found.root, cid, signal)
    return found !== undefined
  }

  async upload(id: string): Promise<Upload> {
    checkId(id, 'The id of the upload', limits)
    if (this.#uploads === undefined)
      throw new UnderpinError('unsupported', 'IPFS itself keeps no uploads that go on after a restart', {
        hint: 'Give a local folder for them: IpfsBlobs.open(url, { uploads: "./uploads" }).',
      })
    const keep = async (path: string, content: Measured) => {
      const { $blob } = await withFile(path, 'r', (file) => this.put(readChunks(file)))
      if ($blob !== content.cid) throw damaged(content.cid, 'has other content than was uploaded')
      await removeFile(path)
    }
    return Upload.open({ folder: this.#uploads, sizeMax: this.#sizeMax, clock: this.clock, keep }, id)
  }

  async pin(ref: BlobRef | string, { signal }: BlobCallOptions = {}): Promise<void> {
    await this.#kubo.makeFolder(this.#in(`pins/${cidIn(ref)}`), signal)
  }

  async unpin(ref: BlobRef | string, { signal }: BlobCallOptions = {}): Promise<void> {
    await this.#kubo.remove(this.#in(`pins/${cidIn(ref)}`), signal)
  }

  async pins({ signal }: BlobCallOptions = {}): Promise<readonly string[]> {
    const entries = await this.#kubo.entries(this.#in('pins'), signal)
    return (entries ?? []).map(({ name }) => name).filter(isCid)
  }

  async *list({ signal }: BlobCallOptions = {}): AsyncGenerator<KeptBlob> {
    for (const { name: cid } of (await this.#kubo.entries(this.#in('blobs'), signal)) ?? []) {
      const last = isCid(cid) ? (await this.#names(cid, signal)).at(-1) : undefined
      if (last !== undefined) yield { cid, size: last.size, at: timeOf(last) }
    }
  }

  async sweep(cid: string, before: number, { signal }: BlobCallOptions = {}): Promise<boolean> {
    const names = await this.#names(cidIn(cid), signal)
    const old = names.filter((entry) => timeOf(entry) <= before)
    for (const { name } of old) await this.#kubo.remove(this.#in(`blobs/${cid}/${name}`), signal)
    return old.length > 0 && (await this.#names(cid, signal)).length === 0
  }

  async tidy(
    before: number,
    _isLive: (cid: string) => boolean,
    { signal }: BlobCallOptions = {},
  ): Promise<void> {
    for (const entry of (await this.#kubo.entries(this.#in('incoming'), signal)) ?? [])
      if (timeOf(entry) <= before) await this.#kubo.remove(this.#in(`incoming/${entry.name}`), signal)
    if (this.#uploads !== undefined) await tidyUploads(this.#uploads, before)
  }

  /** Fails with `damaged` unless the node holds what was sent to it. */
  async #confirm(root: string, content: Measured, signal: AbortSignal | undefined): Promise<void> {
    if (root === content.cid) return
    if (content.size <= blockBytes) throw damaged(content.cid, `was taken for ${root} by the IPFS node`)
    for await (const _chunk of new BlobContent(content, () => this.#kubo.cat(root, signal))) {
      // Read to its end: that checks it.
    }
  }

  /** A new name for the content, with the time of now; those before it have become superfluous. */
  async #name(root: string, cid: string, signal: AbortSignal | undefined): Promise<void> {
    const older = await this.#names(cid, signal)
    await this.#kubo.makeFolder(this.#in(`blobs/${cid}`), signal)
    await this.#kubo.name(root, this.#in(`blobs/${cid}/${this.#newName()}`), signal)
    for (const { name } of older) await this.#kubo.remove(this.#in(`blobs/${cid}/${name}`), signal)
  }

  /** The names of a content, the oldest first. */
  async #names(cid: string, signal: AbortSignal | undefined): Promise<readonly KuboEntry[]> {
    const entries = (await this.#kubo.entries(this.#in(`blobs/${cid}`), signal)) ?? []
    return [...entries].sort((a, b) => timeOf(a) - timeOf(b))
  }

  #newName(): string {
    return `${this.clock.now()}-${this.clock.id()}`
  }

  #in(path: string): string {
    return `${this.#root}/${path}`
  }
}

function timeOf({ name }: KuboEntry): number {
  return Number(name.split('-')[0])
}

/** Content on its way to the node, measured as it passes. */
class Passing implements AsyncIterable<Uint8Array> {
  measured: Measured | undefined
  error: unknown
  readonly #content: BlobSource
  readonly #sizeMax: number
  readonly #signal: AbortSignal | undefined

  constructor(content: BlobSource, sizeMax: number, signal: AbortSignal | undefined) {
    this.#content = content
    this.#sizeMax = sizeMax
    this.#signal = signal
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const meter = new Meter(this.#sizeMax)
    try {
      for await (const chunk of chunksOf(this.#content)) {
        throwIfAborted(this.#signal)
        meter.add(chunk)
        yield chunk
      }
      this.measured = meter.result()
    } catch (error) {
      this.error = error
      throw error
    }
  }
}
