/**
 * `COPY … FROM STDIN` in binary, for pages of records: the fastest way in. Handed to the driver as a query of its own
 * kind (what pg calls a submittable), because a query of pg's own answers the server's wish for data with a failure.
 * https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
 */
import { writeBigint, writeText } from './array.ts'

/** What is needed of the driver's connection. */
export interface CopyConnection {
  query(text: string): void
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
  sendCopyFail(message: string): void
}

/** Records, as rows of a table's columns. */
export interface CopyRows<R> {
  /** Table and columns, as SQL. */
  readonly into: string
  readonly columns: number
  readonly records: Iterable<R>
  /** Writes the values of a record's row, in the order of the columns. */
  write(row: RowWriter, record: R): void
}

export class CopyIn<R> {
  /** What the driver calls when there is a failure; it also replaces it to give a query up. */
  callback: (error: unknown) => void
  /** Milliseconds without an answer, after which the driver gives up. */
  readonly query_timeout = 60_000
  readonly #rows: CopyRows<R>
  #error: unknown

  constructor(rows: CopyRows<R>, callback: (error: unknown) => void) {
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
function* encode<R>({ columns, records, write }: CopyRows<R>): Generator<Buffer> {
  yield signature
  const row = new RowWriter()
  for (const record of records) {
    row.begin(columns)
    write(row, record)
    if (row.isFull) yield row.take()
  }
  yield row.take()
  yield trailer
}

/** Writes the fields of rows, one behind the other, into a chunk of bytes. */
export class RowWriter {
  #bytes = Buffer.allocUnsafe(2 * chunkBytes)
  #at = 0

  get isFull(): boolean {
    return this.#at >= chunkBytes
  }

  begin(columns: number): void {
    this.#room(2)
    this.#at = this.#bytes.writeInt16BE(columns, this.#at)
  }

  text(value: string | null): void {
    // A character is up to three bytes of UTF-8 for each unit of its string.
    this.#room(4 + 3 * (value?.length ?? 0))
    this.#at = writeText(this.#bytes, this.#at, value)
  }

  bigint(value: number | null): void {
    this.#room(12)
    this.#at = writeBigint(this.#bytes, this.#at, value)
  }

  /** What was written since the last time; it is the taker's own. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#at)
    this.#bytes = Buffer.allocUnsafe(2 * chunkBytes)
    this.#at = 0
    return taken
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(2 * (this.#at + bytes))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }
}
