/**
 * `underpin import`: NDJSON into a domain, in the order of its lines, several hundred records to a commit. How far it is
 * stands in a document that changes in the same commit, so an import that was killed goes on exactly where it ended.
 */
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { type Domain, isUnderpinError, UnderpinError } from '../../index.ts'
import { readLines } from '../input.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { showNumber } from '../text.ts'

export interface ImportFlags extends GlobalFlags {
  /** Under which the progress is kept; the file's name if left out. */
  readonly name?: string
  readonly create?: boolean
}

/** Holds one document for each import: the lines that are in. */
const progressCollection = 'underpin-imports'
const commitRecords = 500
const commitCharacters = 1_000_000

interface Entry {
  readonly line: number
  readonly write: (tx: Parameters<Parameters<Domain['transaction']>[0]>[0]) => void
}

export async function importFile(
  file: string,
  flags: ImportFlags,
  output: Output,
  signal: AbortSignal,
): Promise<Summary> {
  const session = await Session.open(flags, flags.create)
  const progress = new Progress('import', flags.progress !== false && !output.isJson)
  const name = flags.name ?? (file === '-' ? undefined : basename(file))
  try {
    const collections = { [progressCollection]: {} }
    const domain = await session.domain({ create: flags.create ?? false, collections })
    const run = new Import(session, domain, name)
    const bytes = file === '-' ? undefined : statSync(file).size
    await run.findStart()
    const start = run.done
    let lastReport = performance.now()
    for await (const line of readLines(file)) {
      if (signal.aborted) throw interrupted(file)
      await run.take(line)
      if (run.done !== 0 && run.done % commitRecords === 0) progress.update(run.done, estimate(run, bytes))
      if (output.isJson && flags.progress !== false && performance.now() - lastReport > 1_000) {
        lastReport = performance.now()
        const rss = process.memoryUsage().rss
        await output.record({ kind: 'progress', lines: run.done, ms: Math.round(performance.now()), rss }, '')
      }
    }
    await run.finish()
    progress.end()
    const rate = Math.round(progress.rate(run.done))
    const before = start === 0 ? '' : `; ${showNumber(start)} lines were in already`
    return {
      data: {
        file,
        name,
        lines: run.done,
        skippedLines: start,
        records: run.records,
        position: run.position,
        rate,
      },
      lines: [
        `imported ${showNumber(run.records)} records${before}; the domain is at position ${showNumber(run.position)}`,
      ],
    }
  } finally {
    progress.end()
    await session.close()
  }
}

/** Nobody knows how many lines there are before the last; their mean length tells well enough. */
function estimate({ done, characters }: Import, bytes: number | undefined): number | undefined {
  return bytes === undefined || characters === 0
    ? undefined
    : Math.max(done, Math.round((bytes / characters) * done))
}

class Import {
  /** Lines read so far, whether they had a record or not. */
  done = 0
  records = 0
  characters = 0
  position = 0
  readonly #session: Session
  #domain: Domain
  readonly #name: string | undefined
  #start = 0
  #entries: Entry[] = []
  #pendingCharacters = 0
  #first: string | undefined

  constructor(session: Session, domain: Domain, name: string | undefined) {
    this.#session = session
    this.#domain = domain
    this.#name = name
  }

