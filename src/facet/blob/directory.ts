/**
 * Blobs in a directory, for any number of processes:
 *
 *     underpin-blobs.json   what this is
 *     blobs/7y/q4/bafkrei…  the content: two levels by the last letters but one, 1,024 folders each
 *     incoming/             what is being put
 *     trash/                what is being swept
 *     uploads/, pins/
 *
 * A put writes a file of its own, syncs it, renames it over the name of its content, and syncs the folder. The content
 * of a name never changes, so renaming over it is harmless: it renews the time, and mends a damaged file.
 *
 * A sweep renames the file into the trash, looks at its time again, and puts it back if somebody put or touched it
 * meanwhile. So a put that comes before the rename is seen by the sweep, and one that comes after it makes a new file.
 * Who reads meanwhile finds it in the trash.
 */
import { link, open, readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Clock, systemClock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { checkId } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import { isCid } from './cid.ts'
import { BlobContent, type BlobSource, damaged, type Measured, measure, throwIfAborted } from './content.ts'
import {
  ifThere,
  makeFolder,
  moveFile,
  readChunks,
  removeFile,
  syncFolder,
  withFile,
  writeAll,
  writeWhole,
} from './files.ts'
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

const marker = 'underpin-blobs.json'
const format = 1

export class DirectoryBlobs implements BlobStore {
  readonly path: string
  readonly clock: Clock
  readonly #sizeMax: number

  private constructor(path: string, { clock = systemClock, sizeMax }: BlobStoreOptions) {
    this.path = path
    this.clock = clock
    this.#sizeMax = sizeMax ?? Number.POSITIVE_INFINITY
  }

  /**
   * Opens a directory of blobs, and makes it if there is none. `foreign` if it holds something else, `unsupported` if a
   * newer version wrote it. Needs no closing.
   */
  static async open(path: string, options: BlobStoreOptions = {}): Promise<DirectoryBlobs> {
    const blobs = new DirectoryBlobs(resolve(path), options)
    await blobs.#recognise()
    for (const folder of ['blobs', 'incoming', 'trash', 'uploads', 'pins'])
      await makeFolder(join(blobs.path, folder))
    return blobs
  }

  async put(content: BlobSource, { type, sizeMax, signal }: PutBlobOptions = {}): Promise<BlobRef> {
    throwIfAborted(signal)
    const incoming = this.#newPath('incoming')
    try {
      const measured = await withFile(incoming, 'wx', async (file) => {
        let position = 0
        const write = async (chunk: Uint8Array) => {
          await writeAll(file, chunk, position)
          position += chunk.length
        }
        const most = Math.min(this.#sizeMax, sizeMax ?? Number.POSITIVE_INFINITY)
        const measured = await measure(content, write, { sizeMax: most, signal })
        await file.sync()
        return measured
      })
      await this.#keep(incoming, measured)
      return blobRef(measured.cid, measured.size, type)
    } catch (error) {
      await removeFile(incoming)
      throw error
    }
  }

  async get(ref: BlobRef | string, { signal }: BlobCallOptions = {}): Promise<BlobContent | undefined> {
    const cid = cidIn(ref)
    const size = await this.#withContent(cid, async (file) => (await file.stat()).size)
    if (size === undefined) return undefined
    checkSize(ref, size)
    return new BlobContent({ cid, size }, () => this.#read(cid, signal))
  }

  async touch(ref: BlobRef | string): Promise<boolean> {
    const path = this.#pathOf(cidIn(ref))
    const touched = await ifThere(
      withFile(path, 'r+', async (file) => {
        await this.#date(file)
        return (await file.stat()).ino
      }),
    )
    // A sweep that renamed it before it was touched may go on to remove it.
    return touched !== undefined && (await ifThere(stat(path)))?.ino === touched
  }

  async upload(id: string): Promise<Upload> {
    checkId(id, 'The id of the upload', limits)
    const place = { folder: join(this.path, 'uploads'), sizeMax: this.#sizeMax, clock: this.clock }
    return Upload.open({ ...place, keep: (path, content) => this.#keep(path, content) }, id)
  }

  async pin(ref: BlobRef | string): Promise<void> {
    await withFile(join(this.path, 'pins', cidIn(ref)), 'a', (file) => file.sync())
    await syncFolder(join(this.path, 'pins'))
  }

  async unpin(ref: BlobRef | string): Promise<void> {
    await removeFile(join(this.path, 'pins', cidIn(ref)))
  }

  async pins(): Promise<readonly string[]> {
    return (await readdir(join(this.path, 'pins'))).filter(isCid)
  }

  async *list({ signal }: BlobCallOptions = {}): AsyncGenerator<KeptBlob> {
    const root = join(this.path, 'blobs')
    for (const first of await readdir(root)) {
      for (const second of await readdir(join(root, first))) {
        throwIfAborted(signal)
        for (const cid of await readdir(join(root, first, second))) {
          const found = isCid(cid) ? await ifThere(stat(join(root, first, second, cid))) : undefined
          if (found !== undefined) yield { cid, size: found.size, at: found.mtimeMs }
        }
      }
    }
  }

  async sweep(cid: string, before: number): Promise<boolean> {
    const path = this.#pathOf(cidIn(cid))
    const found = await ifThere(stat(path))
    if (found === undefined || found.mtimeMs > before) return false
    const trash = `${join(this.path, 'trash', cid)}.${this.clock.id()}`
    if ((await ifThere(moveFile(path, trash).then(() => true))) === undefined) return false
    return this.#empty(trash, cid, before)
  }

  async tidy(before: number, isLive: (cid: string) => boolean): Promise<void> {
    const trash = join(this.path, 'trash')
    for (const name of await readdir(trash)) {
      const [cid = ''] = name.split('.')
      if (isCid(cid)) await this.#empty(join(trash, name), cid, isLive(cid) ? 0 : before)
    }
    const incoming = join(this.path, 'incoming')
    for (const name of await readdir(incoming)) {
      const found = await ifThere(stat(join(incoming, name)))
      if (found !== undefined && found.mtimeMs <= before) await removeFile(join(incoming, name))
    }
    await tidyUploads(join(this.path, 'uploads'), before)
  }

  /** Ends a sweep: removes the file, or puts it back if it was put or touched after all. */
  async #empty(trash: string, cid: string, before: number): Promise<boolean> {
    const found = await ifThere(stat(trash))
    if (found === undefined) return false
    const isFresh = found.mtimeMs > before
    if (isFresh) {
      const path = this.#pathOf(cid)
      try {
        await ifThere(link(trash, path))
      } catch (error) {
        // Put again meanwhile.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      await syncFolder(join(path, '..'))
    }
    return (await removeFile(trash)) && !isFresh
  }

  /** Gives a synced file the name of its content. */
  async #keep(path: string, { cid }: Measured): Promise<void> {
    await withFile(path, 'r+', (file) => this.#date(file))
    const target = this.#pathOf(cid)
    await makeFolder(join(target, '..'))
    await moveFile(path, target)
  }

  /** The time from which its grace counts, by the clock that sweeps go by. */
  async #date(file: Awaited<ReturnType<typeof open>>): Promise<void> {
    const seconds = this.clock.now() / 1_000
    await file.utimes(seconds, seconds)
    await file.sync()
  }

  async *#read(cid: string, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    const file = await this.#openContent(cid)
    if (file === undefined) throw damaged(cid, 'was removed while it was about to be read')
    try {
      for await (const chunk of readChunks(file)) {
        throwIfAborted(signal)
        yield chunk
      }
    } finally {
      await file.close()
    }
  }

  async #withContent<T>(
    cid: string,
    use: (file: Awaited<ReturnType<typeof open>>) => Promise<T>,
  ): Promise<T | undefined> {
    const file = await this.#openContent(cid)
    if (file === undefined) return undefined
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  }

  /** Where it is, in the trash while it is being swept, or where it is again. */
  async #openContent(cid: string) {
    const path = this.#pathOf(cid)
    const found = await ifThere(open(path, 'r'))
    if (found !== undefined) return found
    const trash = join(this.path, 'trash')
    for (const name of await readdir(trash)) {
      if (!name.startsWith(cid)) continue
      const file = await ifThere(open(join(trash, name), 'r'))
      if (file !== undefined) return file
    }
    return ifThere(open(path, 'r'))
  }

  #pathOf(cid: string): string {
    return join(this.path, 'blobs', cid.slice(-5, -3), cid.slice(-3, -1), cid)
  }

  #newPath(folder: string): string {
    return join(this.path, folder, this.clock.id())
  }

  async #recognise(): Promise<void> {
    await makeFolder(this.path)
    const path = join(this.path, marker)
    const text = await ifThere(withFile(path, 'r', (file) => file.readFile('utf8')))
    if (text !== undefined) return checkMarker(path, text)
    // What a process left that died while it made the directory begins with the marker's name.
    const others = (await readdir(this.path)).filter((name) => !name.startsWith(marker))
    if (others.length > 0)
      throw new UnderpinError('foreign', `${this.path} holds something other than blobs`, {
        hint: 'Give blobs a directory of their own, empty or not there yet.',
        details: { found: others.slice(0, 5) },
      })
    await writeWhole(path, `${path}.${this.clock.id()}`, JSON.stringify({ format }))
  }
}

function checkMarker(path: string, text: string): void {
  let found: unknown
  try {
    found = (JSON.parse(text) as { format?: unknown }).format
  } catch (cause) {
    throw new UnderpinError('damaged', `${path} cannot be read`, { cause })
  }
  if (found === format) return
  throw new UnderpinError(
    'unsupported',
    `${path} says format ${String(found)}; this version knows ${format}`,
    {
      hint: 'Use the version of Underpin that wrote it, or a newer one.',
    },
  )
}
