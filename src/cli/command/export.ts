/**
 * `underpin export`: a domain's feed as NDJSON. A header, one line for each change, a trailer. Written to FILE.part and
 * renamed at the end; FILE.part.state tells how far it is, so that an export that was stopped goes on from there.
 */

import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { gzipSync } from 'node:zlib'
import type { Change } from '../../index.ts'
import { UnderpinError } from '../../index.ts'
import type { Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { showNumber } from '../text.ts'

export interface ExportFlags extends GlobalFlags {
  readonly gzip?: boolean
  readonly resume?: boolean
  readonly force?: boolean
}

interface State {
  readonly domain: string
  readonly isGzip: boolean
  /** The last position that is in the file, the records so far, and the bytes that hold them. */
  readonly position: number
  readonly records: number
  readonly bytes: number
}

const pageItems = 1_000

export async function exportDomain(file: string, flags: ExportFlags, signal: AbortSignal): Promise<Summary> {
  const session = await Session.open(flags)
  const progress = new Progress('export', flags.progress !== false)
  try {
    const domain = await session.domainName()
    const sink = file === '-' ? new StreamSink(flags.gzip ?? false) : new FileSink(file, domain, flags)
    await sink.begin(`${JSON.stringify({ underpin: 1, kind: 'export', domain })}\n`)
    let { position, records } = sink
    for (let isEnd = false; !isEnd; ) {
      if (signal.aborted) throw interrupted(file, domain)
      const page = await session.backend.changes(domain, position, pageItems)
      if (page.role === 'vacant')
        throw new UnderpinError('invalid', `There is no domain ${JSON.stringify(domain)} here`)
      position = page.next
      records += page.items.length
      await sink.add(page.items.map(toLine).join(''), position, records)
      progress.update(position, page.head)
      isEnd = page.next === page.head
    }
    const { head, digest } = await session.backend.fence(domain)
    const trailer = { kind: 'end', domain, records, position, ...(head === position ? { digest } : {}) }
    await sink.end(`${JSON.stringify(trailer)}\n`)
    progress.end()
    return {
      data: { domain, file, records, position },
      lines:
        file === '-'
          ? []
          : [`${showNumber(records)} records of ${domain} up to position ${position} are in ${file}`],
    }
  } finally {
    progress.end()
    await session.close()
  }
}

/** One change. The data goes in as the text that it is stored as. */
function toLine(change: Change): string {
  const { kind, position, commit, at } = change
  const place = `"position":${position},"commit":${commit},"at":${at}`
  if (kind === 'event') {
    const { stream, seq, type, data, meta } = change
    const metaPart = meta === null ? '' : `,"meta":${meta}`
    return `{"kind":"event",${place},"stream":${JSON.stringify(stream)},"seq":${seq},"type":${JSON.stringify(type)},"data":${data}${metaPart}}\n`
  }
  const { collection, id } = change
  const name = `"collection":${JSON.stringify(collection)},"id":${JSON.stringify(id)}`
  if (kind === 'tombstone') return `{"kind":"tombstone",${place},${name}}\n`
  const { expiresAt, data } = change
  return `{"kind":"document",${place},${name},"expiresAt":${expiresAt},"value":${data}}\n`
}

/** Standard output: nothing to resume. */
class StreamSink {
  readonly position = 0
  readonly records = 0
  readonly #isGzip: boolean

  constructor(isGzip: boolean) {
    this.#isGzip = isGzip
  }

  begin(text: string): Promise<void> {
    return this.#write(text)
  }

  add(text: string, _position: number, _records: number): Promise<void> {
    return this.#write(text)
  }

  end(text: string): Promise<void> {
    return this.#write(text)
  }

  async #write(text: string): Promise<void> {
    const bytes = this.#isGzip ? gzipSync(text) : text
    if (text !== '' && !process.stdout.write(bytes)) await once(process.stdout, 'drain')
  }
}

/** A file in the making. Gzip is written in members of several pages, which together are one gzip file. */
class FileSink {
  position = 0
  records = 0
  readonly #file: string
  readonly #part: string
  readonly #domain: string
  readonly #isGzip: boolean
  readonly #before: State | undefined
  readonly #descriptor: number
  #pending = ''
  #bytes = 0

  constructor(file: string, domain: string, flags: ExportFlags) {
    this.#file = file
    this.#part = `${file}.part`
    this.#domain = domain
    this.#isGzip = flags.gzip ?? file.endsWith('.gz')
    if (existsSync(file) && !flags.force)
      throw new UnderpinError('invalid', `${file} is there already`, { hint: 'Give --force to replace it.' })
    this.#before = flags.resume ? this.#readState() : undefined
    if (this.#before === undefined && existsSync(this.#part) && !flags.force)
      throw new UnderpinError('invalid', `${this.#part} is there from an export that was stopped`, {
        hint: 'Give --resume to go on with it, or --force to begin again.',
      })
    this.#descriptor = openSync(this.#part, this.#before === undefined ? 'w' : 'r+', 0o600)
    if (this.#before === undefined) return
    this.position = this.#before.position
    this.records = this.#before.records
    this.#bytes = this.#before.bytes
    ftruncateSync(this.#descriptor, this.#bytes)
  }

  async begin(header: string): Promise<void> {
    if (this.#before !== undefined) return
    this.#pending = header
    this.#flush(0, 0)
  }

  async add(text: string, position: number, records: number): Promise<void> {
    this.#pending += text
    if (this.#pending.length > 4_194_304) this.#flush(position, records)
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

  /** Makes what was added durable, then says so beside it. */
  #flush(position: number, records: number): void {
    this.#write()
    const state: State = { domain: this.#domain, isGzip: this.#isGzip, position, records, bytes: this.#bytes }
    writeFileSync(`${this.#statePath}.new`, JSON.stringify(state))
    renameSync(`${this.#statePath}.new`, this.#statePath)
  }

  #write(): void {
    const bytes = this.#isGzip ? gzipSync(this.#pending) : Buffer.from(this.#pending)
    for (let from = 0; from < bytes.length; )
      from += writeSync(this.#descriptor, bytes, from, bytes.length - from, this.#bytes + from)
    fsyncSync(this.#descriptor)
    this.#bytes += bytes.length
    this.#pending = ''
  }

  #readState(): State | undefined {
    if (!existsSync(this.#part) || !existsSync(this.#statePath)) return undefined
    const state = JSON.parse(readFileSync(this.#statePath, 'utf8')) as State
    if (state.domain === this.#domain && state.isGzip === this.#isGzip) return state
    throw new UnderpinError(
      'invalid',
      `${this.#part} is an export of domain ${state.domain}${state.isGzip ? ', packed' : ''}`,
      {
        hint: 'Export the same domain in the same form, or give --force without --resume to begin again.',
      },
    )
  }
}

function interrupted(file: string, domain: string): UnderpinError {
  return new UnderpinError('aborted', 'The export was stopped', {
    hint:
      file === '-' ? 'Run it again.' : `Go on with it: underpin export ${file} --domain ${domain} --resume`,
  })
}
