/** Names and ids: what may be one, and the order they have everywhere. */
import { UnderpinError } from '../error.ts'
import type { Limits } from './limit.ts'

/** Not `sqlite…`: SQLite keeps tables of such names to itself. */
const namePattern = /^(?!sqlite)[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*$/

/** A name given by a developer, of a domain, collection or index: lower case, so that it is one name in every store. */
export function checkName(name: unknown, what: string, limits: Limits): asserts name is string {
  if (typeof name === 'string' && namePattern.test(name) && name.length <= limits.nameBytes) return
  throw notAName(name, what, ', not "sqlite"', limits)
}

/** A name of a backend in a store: it names no table, so it may be `sqlite`. */
export function checkBackendName(name: string, limits: Limits): void {
  if (namePattern.test(name.replace(/^sqlite/, 'file')) && name.length <= limits.nameBytes) return
  throw notAName(name, 'The backend', '', limits)
}

function notAName(name: unknown, what: string, except: string, limits: Limits): UnderpinError {
  return new UnderpinError('invalid', `${what} ${quote(name)} is not a valid name`, {
    hint: `Use lower-case letters, digits, and single "-" or "_" between them, a letter first${except}, at most ${limits.nameBytes} characters.`,
    details: { name },
  })
}

/** An id given at run time, of a stream, document, event type or commit: any well-formed text without NUL. */
export function checkId(id: unknown, what: string, limits: Limits): asserts id is string {
  if (typeof id !== 'string')
    throw new UnderpinError('invalid', `${what} must be a string, not ${typeof id}`, { details: { id } })
  if (id.length === 0) throw new UnderpinError('invalid', `${what} is empty`)
  if (!id.isWellFormed()) throw new UnderpinError('invalid', `${what} ${quote(id)} has a lone surrogate`)
  if (id.includes('\0')) throw new UnderpinError('invalid', `${what} ${quote(id)} has a NUL character`)
  if (id.length * 3 <= limits.idBytes) return
  const bytes = Buffer.byteLength(id)
  if (bytes > limits.idBytes) {
    throw new UnderpinError(
      'too-large',
      `${what} ${quote(id)} has ${bytes} bytes; the limit is ${limits.idBytes}`,
      {
        details: { bytes, limit: limits.idBytes },
      },
    )
  }
}

/** A text as shown in messages: quoted, escaped, cut at 80 characters. */
export function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : String(value)
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text)
}

/**
 * Order by code point, which is the order of the UTF-8 bytes. (JavaScript's own `<` orders by UTF-16 units and puts
 * U+10000 before U+FFFF.) Returns a number below, at or above zero.
 */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return codePointRank(x) - codePointRank(y)
  }
  return a.length - b.length
}

/** Moves surrogates (which stand for code points above U+FFFF) behind the rest of the plane. */
function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}

/** The least text above every text with this prefix, or undefined if there is none. */
export function prefixEnd(prefix: string): string | undefined {
  const points = [...prefix]
  while (points.length > 0) {
    const last = points.pop() as string
    const point = last.codePointAt(0) as number
    if (point < 0x10ffff) return points.join('') + String.fromCodePoint(point === 0xd7ff ? 0xe000 : point + 1)
  }
  return undefined
}
