/** One text for a value, whatever the order of its keys: what fingerprints are made from. */
import { createHash } from 'node:crypto'
import { compareText } from '../../model/key.ts'
import type { Limits } from '../../model/limit.ts'
import { encodeValue } from '../../model/value.ts'

/** JSON with the keys of every object in order of code point, of any size; `invalid` with the path for what JSON does not keep. */
export function canonicalJson(value: unknown, limits: Limits): string {
  // Read back from its text, no getter or proxy can give two answers.
  return textOf(JSON.parse(encodeValue(value, { ...limits, valueBytes: Number.POSITIVE_INFINITY })))
}

/** 64 hex digits: equal for equal requests, whatever the order of their keys. */
export function fingerprintOf(request: unknown, limits: Limits): string {
  return createHash('sha256').update(canonicalJson(request, limits)).digest('hex')
}

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`
  const fields = Object.entries(value).sort(([a], [b]) => compareText(a, b))
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${textOf(field)}`).join(',')}}`
}
