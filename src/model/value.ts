/** Values: what may be stored, and the exact JSON text that is stored for it. */
import { UnderpinError } from '../error.ts'
import { limits as defaultLimits, type Limits } from './limit.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

declare const brand: unique symbol
/** JSON text that {@link encodeValue} or {@link parseJsonText} made: valid, well-formed, within the limits. */
export type JsonText = string & { readonly [brand]: 'JsonText' }

/**
 * The JSON text of a value, or `invalid` with the path of the field that JSON would lose or change, or `too-large`.
 * The text is a copy: changing the value afterwards changes nothing.
 */
export function encodeValue(value: unknown, limits: Limits = defaultLimits): JsonText {
  const budget = { left: limits.valueBytes }
  if (!fits(value, 0, budget, limits)) {
    if (budget.left > 0) explain(value, '', 0, limits)
    throw new UnderpinError('too-large', `The value has more than ${limits.valueBytes} parts`)
  }
  const text = JSON.stringify(value)
  if (text.includes('\\u') && unfitEscape.test(text)) refuseText(value, '')
  if (text.length * 3 > limits.valueBytes && Buffer.byteLength(text) > limits.valueBytes) {
    throw new UnderpinError(
      'too-large',
      `The value has ${Buffer.byteLength(text)} bytes of JSON; the limit is ${limits.valueBytes}`,
      {
        hint: 'Keep large content in a blob store and put a reference into the value.',
        details: { bytes: Buffer.byteLength(text), limit: limits.valueBytes },
      },
    )
  }
  return text as JsonText
}

/** The value of a stored text: a new copy at each call. */
export function decodeValue(text: JsonText): unknown {
  return JSON.parse(text)
}

/** Takes JSON text from outside: refused with `invalid` if it is no JSON or if reading it would lose a digit. */
export function parseJsonText(text: string, limits: Limits = defaultLimits): JsonText {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new UnderpinError('invalid', `Not JSON: ${(cause as Error).message}`, { cause })
  }
  for (const [token] of text.matchAll(stringOrNumber)) {
    if (!token.startsWith('"') && !isExact(token)) {
      throw new UnderpinError(
        'invalid',
        `The number ${token} cannot be kept exactly: JSON numbers are doubles`,
        {
          hint: 'Write it as a string.',
          details: { number: token },
        },
      )
    }
  }
  return encodeValue(value, limits)
}

const unfitEscape = /(?:^|[^\\])(?:\\\\)*\\u(?:0000|d[89a-f])/
const stringOrNumber = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Whether JSON keeps a value as it is. The budget of parts ends values that contain one part very often. */
function fits(value: unknown, depth: number, budget: { left: number }, limits: Limits): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    case 'object':
      if (value === null) return true
      if (depth >= limits.valueDepth || budget.left-- <= 0) return false
      return Array.isArray(value)
        ? arrayFits(value, depth, budget, limits)
        : objectFits(value, depth, budget, limits)
    default:
      return false
  }
}

function arrayFits(
  value: readonly unknown[],
  depth: number,
  budget: { left: number },
  limits: Limits,
): boolean {
  if (Object.keys(value).length !== value.length || !isPlainArray(value)) return false
  for (const item of value) if (!fits(item, depth + 1, budget, limits)) return false
  return true
}

function objectFits(value: object, depth: number, budget: { left: number }, limits: Limits): boolean {
  if (!isPlain(value)) return false
  const fields = value as Record<string, unknown>
  for (const key of Object.keys(value)) if (!fits(fields[key], depth + 1, budget, limits)) return false
  return true
}

/** Of any realm: its prototype is the one of arrays, which is an array itself, and not that of a class. */
function isPlainArray(value: readonly unknown[]): boolean {
  return Array.isArray(Object.getPrototypeOf(value)) && Object.getOwnPropertySymbols(value).length === 0
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  const isPlainKind = prototype === Object.prototype || prototype === null || isPlainElsewhere(prototype)
  return isPlainKind && Object.getOwnPropertySymbols(value).length === 0
}

/** Fails with what does not fit, and where. */
function explain(value: unknown, path: string, depth: number, limits: Limits): void {
  if (typeof value === 'undefined') refuse(path, 'undefined', 'Leave the field out, or use null.')
  if (typeof value === 'number' && !Number.isFinite(value))
    refuse(path, String(value), 'Use null or a string.')
  if (Object.is(value, -0)) refuse(path, '-0', 'Use 0.')
  if (typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol')
    refuse(path, `a ${typeof value}`, 'Use a string, or leave the field out.')
  if (typeof value !== 'object' || value === null) return
  if (depth >= limits.valueDepth)
    refuse(path, `nested deeper than ${limits.valueDepth} levels, or a cycle`, 'Flatten the value.')
  if (!(Array.isArray(value) ? isPlainArray(value) : isPlain(value))) explainClass(value, path)
  if (Array.isArray(value) && !isDense(value))
    refuse(path, 'an array with holes or named properties', 'Use a plain array.')
  for (const [key, field] of Object.entries(value))
    explain(field, fieldPath(value, path, key), depth + 1, limits)
}

/** Whether the keys are 0, 1, 2 … to the length; a count of them alone takes a named property for a hole. */
function isDense(value: readonly unknown[]): boolean {
  const keys = Object.keys(value)
  return keys.length === value.length && keys.every((key, i) => key === String(i))
}

function explainClass(value: object, path: string): never {
  if (Object.getOwnPropertySymbols(value).length > 0) refuse(path, 'a symbol key', 'Use string keys.')
  const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'class'
  refuse(path, `an instance of ${name}`, hintFor(value, name))
}

function hintFor(value: object, name: string): string {
  if (name === 'Date') return 'Use toISOString().'
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Blob)
    return 'Keep bytes in a blob store (underpin/blob), and put the reference to them here.'
  return 'Use a plain object.'
}

function fieldPath(value: object, path: string, key: string): string {
  if (Array.isArray(value)) return `${path}[${key}]`
  return path === '' ? key : `${path}.${key}`
}

/** `Object.prototype` of another realm (a worker, a vm context, a test runner). */
function isPlainElsewhere(prototype: object): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf')
}

/** Finds the string or key with the lone surrogate or NUL that the text was found to have. */
function refuseText(value: unknown, path: string): void {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) refuse(path, 'a lone surrogate', 'Repair the text with toWellFormed().')
    if (value.includes('\0')) refuse(path, 'a NUL character', 'Remove it; several stores cannot keep it.')
    return
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, field] of Object.entries(value)) {
    const at = fieldPath(value, path, key)
    if (!Array.isArray(value)) refuseText(key, at)
    refuseText(field, at)
  }
}

function refuse(path: string, what: string, hint: string): never {
  const where = path === '' ? 'The value itself' : `The field ${path}`
  throw new UnderpinError('invalid', `${where} is or has ${what}, which JSON does not keep`, {
    hint,
    details: { path },
  })
}

/** Whether a number's text means exactly the double that JavaScript reads. */
function isExact(token: string): boolean {
  const value = Number(token)
  if (!Number.isFinite(value) || Object.is(value, -0)) return false
  const digits = (text: string) =>
    text
      .replace(/[eE].*$/, '')
      .replace(/[-.]/g, '')
      .replace(/^0+|0+$/g, '')
  if (value === 0) return digits(token) === ''
  // Below the smallest normal double, digits are lost however few there are.
  if (Math.abs(value) < 2 ** -1022) return digits(token) === digits(String(value))
  return (
    digits(token).length <= 15 ||
    digits(token) === digits(String(value)) ||
    digits(token) === digits(value.toPrecision(17))
  )
}
