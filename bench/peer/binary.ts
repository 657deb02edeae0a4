/** PostgreSQL's binary form of arrays without nulls: the driver's own text form is the first bottleneck of large groups. */

const oids = { int8: 20, text: 25 } as const

export function textArray(values: readonly string[]): Buffer {
  const lengths = values.map((value) => Buffer.byteLength(value))
  const size = lengths.reduce((sum, length) => sum + length + 4, 20)
  const buffer = header(size, oids.text, values.length)
  let at = 20
  for (const [i, value] of values.entries()) {
    at = buffer.writeInt32BE(lengths[i] as number, at)
    at += buffer.write(value, at)
  }
  return buffer
}

export function int8Array(values: readonly number[]): Buffer {
  const buffer = header(20 + values.length * 12, oids.int8, values.length)
  let at = 20
  for (const value of values) {
    at = buffer.writeInt32BE(8, at)
    at = buffer.writeInt32BE(Math.floor(value / 2 ** 32), at)
    at = buffer.writeUInt32BE(value >>> 0, at)
  }
  return buffer
}

/** One dimension, no nulls, the type of the elements, how many, and the index of the first. */
function header(size: number, oid: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(size)
  for (const [i, value] of [1, 0, oid, length, 1].entries()) buffer.writeInt32BE(value, i * 4)
  return buffer
}
