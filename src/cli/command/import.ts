/** `underpin import`: NDJSON into a domain, in the order of its lines. */
import { basename } from 'node:path'
import { type Domain, UnderpinError } from '../../index.ts'
import type { Output, Summary } from '../output.ts'
import { Progress } from '../progress.ts'
import { type GlobalFlags, Session } from '../session.ts'
import { showNumber } from '../text.ts'
import { Lines } from '../transfer/lines.ts'
import { atLine, type Line, parseLine } from '../transfer/record.ts'
import {
  type Checkpoint,
  checkpointCollection,
  type Entry,
  fingerprint,
  ImportWriter,
} from '../transfer/writer.ts'

export interface ImportFlags extends GlobalFlags {
  /** Under which the checkpoint is kept; the name of the file if left out. */
  readonly name?: string
  readonly create?: boolean
}

export async function importFile(
  file: string,
  flags: ImportFlags,
  output: Output,
  signal: AbortSignal,
): Promise<Summary> {
  await using lines = await Lines.open(file)
  await using session = await Session.open(flags, flags.create)
  const name = flags.name ?? (file === '-' ? undefined : basename(file))
  const domain = await session.domain(name === undefined ? {} : { [checkpointCollection]: {} })
  const run = new Import(session, new ImportWriter(domain, name), flags.create ?? false)
  const progress = new Progress('import', flags, output)
  const skipped = await run.begin()
  await progress.update(skipped, undefined)
  try {
    for await (const chunk of lines.chunks()) {
      if (signal.aborted) throw new UnderpinError('aborted', 'The import was stopped; what is in stays in')
      for (const text of chunk) await run.take(text)
      const total = lines.part === undefined ? undefined : Math.round(run.line / lines.part)
      if (run.line > skipped) await progress.update(run.line, total)
    }
    await run.end()
  } catch (error) {
    await run.writer.settle()
    throw error
  } finally {
    progress.end()
  }
  const { line, writer } = run
  const rate = Math.round(progress.rate(line))
  const head = await domain.head()
  const before = skipped === 0 ? '' : `; ${showNumber(skipped)} lines were in already`
  return {
    data: { file, name, lines: line, skippedLines: skipped, records: writer.records, head, rate },
    lines: [
      `imported ${showNumber(writer.records)} records${before}; ${showNumber(rate)} lines/s, head ${showNumber(head)}`,
    ],
  }
}

/** One run over the lines of a file. */
class Import {
  readonly writer: ImportWriter
  /** Lines read so far. */
  line = 0
  readonly #session: Session
  readonly #mayDeclare: boolean
  #collections = new Set<string>()
  #start: Checkpoint | undefined
  /** The line of the header, when the file is an export. */
  #header: number | undefined
  #isWhole = false

  constructor(session: Session, writer: ImportWriter, mayDeclare: boolean) {
    this.#session = session
    this.writer = writer
    this.#mayDeclare = mayDeclare
  }

  /** Finds out which lines are in already; returns how many. */
  async begin(): Promise<number> {
    this.#collections = new Set(await this.#session.collections(await this.#session.domainName()))
    this.#start = await this.writer.begin()
    return this.#start?.lines ?? 0
  }

  async take(text: string): Promise<void> {
    const number = ++this.line
    const { lines, last } = this.#start ?? { lines: 0 }
    if (number === lines && fingerprint(text) !== last) throw otherFile(number)
    // Header and trailer are of interest also where everything is in already.
    if (number < lines && number !== 1) return
    const line = atLine(number, () => parseLine(text))
    if (line !== undefined && 'kind' in line) this.#noteFrame(line, number)
    if (number <= lines) return
    const entry = line === undefined ? undefined : await this.#toEntry(line, number)
    await this.writer.add(number, text, entry)
  }

  async end(): Promise<void> {
    const lines = this.#start?.lines ?? 0
    if (this.line < lines) throw otherFile(lines)
    await this.writer.flush()
    if (this.#header === undefined || this.#isWhole) return
    throw new UnderpinError(
      'damaged',
      'The file is an export that is cut short: it has no trailer that fits',
      {
        hint: 'Its lines are in. Get the whole file and run the same command again: it goes on behind them.',
        details: { lines: this.line },
      },
    )
  }

  #noteFrame(line: Line, number: number): void {
    if (line.kind === 'export') {
      if (line.truncatedStreams !== undefined) throw truncatedExport(line.truncatedStreams)
      this.#header = number
    }
    if (line.kind === 'end') this.#isWhole = line.records === number - (this.#header ?? 0) - 1
  }

  /** What a line asks for; undefined for what an import leaves out: header, trailer, and the records of tools. */
  async #toEntry(record: Line, line: number): Promise<Entry | undefined> {
    if (record.kind === 'export' || record.kind === 'end') return undefined
    if (record.kind === 'event') {
      const { stream, type, data, meta } = record
      const event = { type, data, ...(meta == null ? {} : { meta }) }
      return { line, key: undefined, write: (tx) => tx.append(stream, event) }
    }
    const { collection, id } = record
    if (collection === '$truncated' && record.kind === 'document') throw truncatedExport(1, line)
    const isDeclaration = collection === '$collections' && record.kind === 'document'
    if (isDeclaration && !id.startsWith('$')) await this.#declare(id, record.value)
    if (collection.startsWith('$') || collection === checkpointCollection) return undefined
    if (!this.#collections.has(collection)) await this.#declarePlain(collection, line)
    const key = { collection, id }
    if (record.kind === 'tombstone') return { line, key, write: (tx) => tx.delete(collection, id) }
    const { value, expiresAt } = record
    const options = expiresAt == null ? {} : { expiresAt }
    return { line, key, write: (tx) => tx.put(collection, id, value, options) }
  }

  async #declarePlain(collection: string, line: number): Promise<void> {
    if (this.#mayDeclare) return this.#declare(collection, {})
    atLine(line, () => {
      throw new UnderpinError('invalid', `There is no collection ${JSON.stringify(collection)}`, {
        hint: 'Give --create to make collections without indexes as they come.',
      })
    })
  }

  /** Declares a collection before its documents come. */
  async #declare(collection: string, definition: unknown): Promise<void> {
    if (collection === checkpointCollection) return
    const collections = { [collection]: definition as Record<string, never> }
    await this.writer.reopen((): Promise<Domain> => this.#session.domain(collections))
    this.#collections.add(collection)
  }
}

/** An append begins at seq 1, and the snapshot that stands for what was removed is no record that an import takes. */
function truncatedExport(streams: number, line = 1): UnderpinError {
  const what =
    line === 1
      ? `The file is an export of a domain with ${streams} truncated streams`
      : `Line ${line}: a stream was truncated while the domain was being exported`
  return new UnderpinError('unsupported', `${what}, which an import cannot make again`, {
    hint: 'Their seqs and states are in no export. Copy the database instead; the archives of the streams can be imported each by itself.',
    details: { line },
  })
}

function otherFile(line: number): UnderpinError {
  return new UnderpinError('mismatch', `Line ${line} is not what an import of this name read there before`, {
    hint: 'Is it another file? Then give this import a name of its own: --name NAME.',
    details: { line },
  })
}
