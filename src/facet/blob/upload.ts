/**
 * Puts that go on after a restart. An upload is a file that grows and a record beside it, which says how much of the
 * file counts: what was appended without being acknowledged is cut off when the upload is opened again.
 */
import { createHash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import { type BlobSource, chunksOf, type Measured, measure, throwIfAborted, tooLarge } from './content.ts'
import { ifThere, readChunks, removeFile, withFile, writeAll, writeWhole } from './files.ts'
import { type BlobRef, blobRef } from './ref.ts'
import type { BlobCallOptions } from './store.ts'

interface Place {
  /** Where uploads are kept. */
  readonly folder: string
  readonly sizeMax: number
  readonly clock: Clock
  /** Takes a complete, synced file away and keeps its content; done again after a crash. */
  keep(path: string, content: Measured): Promise<void>
}

interface UploadRecord {
  readonly id: string
  /** Bytes of the file that count. */
  readonly offset: number
  /** What became of it. */
  readonly finished?: Measured
}

/** An upload under way. One process at a time: a second one that appends meanwhile fails with `conflict`. */
export class Upload {
  readonly id: string
  readonly #place: Place
  #record: UploadRecord

  private constructor(place: Place, record: UploadRecord) {
    this.#place = place
    this.id = record.id
    this.#record = record
  }

  /** Begins an upload, or finds it as it was left. */
  static async open(place: Place, id: string): Promise<Upload> {
    const found = await readRecord(place, id)
    const upload = new Upload(place, found ?? { id, offset: 0 })
    if (found === undefined) await upload.#note(upload.#record)
    return upload
  }

  /** Bytes that were acknowledged: where to go on. */
  get offset(): number {
    return this.#record.offset
  }

  /** The reference, once it is finished, also if that was before a restart. */
  get finished(): BlobRef | undefined {
    const { finished } = this.#record
    return finished && blobRef(finished.cid, finished.size)
  }

  /**
   * Appends content and syncs it; returns the new offset, from which on the upload goes on after whatever happens. When
   * it fails, nothing of this call counts. `too-large` beyond the limit; `conflict` if another process went on with it.
   */
  async append(content: BlobSource, { signal }: BlobCallOptions = {}): Promise<number> {
    await this.#refuseOvertaken()
    if (this.#record.finished !== undefined)
      throw new UnderpinError('conflict', `The upload ${quote(this.id)} is finished`, {
        hint: 'Discard it, or use another id.',
      })
    let { offset } = this.#record
    const file = await open(pathOf(this.#place, this.id), offset === 0 ? 'w' : 'r+')
    try {
      await this.#cut(file)
      for await (const chunk of chunksOf(content)) {
        throwIfAborted(signal)
        if (offset + chunk.length > this.#place.sizeMax) throw tooLarge(this.#place.sizeMax)
        await writeAll(file, chunk, offset)
        offset += chunk.length
      }
      throwIfAborted(signal)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#note({ id: this.id, offset })
    return offset
  }

  /** Makes it a blob; the same again when it is called again. Then {@link discard} the upload. */
  async finish({ type }: { readonly type?: string } = {}): Promise<BlobRef> {
    await this.#refuseOvertaken()
    const path = pathOf(this.#place, this.id)
    const content = this.#record.finished ?? (await this.#measure(path))
    if (this.#record.finished === undefined)
      await this.#note({ id: this.id, offset: this.offset, finished: content })
    if ((await ifThere(stat(path))) !== undefined) await this.#place.keep(path, content)
    return blobRef(content.cid, content.size, type)
  }

  /** Removes the upload, finished or not; the blob it became stays. */
  async discard(): Promise<void> {
    const { folder } = this.#place
    // The record last: without it, content counts for nothing. What a process left that died goes too.
    const files = (await readdir(folder)).filter((file) => file.startsWith(nameOf(this.id)))
    for (const file of files.sort()) await removeFile(join(folder, file))
  }

  async #measure(path: string): Promise<Measured> {
    return withFile(path, this.offset === 0 ? 'w+' : 'r+', async (file) => {
      await this.#cut(file)
      const content = await measure(readChunks(file), async () => {})
      await file.sync()
      return content
    })
  }

  /** What was not acknowledged goes; what was must be there. */
  async #cut(file: Awaited<ReturnType<typeof open>>): Promise<void> {
    const { size } = await file.stat()
    if (size < this.offset)
      throw new UnderpinError(
        'damaged',
        `The upload ${quote(this.id)} has ${size} of the ${this.offset} bytes that were acknowledged`,
        { hint: 'Discard it and begin again.' },
      )
    await file.truncate(this.offset)
  }

  async #refuseOvertaken(): Promise<void> {
    const found = await readRecord(this.#place, this.id)
    if (found?.offset === this.offset && found.finished?.cid === this.#record.finished?.cid) return
    throw new UnderpinError(
      'conflict',
      `The upload ${quote(this.id)} was gone on with or discarded elsewhere`,
      {
        hint: 'Open it again. An upload belongs to one process at a time.',
        details: { id: this.id, offset: found?.offset ?? 0, expected: this.offset },
      },
    )
  }

  async #note(record: UploadRecord): Promise<void> {
    const path = recordPath(this.#place, this.id)
    await writeWhole(path, `${path}.${this.#place.clock.id()}`, JSON.stringify(record))
    this.#record = record
  }
}

/** Removes uploads that nobody has gone on with since a time. */
export async function tidyUploads(folder: string, before: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const found = await ifThere(stat(path))
    const record = name.endsWith('.content')
      ? await ifThere(stat(path.replace(/content$/, 'json')))
      : undefined
    const at = Math.max(found?.mtimeMs ?? 0, record?.mtimeMs ?? 0)
    if (found !== undefined && at <= before) await removeFile(path)
  }
}

async function readRecord(place: Place, id: string): Promise<UploadRecord | undefined> {
  const path = recordPath(place, id)
  const text = await ifThere(withFile(path, 'r', (file) => file.readFile('utf8')))
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as UploadRecord
  } catch (cause) {
    throw new UnderpinError('damaged', `The record of upload ${quote(id)} cannot be read: ${path}`, {
      hint: 'Discard the upload and begin again.',
      cause,
    })
  }
}

/** Ids are any text, names of files are not. */
function nameOf(id: string): string {
  return createHash('sha256').update(id).digest('hex')
}

function pathOf({ folder }: Place, id: string): string {
  return join(folder, `${nameOf(id)}.content`)
}

function recordPath({ folder }: Place, id: string): string {
  return join(folder, `${nameOf(id)}.json`)
}