  async findStart(): Promise<void> {
    if (this.#name === undefined) return
    const found = await this.#domain.documents(progressCollection).get(this.#name)
    if (found === undefined) return
    const { lines, first } = found.value as { lines: number; first: string }
    this.#start = lines
    this.#first = first
    this.done = lines
  }

  async take(line: string): Promise<void> {
    this.#line++
    if (this.#line <= this.#start) {
      if (this.#line === 1 && this.#first !== undefined && line.slice(0, 200) !== this.#first)
        throw this.#otherFile()
      return
    }
    if (this.#line === 1) this.#first = line.slice(0, 200)
    this.characters += line.length + 1
    const record = line.trim() === '' ? undefined : parse(line, this.#line)
    if (record?.collection === '$collections' && record.kind !== 'tombstone') await this.#declare(record)
    else if (record !== undefined) this.#add(record)
    this.#pendingCharacters += line.length
    if (this.#entries.length >= commitRecords || this.#pendingCharacters > commitCharacters)
      await this.#commit()
    this.done = this.#line
  }

  #line = 0

  async finish(): Promise<void> {
    await this.#commit()
    this.position = await this.#domain.head()
  }

  #add(record: Line): void {
    const line = this.#line
    const { stream, collection, id } = record
    if (stream !== undefined) {
      const event = {
        type: record.type ?? '',
        data: record.data,
        ...(record.meta == null ? {} : { meta: record.meta }),
      }
      this.#entries.push({ line, write: (tx) => tx.append(stream, event) })
    } else if (collection !== undefined && id !== undefined && !collection.startsWith('$')) {
      const expiry = record.expiresAt == null ? {} : { expiresAt: record.expiresAt }
      if (record.kind === 'tombstone') this.#entries.push({ line, write: (tx) => tx.delete(collection, id) })
      else this.#entries.push({ line, write: (tx) => tx.put(collection, id, record.value, expiry) })
    }
  }

  /** Declares a collection of an export before its documents come. */
  async #declare({ id, value }: Line): Promise<void> {
    await this.#commit()
    if (id === undefined || id === progressCollection) return
    this.#domain = await this.#session.domain({
      collections: { [id]: value as Record<string, never>, [progressCollection]: {} },
    })
  }

  async #commit(): Promise<void> {
    const entries = this.#entries
    if (entries.length === 0) return
    this.#entries = []
    this.#pendingCharacters = 0
    await this.#domain.transaction((tx) => {
      for (const { line, write } of entries) at(line, () => write(tx))
      if (this.#name !== undefined)
        tx.put(progressCollection, this.#name, { lines: this.#line, first: this.#first ?? '' })
    })
    this.records += entries.length
  }

  #otherFile(): UnderpinError {
    return new UnderpinError(
      'mismatch',
      `An import named ${JSON.stringify(this.#name)} began with another first line`,
      {
        hint: 'Give this import a name of its own: --name NAME.',
      },
    )
  }
}

/** A line of an export, or a plain record of the same fields. */
interface Line {
  readonly kind?: string
  readonly stream?: string
  readonly type?: string
  readonly data?: unknown
  readonly meta?: Record<string, unknown> | null
  readonly collection?: string
  readonly id?: string
  readonly value?: unknown
  readonly expiresAt?: number | null
}

/** The record of a line; undefined for a header or trailer. */
function parse(text: string, line: number): Line | undefined {
  const record = at(line, () => {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new Error('it is no object')
    return value as Line & { underpin?: number }
  })
  if (record.underpin !== undefined || record.kind === 'end') return undefined
  const isEvent = typeof record.stream === 'string' && typeof record.type === 'string' && 'data' in record
  const isDocument =
    typeof record.collection === 'string' &&
    typeof record.id === 'string' &&
    ('value' in record || record.kind === 'tombstone')
  if (isEvent || isDocument) return record
  return at(line, () => {
    throw new Error('it has neither stream, type and data, nor collection, id and value')
  })
}

/** Names the line in what goes wrong with it. */
function at<T>(line: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    const known = isUnderpinError(error)
    throw new UnderpinError(known ? error.code : 'invalid', `Line ${line}: ${(error as Error).message}`, {
      hint: `${known && error.hint !== undefined ? `${error.hint} ` : ''}Everything before its commit is in; mend the line and run the same command again.`,
      details: { line, ...(known ? error.details : {}) },
      cause: error,
    })
  }
}

function interrupted(file: string): UnderpinError {
  return new UnderpinError('aborted', 'The import was stopped', {
    hint: `What was committed stays. Go on with it: the same underpin import ${file}, with the same options.`,
  })
}
