/**
 * Arrays as parameters. The driver would write them as text, escaping each element; the binary form is plain to write
 * and to read. https://www.postgresql.org/docs/current/arrays.html, array_recv in the server's arrayfuncs.c.
 */

/** The types of elements that are sent, with their OIDs. */
const oids = { bigint: 20, text: 25 } as const

export type ElementType = keyof typeof oids
export type Element = string | number | null

/** One array parameter: `bigint` elements are whole numbers. */
export class ArrayParameter {
  readonly type: ElementType
  readonly values: readonly Element[]

  constructor(type: ElementType, values: readonly Element[]) {
    this.type = type
    this.values = values
  }

  /** Header: dimensions, whether there are nulls, the element's type, length, first index; then each with its length. */
  toBinary(): Buffer {
    const { type, values } = this
    const isText = type === 'text'
    let size = headerBytes + 4 * values.length
    let hasNull = 0
    for (const value of values) {
      if (value === null) hasNull = 1
      else size += isText ? Buffer.byteLength(value as string) : 8
    }
    const bytes = Buffer.allocUnsafe(size)
    bytes.writeInt32BE(1, 0)
    bytes.writeInt32BE(hasNull, 4)
    bytes.writeInt32BE(oids[type], 8)
    bytes.writeInt32BE(values.length, 12)
    bytes.writeInt32BE(1, 16)
    let at = headerBytes
    for (const value of values) at = isText ? writeText(bytes, at, value) : writeBigint(bytes, at, value)
    return bytes
  }

  /** As an array literal, for drivers that send text: `{"a","b",NULL}`. */
  toText(): string {
    const quote = (value: Element) =>
      value === null ? 'NULL' : `"${String(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
    return `{${this.values.map(quote).join(',')}}`
  }
}

const headerBytes = 20

/** A field of the binary formats: its length, or -1 for null, then its bytes. Gives the place behind it. */
export function writeText(bytes: Buffer, at: number, value: Element): number {
  if (value === null) return bytes.writeInt32BE(-1, at)
  const length = bytes.write(value as string, at + 4)
  bytes.writeInt32BE(length, at)
  return at + 4 + length
}

/** A safe integer as 64 bits: the upper half may be negative, the lower is not. */
export function writeBigint(bytes: Buffer, at: number, value: Element): number {
  if (value === null) return bytes.writeInt32BE(-1, at)
  const number = value as number
  const upper = Math.floor(number / 2 ** 32)
  bytes.writeInt32BE(8, at)
  bytes.writeInt32BE(upper, at + 4)
  return bytes.writeUInt32BE(number - upper * 2 ** 32, at + 8)
}

export const texts = (values: readonly string[]) => new ArrayParameter('text', values)
