/**
 * `COPY … FROM STDIN` in binary, for pages of records: the fastest way in. Handed to the driver as a query of its own
 * kind (what pg calls a submittable), because a query of pg's own answers the server's wish for data with a failure.
 * https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
 */
import { type Element, type ElementType, writeBigint, writeText } from './array.ts'

/** What is needed of the driver's connection. */
export interface CopyConnection {
  query(text: string): void
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
  sendCopyFail(message: string): void
}

/** Rows, as values one after another, into a table's columns. */
export interface CopyRows {
  /** Table and columns, as SQL. */
  readonly into: string
  readonly types: readonly ElementType[]
  readonly values: readonly Element[]
}

export class CopyIn {
  /** What the driver calls when there is a failure; it also replaces it to give a query up. */
  callback: (error: unknown) => void
  /** Milliseconds without an answer, after which the driver gives up. */
  readonly query_timeout = 60_000
  readonly #rows: CopyRows
  #error: unknown

  constructor(rows: CopyRows, callback: (error: unknown) => void) {
    this.#rows = rows
    this.callback = callback
  }

  submit(connection: CopyConnection): void {
    connection.query(`COPY ${this.#rows.into} FROM STDIN (FORMAT binary)`)
  }

  handleCopyInResponse(connection: CopyConnection): void {
    try {
      for (const chunk of encode(this.#rows)) connection.sendCopyFromChunk(chunk)
      connection.endCopyFrom()
    } catch (error) {
      this.#error = error
      connection.sendCopyFail('The rows could not be encoded')
    }
  }

  handleError(error: unknown): void {
    this.callback(this.#error ?? error)
    this.callback = () => {}
  }

  handleReadyForQuery(): void {
    this.callback(undefined)
  }

  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleCopyData(): void {}
}

const chunkBytes = 65_536
const signature = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const trailer = Buffer.from([0xff, 0xff])

/** Each row: the number of its fields, then each with its length. */
function* encode({ types, values }: CopyRows): Generator<Buffer> {
  yield signature
  let chunk = Buffer.allocUnsafe(chunkBytes)
  let at = 0
  for (let first = 0; first < values.length; first += types.length) {
    const size = sizeOf(types, values, first)
    if (at + size > chunk.length) {
      if (at > 0) yield chunk.subarray(0, at)
      chunk = Buffer.allocUnsafe(Math.max(chunkBytes, size))
      at = 0
    }
    at = writeRow(chunk, at, types, values, first)
  }
  if (at > 0) yield chunk.subarray(0, at)
  yield trailer
}

/** At most: a character is up to three bytes of UTF-8 for each unit of its string. */
function sizeOf(types: readonly ElementType[], values: readonly Element[], first: number): number {
  let size = 2
  for (let i = 0; i < types.length; i++) {
    const value = values[first + i]
    size += 4 + (typeof value === 'string' ? 3 * value.length : 8)
  }
  return size
}

function writeRow(
  bytes: Buffer,
  from: number,
  types: readonly ElementType[],
  values: readonly Element[],
  first: number,
): number {
  let at = bytes.writeInt16BE(types.length, from)
  for (let i = 0; i < types.length; i++) {
    const value = values[first + i] as Element
    at = types[i] === 'text' ? writeText(bytes, at, value) : writeBigint(bytes, at, value)
  }
  return at
}
