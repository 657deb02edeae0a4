/**
 * Archives of truncated events: NDJSON, compressed with gzip, in the form of an export, so that `underpin import` takes
 * one too. Header, one line for each event with its checksum, trailer. Each names the archive of the events before it.
 */

import { Readable, type Transform } from 'node:stream'
import { createGunzip, createGzip } from 'node:zlib'
import { UnderpinError } from '../../error.ts'
import { verifyChange } from '../../model/change.ts'
import { DigestSum, emptyDigest } from '../../model/digest.ts'
import type { Event } from '../../model/event.ts'
import { quote } from '../../model/key.ts'
import type { JsonText } from '../../model/value.ts'

/** Where archives are kept: a folder ({@link archiveFolder}), or anything that can do this. */
export interface Archive {
  /**
   * Keeps a file under a name, durably: when the promise resolves, `read` finds it, also after a power failure. All of it
   * or nothing; a file of the same name is replaced. Returns a reference by which it is found again.
   */
  write(name: string, chunks: AsyncIterable<Uint8Array>): Promise<string>
  read(reference: string): AsyncIterable<Uint8Array>
}

/** What an archive holds. */
export interface ArchivedPart {
  readonly domain: string
  readonly stream: string
  /** The first and the last seq. */
  readonly first: number
  readonly last: number
  /** The archive of what was truncated before; null if this is the first. */
  readonly previous: string | null
}

interface Header {
  readonly underpin: 1
  readonly kind: 'export'
  readonly domain: string
  readonly archive: Omit<ArchivedPart, 'domain'>
}

interface Trailer {
  readonly kind: 'end'
  readonly records: number
  /** The sum of the events' checksums. */
  readonly digest: string
}

/** Characters handed on at a time. */
const chunkLength = 65_536

/**
 * Writes events to an archive, and reads them back: only what was found again, each by its checksum, counts as written.
 * Returns its reference.
 */
export async function writeArchive(
  archive: Archive,
  part: ArchivedPart,
  name: string,
  events: AsyncIterable<Event>,
): Promise<string> {
  const reference = await archive.write(name, compressed(linesOf(part, events)))
  if (typeof reference !== 'string' || reference === '')
    throw new TypeError('An archive must return a reference to what it has written')
  const found = await openArchive(archive, reference)
  if (JSON.stringify(found.part) !== JSON.stringify(part)) throw unfit(reference, 'it holds another part')
  for await (const _ of found.events) {
    // Each is verified as it is read, and their number and sum at the end.
  }
  return reference
}

/** Begins when it is read, so that an archive which fails before leaves nothing open. */
async function* compressed(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  yield* through(lines, createGzip())
}

/** What comes out of a transformation; an error of either side is thrown to whoever reads it. */
async function* through(chunks: AsyncIterable<unknown>, transform: Transform): AsyncGenerator<Uint8Array> {
  const source = Readable.from(chunks)
  source.on('error', (error) => transform.destroy(error))
  // Thrown by the loop; without a listener it would end the process if it came between two turns of it.
  transform.on('error', () => {})
  try {
    yield* source.pipe(transform)
  } finally {
    source.destroy()
    transform.destroy()
  }
}

async function* linesOf(part: ArchivedPart, events: AsyncIterable<Event>): AsyncGenerator<string> {
  const { domain, ...archive } = part
  const header: Header = { underpin: 1, kind: 'export', domain, archive }
  const sum = new DigestSum(emptyDigest)
  let records = 0
  let text = `${JSON.stringify(header)}\n`
  for await (const event of events) {
    records++
    sum.add(event.checksum)
    text += toLine(event)
    if (text.length < chunkLength) continue
    yield text
    text = ''
  }
  yield `${text}${JSON.stringify({ kind: 'end', records, digest: sum.toString() } satisfies Trailer)}\n`
}

/** Data and meta go in as the texts that they are stored as; the length of the first tells them apart again. */
function toLine({ meta, data, ...head }: Event): string {
  const metaText = meta ?? 'null'
  const short = JSON.stringify({ ...head, metaLength: metaText.length })
  return `${short.slice(0, -1)}${metaMark}${metaText}${dataMark}${data}}\n`
}

/** No string in JSON contains these: its quotes would be escaped. */
const metaMark = ',"meta":'
const dataMark = ',"data":'

function toEvent(line: string): Event {
  const at = line.indexOf(metaMark)
  const { metaLength, ...head } = JSON.parse(`${line.slice(0, at)}}`) as Event & { metaLength: number }
  const from = at + metaMark.length
  const meta = line.slice(from, from + metaLength)
  const data = line.slice(from + metaLength + dataMark.length, -1) as JsonText
  return { ...head, meta: meta === 'null' ? null : (meta as JsonText), data }
}

/** An archive being read: its events must be read to the end to be sure of them. */
export async function openArchive(
  archive: Archive,
  reference: string,
): Promise<{ readonly part: ArchivedPart; readonly events: AsyncGenerator<Event> }> {
  const lines = linesIn(archive, reference)
  const { value } = await lines.next()
  const header = tryParse(reference, () => JSON.parse(String(value)) as Header)
  if (header?.kind !== 'export' || typeof header.archive !== 'object')
    throw unfit(reference, 'it does not begin as an archive does')
  const part = { domain: header.domain, ...header.archive }
  return { part, events: eventsIn(reference, part, lines) }
}

async function* eventsIn(
  reference: string,
  { stream, first, last }: ArchivedPart,
  lines: AsyncGenerator<string>,
): AsyncGenerator<Event> {
  const sum = new DigestSum(emptyDigest)
  let seq = first - 1
  for await (const line of lines) {
    if (line.startsWith('{"kind":"end"')) {
      const { records, digest } = tryParse(reference, () => JSON.parse(line) as Trailer)
      if (seq !== last || records !== last - first + 1 || digest !== sum.toString())
        throw unfit(reference, `it ends at seq ${seq} instead of ${last}, or with another sum`)
      return
    }
    const event = verifyChange(tryParse(reference, () => toEvent(line)))
    if (event.stream !== stream || event.seq !== ++seq) throw unfit(reference, `seq ${seq} is missing`)
    sum.add(event.checksum)
    yield event
  }
  throw unfit(reference, 'it is cut short')
}

async function* linesIn(archive: Archive, reference: string): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for await (const chunk of through(archive.read(reference), createGunzip())) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
  } catch (cause) {
    if ((cause as { code?: unknown }).code?.toString().startsWith('Z_'))
      throw unfit(reference, 'it cannot be decompressed', cause)
    throw cause
  }
  if (rest !== '') yield rest
}

function tryParse<T>(reference: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw unfit(reference, 'a line of it cannot be read', cause)
  }
}

function unfit(reference: string, why: string, cause?: unknown): UnderpinError {
  return new UnderpinError('damaged', `The archive ${quote(reference)} is not what was written: ${why}`, {
    details: { reference },
    ...(cause === undefined ? {} : { cause }),
  })
}
