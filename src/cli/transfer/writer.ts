/**
 * Writes the records of an import: several hundred to a commit, and in each of them the checkpoint that says how far the
 * import is. So a killed import goes on exactly where it ended. A commit is sent when the one before it is acknowledged,
 * and its checkpoint expects the revision of that one: no checkpoint ever stands ahead of a hole.
 */
import { createHash } from 'node:crypto'
import {
  type CommitResult,
  type Domain,
  isUnderpinError,
  type Transaction,
  UnderpinError,
} from '../../index.ts'
import { atLine, lineError } from './record.ts'

/** Holds one document for each import, under its name. */
export const checkpointCollection = 'underpin-imports'

const commitRecords = 500
const commitCharacters = 1_000_000

/** One record to write. */
export interface Entry {
  readonly line: number
  /** Of a document: finds the line of one that breaks a unique index. */
  readonly key: { readonly collection: string; readonly id: string } | undefined
  readonly write: (transaction: Transaction) => void
}

export interface Checkpoint {
  /** Lines that are in. */
  readonly lines: number
  /** A fingerprint of the last of them, which tells whether this is the same file. */
  readonly last: string
}

interface Group {
  readonly entries: readonly Entry[]
  readonly checkpoint: Checkpoint
}

interface Sent {
  readonly group: Group
  readonly result: Promise<CommitResult | { readonly error: unknown }>
}

export class ImportWriter {
  /** Records that were acknowledged. */
  records = 0
  readonly #name: string | undefined
  #domain: Domain
  /** The revision of the last checkpoint that was acknowledged; 0 if there is none. */
  #revision = 0
  #entries: Entry[] = []
  #characters = 0
  #lastLine = { line: 0, text: '' }
  #inFlight: Sent | undefined

  /** Without a name there are no checkpoints. */
  constructor(domain: Domain, name: string | undefined) {
    this.#domain = domain
    this.#name = name
  }

  /** Where an import of this name ended before. */
  async begin(): Promise<Checkpoint | undefined> {
    if (this.#name === undefined) return undefined
    const found = await this.#domain.documents(checkpointCollection).get(this.#name)
    this.#revision = found?.revision ?? 0
    return found?.value as Checkpoint | undefined
  }

  /** Takes a line; one that asks for nothing has no entry. Waits while too much is in flight. */
  async add(line: number, text: string, entry: Entry | undefined): Promise<void> {
    this.#lastLine = { line, text }
    if (entry === undefined) return
    this.#entries.push(entry)
    this.#characters += text.length
    if (this.#entries.length >= commitRecords || this.#characters > commitCharacters) await this.#send()
  }

  /** Writes what was taken, and waits until all of it is acknowledged. */
  async flush(): Promise<void> {
    if (this.#entries.length > 0) await this.#send()
    await this.settle()
  }

  /** Waits until what is in flight is acknowledged. What was taken and not sent stays unwritten. */
  async settle(): Promise<void> {
    const sent = this.#inFlight
    if (sent === undefined) return
    this.#inFlight = undefined
    const result = await sent.result
    if ('error' in result) {
      throw this.#isOvertaken(result.error)
        ? this.#otherRun(result.error)
        : await this.#explain(sent.group, result.error)
    }
    this.#revision = result.position
    this.records += sent.group.entries.length
  }

  /** Goes on with the domain opened anew, which knows more collections. */
  async reopen(open: () => Promise<Domain>): Promise<void> {
    await this.flush()
    this.#domain = await open()
  }

  async #send(): Promise<void> {
    const { line, text } = this.#lastLine
    const group = { entries: this.#entries, checkpoint: { lines: line, last: fingerprint(text) } }
    this.#entries = []
    this.#characters = 0
    await this.settle()
    const result = this.#commit(group, this.#revision).catch((error: unknown) => ({ error }))
    this.#inFlight = { group, result }
  }

  #commit({ entries, checkpoint }: Group, revision: number): Promise<CommitResult> {
    return this.#domain.transaction((transaction) => {
      for (const { line, write } of entries) atLine(line, () => write(transaction))
      if (this.#name === undefined) return
      const expect = revision === 0 ? 'absent' : revision
      transaction.put(checkpointCollection, this.#name, checkpoint, { expect })
    })
  }

  #isOvertaken(error: unknown): boolean {
    if (!isUnderpinError(error, 'conflict')) return false
    return failedKeys(error).some(
      ({ collection, id }) => collection === checkpointCollection && id === this.#name,
    )
  }

  #otherRun(cause: unknown): UnderpinError {
    return new UnderpinError(
      'conflict',
      `Another run of the import ${JSON.stringify(this.#name)} is under way`,
      {
        hint: 'Wait until it has ended, or give this import a name of its own: --name NAME.',
        cause,
      },
    )
  }

  /** The error of a commit with the line that is to blame. */
  async #explain({ entries }: Group, error: unknown): Promise<unknown> {
    if (!isUnderpinError(error) || 'line' in error.details) return error
    const guilty =
      error.code === 'conflict' ? keyedEntry(entries, error) : await this.#refusedEntry(entries, error.code)
    return guilty === undefined ? error : lineError(guilty.line, error)
  }

  /** The entry that is refused also alone: each is tried with a check that cannot hold, so that nothing is written. */
  async #refusedEntry(entries: readonly Entry[], code: string): Promise<Entry | undefined> {
    if (code !== 'invalid' && code !== 'too-large') return undefined
    for (const entry of entries) {
      const attempt = this.#domain.transaction((transaction) => {
        entry.write(transaction)
        transaction.checkStream('underpin-imports', Number.MAX_SAFE_INTEGER)
      })
      const error = await attempt.catch((found: unknown) => found)
      if (isUnderpinError(error) && error.code === code) return entry
    }
    return undefined
  }
}

function keyedEntry(entries: readonly Entry[], error: UnderpinError): Entry | undefined {
  const [failed] = failedKeys(error)
  return entries.findLast(({ key }) => key?.id === failed?.id && key?.collection === failed?.collection)
}

function failedKeys(error: UnderpinError): readonly { collection?: string; id?: string }[] {
  return error.details.failed as readonly { collection?: string; id?: string }[]
}

/** What tells two lines apart. */
export function fingerprint(line: string): string {
  return createHash('sha256').update(line).digest('hex').slice(0, 16)
}
