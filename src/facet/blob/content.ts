/** Content on its way in and out: counted, hashed, and checked before its last byte is given out. */
import { createHash } from 'node:crypto'
import { UnderpinError } from '../../error.ts'
import { cidOf } from './cid.ts'

/** Bytes, or what streams them: a Node or web stream, an async generator, the body of a request. */
export type BlobSource = Uint8Array | AsyncIterable<Uint8Array>

export interface Measured {
  readonly cid: string
  readonly size: number
}

/** Sums content up as it passes. */
export class Meter {
  readonly #hash = createHash('sha256')
  readonly #sizeMax: number
  #size = 0

  constructor(sizeMax = Number.POSITIVE_INFINITY) {
    this.#sizeMax = sizeMax
  }

  /** `too-large` if this chunk is over the limit. */
  add(chunk: Uint8Array): void {
    this.#size += chunk.length
    if (this.#size > this.#sizeMax) throw tooLarge(this.#sizeMax)
    this.#hash.update(chunk)
  }

  result(): Measured {
    return { cid: cidOf(this.#hash.digest()), size: this.#size }
  }
}

/** Passes the chunks of a source to `write`, one after the other; what they sum up to. */
export async function measure(
  source: BlobSource,
  write: (chunk: Uint8Array) => Promise<unknown>,
  { sizeMax, signal }: { sizeMax?: number; signal?: AbortSignal | undefined } = {},
): Promise<Measured> {
  const meter = new Meter(sizeMax)
  for await (const chunk of chunksOf(source)) {
    throwIfAborted(signal)
    meter.add(chunk)
    await write(chunk)
  }
  throwIfAborted(signal)
  return meter.result()
}

export function tooLarge(limit: number): UnderpinError {
  return new UnderpinError('too-large', `The content has more than ${limit} bytes`, {
    hint: 'Nothing of it was kept.',
    details: { limit },
  })
}

/** The chunks of a source; a `TypeError` for anything that is not bytes. */
export async function* chunksOf(source: BlobSource): AsyncGenerator<Uint8Array> {
  if (source instanceof Uint8Array) {
    yield source
    return
  }
  if (typeof source !== 'object' || source === null || !(Symbol.asyncIterator in source))
    throw new TypeError('The content of a blob is a Uint8Array, a stream or an async iterable of them')
  for await (const chunk of source) {
    if (!(chunk instanceof Uint8Array))
      throw new TypeError(`A stream of bytes gave a ${typeof chunk}: encode text with TextEncoder first`)
    yield chunk
  }
}

/** What is kept under a CID. Every reading checks all of it: once, by one of the three ways. */
export class BlobContent implements AsyncIterable<Uint8Array> {
  readonly cid: string
  /** Bytes. */
  readonly size: number
  readonly #open: () => AsyncIterable<Uint8Array>

  /** Made by the blob stores. */
  constructor({ cid, size }: Measured, open: () => AsyncIterable<Uint8Array>) {
    this.cid = cid
    this.size = size
    this.#open = open
  }

  /** The chunks. Fails with `damaged`, with its last chunk held back, if they are not what was put. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    return verified(this.#open(), this)
  }

  /** All of it, in memory. */
  async bytes(): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** As a web stream, for the body of a response: it errors instead of ending when the content is damaged. */
  stream(): ReadableStream<Uint8Array> {
    const chunks = this[Symbol.asyncIterator]()
    return new ReadableStream({
      async pull(controller) {
        const { value, done } = await chunks.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await chunks.return(undefined)
      },
    })
  }
}

async function* verified(
  chunks: AsyncIterable<Uint8Array>,
  { cid, size }: Measured,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let found = 0
  let held: Uint8Array | undefined
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue
    found += chunk.length
    if (found > size) throw damaged(cid, `is longer than its ${size} bytes`)
    hash.update(chunk)
    if (held !== undefined) yield held
    held = chunk
  }
  if (found !== size) throw damaged(cid, `has ${found} of its ${size} bytes`)
  if (cidOf(hash.digest()) !== cid) throw damaged(cid, 'has other content than was put')
  if (held !== undefined) yield held
}

export function damaged(cid: string, what: string): UnderpinError {
  return new UnderpinError('damaged', `Blob ${cid} ${what}`, {
    hint: 'Put the same content again, from a backup say: that mends it.',
    details: { cid },
  })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return
  throw new UnderpinError('aborted', 'The call was aborted', { cause: signal.reason })
}
