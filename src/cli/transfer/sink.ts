/** Where an export goes: standard output, or a file that can be gone on with after a stop. */
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { gzipSync } from 'node:zlib'
import { UnderpinError } from '../../index.ts'
import { escapeJson } from '../text.ts'
import type { Header } from './record.ts'

export interface Sink {
  /** Where to go on: the last position that is in, and the records so far. */
  readonly position: number
  readonly records: number
  begin(header: string): Promise<void>
  add(text: string, position: number, records: number): Promise<void>
  end(trailer: string): Promise<void>
}

/** Standard output: nothing to go on with. */
export class StreamSink implements Sink {
  readonly position = 0
  readonly records = 0
  readonly #isGzip: boolean
  readonly #isTerminal = process.stdout.isTTY

  constructor(isGzip: boolean) {
    this.#isGzip = isGzip
    if (isGzip && this.#isTerminal)
      throw new UnderpinError('invalid', 'Packed data is not written to a terminal', {
        hint: 'Redirect it: underpin export - --gzip > orders.ndjson.gz',
      })
  }

  begin(header: string): Promise<void> {
    return this.#write(header)
  }

  add(text: string): Promise<void> {
    return this.#write(text)
  }

  end(trailer: string): Promise<void> {
    return this.#write(trailer)
  }

  async #write(text: string): Promise<void> {
    if (text === '') return
    const bytes = this.#isGzip ? gzipSync(text) : this.#isTerminal ? escapeJson(text) : text
    if (!process.stdout.write(bytes)) await once(process.stdout, 'drain')
  }
}

/** What is known of FILE.part, beside it in FILE.part.state. */
interface State {
  readonly domain: string
  readonly incarnation: string
  readonly isGzip: boolean
  readonly position: number
  readonly records: number
  /** Bytes of FILE.part that are on the disk; what is behind them is written anew. */
  readonly bytes: number
}

export interface FileOptions {
  readonly isGzip: boolean
  readonly isResumed: boolean
  /** Whether a file that is there, whole or in part, may be replaced. */
  readonly mayReplace: boolean
}

const flushCharacters = 4_194_304

/** FILE.part, renamed to FILE at the end. Packed, it is a row of gzip members, which together are one gzip file. */
export class FileSink implements Sink {
  position = 0
  records = 0
  readonly #file: string
  readonly #part: string
  readonly #header: Header
  readonly #isGzip: boolean
  readonly #descriptor: number
  #pending = ''
  #bytes = 0

  constructor(file: string, header: Header, { isGzip, isResumed, mayReplace }: FileOptions) {
    this.#file = file
    this.#part = `${file}.part`
    this.#header = header
    this.#isGzip = isGzip
    if (existsSync(file) && !mayReplace)
      throw new UnderpinError('invalid', `${file} is there already`, { hint: 'Give --yes to replace it.' })
    if (existsSync(this.#part) && !isResumed && !mayReplace)
      throw new UnderpinError('invalid', `${this.#part} is there, of an export that was stopped`, {
        hint: 'Give --resume to go on with it, or --yes to begin again.',
      })
    const before = isResumed ? this.#readState() : undefined
    // An export that begins again must not be taken for the one before it, should it be stopped at once.
    if (before === undefined) rmSync(this.#statePath, { force: true })
    this.#descriptor = this.#guard(() => openSync(this.#part, before === undefined ? 'w' : 'r+', 0o600))
    if (before === undefined) return
    this.position = before.position
    this.records = before.records
    this.#bytes = before.bytes
    if (fstatSync(this.#descriptor).size < this.#bytes)
      throw new UnderpinError('damaged', `${this.#part} is shorter than its state says`, {
        hint: 'Give --yes without --resume to begin again.',
      })
    ftruncateSync(this.#descriptor, this.#bytes)
  }

  async begin(header: string): Promise<void> {
    if (this.#bytes > 0) return
    this.#pending = header
    this.#flush(0, 0)
  }

  async add(text: string, position: number, records: number): Promise<void> {
    this.#pending += text
    if (this.#pending.length > flushCharacters) this.#flush(position, records)
  }

  async end(trailer: string): Promise<void> {
    this.#pending += trailer
    this.#write()
    closeSync(this.#descriptor)
    renameSync(this.#part, this.#file)
    rmSync(this.#statePath, { force: true })
  }

  get #statePath(): string {
    return `${this.#part}.state`
  }

  /** Brings what was added to the disk, then says so beside it. */
  #flush(position: number, records: number): void {
    this.#write()
    const { domain, incarnation } = this.#header
    const state: State = { domain, incarnation, isGzip: this.#isGzip, position, records, bytes: this.#bytes }
    this.#guard(() => {
      const descriptor = openSync(`${this.#statePath}.new`, 'w', 0o600)
      writeSync(descriptor, JSON.stringify(state))
      fsyncSync(descriptor)
      closeSync(descriptor)
      renameSync(`${this.#statePath}.new`, this.#statePath)
    })
  }

  #write(): void {
    const bytes = this.#isGzip ? gzipSync(this.#pending) : Buffer.from(this.#pending)
    this.#guard(() => {
      for (let from = 0; from < bytes.length; )
        from += writeSync(this.#descriptor, bytes, from, bytes.length - from, this.#bytes + from)
      fsyncSync(this.#descriptor)
    })
    this.#bytes += bytes.length
    this.#pending = ''
  }

  /** Undefined if the export was stopped before anything of it was on the disk. */
  #readState(): State | undefined {
    if (!existsSync(this.#part) || !existsSync(this.#statePath)) return undefined
    const state = JSON.parse(readFileSync(this.#statePath, 'utf8')) as State
    const { domain, incarnation } = this.#header
    if (state.domain === domain && state.incarnation === incarnation && state.isGzip === this.#isGzip)
      return state
    const packed = state.isGzip ? ', packed' : ''
    throw new UnderpinError(
      'invalid',
      `${this.#part} is of another export: domain ${state.domain}${packed}`,
      {
        hint: 'Go on with the same domain of the same store in the same form, or begin again: --yes without --resume.',
      },
    )
  }

  #guard<T>(run: () => T): T {
    try {
      return run()
    } catch (cause) {
      throw new UnderpinError('unavailable', `${this.#part} cannot be written: ${(cause as Error).message}`, {
        cause,
      })
    }
  }
}
