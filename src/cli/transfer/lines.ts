/** The lines of a file or of standard input, plain or gzip, without ever holding more than a part of it. */
import { isUtf8 } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { isUnderpinError, UnderpinError } from '../../index.ts'
import { unreadable } from '../input.ts'

const chunkBytes = 262_144
const newline = 0x0a
/** Beyond this, a line is no record but a file of another kind. */
const longestLine = 33_554_432

/** Split by hand: this refuses what is not UTF-8 instead of replacing it, and takes packed standard input as well. */
export class Lines {
  readonly #path: string
  readonly #handle: FileHandle | undefined
  readonly #size: number | undefined
  #bytes = 0

  private constructor(path: string, handle: FileHandle | undefined, size: number | undefined) {
    this.#path = path
    this.#handle = handle
    this.#size = size
  }

  /** Opens a path, or standard input for `-`; `invalid` if there is no such file. */
  static async open(path: string): Promise<Lines> {
    if (path === '-') return new Lines(path, undefined, undefined)
    try {
      const handle = await open(path)
      return new Lines(path, handle, (await handle.stat()).size)
    } catch (error) {
      throw unreadable(path, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close()
  }

  /** The part that was read so far, from 0 to 1; undefined for standard input. */
  get part(): number | undefined {
    return this.#size === undefined ? undefined : this.#bytes / this.#size
  }

  /** The lines, as many at a time as a chunk of the file holds. */
  async *chunks(): AsyncGenerator<readonly string[]> {
    try {
      yield* split(await this.#unpacked())
    } catch (error) {
      throw isUnderpinError(error) ? error : this.#explain(error as Error & { code?: string })
    }
  }

  /** What was packed, unpacked: gzip is told by its first two bytes. */
  async #unpacked(): Promise<AsyncIterable<Buffer>> {
    const source = this.#handle?.createReadStream({ highWaterMark: chunkBytes }) ?? process.stdin
    const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    const first = await chunks.next()
    const all = this.#counted(first, chunks)
    if (first.done || first.value[0] !== 0x1f || first.value[1] !== 0x8b) return all
    // An error of either stream ends the loop over the other.
    return pipeline(Readable.from(all), createGunzip({ chunkSize: chunkBytes }), () => {})
  }

  async *#counted(first: IteratorResult<Buffer>, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
    for (let chunk = first; !chunk.done; chunk = await rest.next()) {
      this.#bytes += chunk.value.length
      yield chunk.value
    }
  }

  #explain(error: Error & { code?: string }): UnderpinError {
    if (!error.code?.startsWith('Z_')) return unreadable(this.#path, error)
    return new UnderpinError('damaged', `${this.#path} is damaged or cut short: ${error.message}`, {
      hint: 'What is in stays in: get a whole copy of the file and run the same command again.',
      cause: error,
    })
  }
}

async function* split(chunks: AsyncIterable<Buffer>): AsyncGenerator<readonly string[]> {
  let rest: Buffer[] = []
  let restBytes = 0
  let line = 1
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(newline)
    if (end >= 0) {
      const lines = decode(Buffer.concat([...rest, chunk.subarray(0, end)]), line)
      line += lines.length
      rest = []
      restBytes = 0
      yield lines
    }
    const tail = chunk.subarray(end + 1)
    if (tail.length > 0) rest.push(tail)
    restBytes += tail.length
    if (restBytes > longestLine)
      throw new UnderpinError('invalid', `Line ${line} does not end: is this a file of lines?`)
  }
  if (restBytes > 0) yield decode(Buffer.concat(rest), line)
}

function decode(bytes: Buffer, firstLine: number): string[] {
  const lines = bytes.toString('utf8').split('\n')
  if (isUtf8(bytes)) return lines
  // Decoding put U+FFFD where it could not read on.
  const wrong = lines.findIndex((line) => line.includes('\uFFFD'))
  throw new UnderpinError('invalid', `Line ${firstLine + wrong}: it is not UTF-8`, {
    details: { line: firstLine + wrong },
  })
}
