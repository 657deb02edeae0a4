/**
 * The work of an export, step by step. A step reads some pages, puts the rows as a blob, and commits where it stands: the
 * cursor and the blob in one record. Killed anywhere, the next worker begins with the step that was not committed. Two
 * workers at once, one of them taken for dead, write the same blobs, and one of their commits is refused. So the bytes
 * are the same however often the work was cut off.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import { damaged, throwIfAborted } from '../blob/content.ts'
import type { BlobRef } from '../blob/ref.ts'
import { type BlobStore, readBlob } from '../blob/store.ts'
import { fitText } from '../fit-text.ts'
import { type ExportFormat, headOf, lineOf } from './csv.ts'
import { type ExportKind, type ExportKinds, kindOf } from './kind.ts'
import type { Audit, FoundExport, Ledger } from './ledger.ts'
import type { ExportRecord } from './record.ts'
import { bounded, readPage } from './source.ts'

export interface RunSetting {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly kinds: ExportKinds
  /** About so many bytes are written between two commits. */
  readonly partBytes: number
}

const dayMs = 86_400_000
const defaultKeepMs = 7 * dayMs
/** Pages read in one step at most, for exports that leave most of what they read out. */
const pagesMax = 20
/** How often a step is tried that fails for reasons outside of the export, before the export has failed. */
const failuresMax = 8
const messageCharacters = 2_000

/** Works on an export until it is over; what it is then, or undefined if there is none. */
export async function runExport(
  setting: RunSetting,
  key: string,
  options: CallOptions,
): Promise<ExportRecord | undefined> {
  for (;;) {
    throwIfAborted(options.signal)
    const found = await setting.ledger.find(key, options)
    if (found === undefined || isOver(found.record)) return found?.record
    const { next, audit } = await step(setting, found, options)
    const isChanged = await setting.ledger.change(found, next, audit, options)
    if (isChanged && next.failures > found.record.failures && !isOver(next)) return next
  }
}

export function isOver({ state }: ExportRecord): boolean {
  return state !== 'requested' && state !== 'running'
}

/** What an export leaves when it ends without content, or lets go of it. */
export function ended(
  record: ExportRecord,
  state: 'failed' | 'cancelled' | 'expired',
  at: number,
): ExportRecord {
  const finishedAt = record.finishedAt ?? at
  return { ...record, state, dueAt: null, cursor: null, parts: [], content: null, finishedAt }
}

interface Step {
  readonly next: ExportRecord
  readonly audit?: Audit | undefined
}

/** One step. What goes wrong in the application's own functions ends the export; what may pass is tried again later. */
async function step(setting: RunSetting, { record }: FoundExport, options: CallOptions): Promise<Step> {
  const { clock } = setting.ledger.port
  try {
    const kind = kindOf(setting.kinds, record.kind, record.format)
    return record.isRead
      ? await finish(setting, record, kind, options)
      : await advance(setting, record, kind, options)
  } catch (error) {
    throwIfAborted(options.signal)
    if (isUnderpinError(error, 'closed') || isUnderpinError(error, 'lost-lease')) throw error
    const message = fitText(error instanceof Error ? error.message : String(error), messageCharacters)
    const failures = record.failures + 1
    const mayPass = !(error instanceof RowError) && (!isUnderpinError(error) || error.retryable)
    if (mayPass && failures < failuresMax) {
      const dueAt = clock.now() + Math.min(60_000, 500 * 2 ** failures) * (0.5 + clock.random())
      return { next: { ...record, failures, dueAt, error: message } }
    }
    const next = { ...ended(record, 'failed', clock.now()), failures, error: message }
    return { next, audit: { type: 'export.failed', facts: { error: message, rows: record.rows } } }
  }
}

async function advance(
  { ledger, blobs, partBytes }: RunSetting,
  record: ExportRecord,
  kind: ExportKind<unknown>,
  options: CallOptions,
): Promise<Step> {
  const source = await bounded(ledger.port, record.source, options)
  const written = new Part(record, kind)
  let { cursor, isRead } = record
  for (let pages = 0; pages < pagesMax && written.bytes < partBytes && !isRead; pages++) {
    throwIfAborted(options.signal)
    const page = await readPage(ledger.port, source, cursor, options)
    for (const item of page.items) written.add(item)
    cursor = page.cursor
    isRead = cursor === null
  }
  const parts =
    written.bytes === 0 ? record.parts : [...record.parts, await blobs.put(written.content(), options)]
  return {
    next: {
      ...record,
      state: 'running',
      source,
      cursor,
      isRead,
      parts,
      rows: record.rows + written.rows,
      bytes: record.bytes + written.bytes,
      failures: 0,
      error: null,
    },
  }
}

/** Puts the parts together; putting the same again after a crash is the same blob. */
async function finish(
  { ledger, blobs }: RunSetting,
  record: ExportRecord,
  kind: ExportKind<unknown>,
  options: CallOptions,
): Promise<Step> {
  const type = mediaTypes[record.format]
  const [only, ...others] = record.parts
  const content =
    only !== undefined && others.length === 0 && (await blobs.touch(only, options))
      ? { ...only, type }
      : await blobs.put(joined(blobs, record.parts, options), { ...options, type })
  const now = ledger.port.clock.now()
  const expiresAt = now + (kind.keepMs ?? defaultKeepMs)
  const { rows, bytes } = record
  return {
    next: {
      ...record,
      state: 'ready',
      content,
      parts: [],
      finishedAt: now,
      expiresAt,
      dueAt: expiresAt,
      failures: 0,
      error: null,
    },
    audit: { type: 'export.ready', facts: { rows, bytes, blob: content.$blob, expiresAt } },
  }
}

export const mediaTypes = { csv: 'text/csv; charset=utf-8', ndjson: 'application/x-ndjson' } as const

async function* joined(
  blobs: BlobStore,
  parts: readonly BlobRef[],
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    const content = await readBlob(blobs, part, options)
    if (content === undefined) throw damaged(part.$blob, 'is no longer there, though an export refers to it')
    yield content
  }
}

/** The rows of one step. */
class Part {
  readonly #record: ExportRecord
  readonly #kind: ExportKind<unknown>
  readonly #format: ExportFormat
  readonly #columns: readonly string[]
  readonly #lines: Buffer[] = []
  rows = 0
  bytes = 0

  constructor(record: ExportRecord, kind: ExportKind<unknown>) {
    this.#record = record
    this.#kind = kind
    this.#format = record.format
    this.#columns = kind.columns ?? []
    if (record.bytes === 0) this.#write(headOf(this.#format, this.#columns, kind.byteOrderMark ?? false))
  }

  add(item: Parameters<ExportKind<unknown>['row']>[0]): void {
    const { tenant, params } = this.#record
    try {
      const row = this.#kind.row(item, tenant, params)
      if (row === undefined) return
      this.#write(lineOf(this.#format, this.#columns, row))
      this.rows++
    } catch (cause) {
      throw new RowError(
        `Row ${this.#record.rows + this.rows + 1} could not be made: ${(cause as Error).message}`,
        {
          cause,
        },
      )
    }
  }

  content(): Buffer {
    return Buffer.concat(this.#lines)
  }

  #write(line: string): void {
    const bytes = Buffer.from(line)
    this.#lines.push(bytes)
    this.bytes += bytes.length
  }
}

/** What an application's own function threw: it will throw it again. */
class RowError extends Error {}
