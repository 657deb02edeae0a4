/** What comes from outside: JSON given as an argument, a file or standard input, and flags with a choice of words. */
import { readFile } from 'node:fs/promises'
import { InvalidArgumentError } from 'commander'
import { isUnderpinError, type Limits, limits, parseJsonText, UnderpinError } from '../index.ts'

/** A JSON value given as text, as `@file`, or as `-` for standard input. */
export async function readJson(argument: string): Promise<unknown> {
  const text = await textOf(argument)
  try {
    return parseJson(text)
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    throw new UnderpinError('invalid', `The data cannot be taken: ${error.message}`, {
      hint:
        error.hint ?? 'Quote it for the shell: --data \'{"n":1}\', or give --data @file.json or --data -.',
      cause: error,
    })
  }
}

/** The value of a JSON text: `invalid` if it is none, or if reading it would lose a digit. */
export function parseJson(text: string): unknown {
  // Only a number of many digits or with an exponent can lose one, so most texts are read once.
  if (/\d[\d.]{15}|\d[eE]/.test(text)) return JSON.parse(parseJsonText(text, anySize))
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new UnderpinError('invalid', `Not JSON: ${(cause as Error).message}`, { cause })
  }
}

/** The size of a value is judged where it is written. */
const anySize: Limits = { ...limits, valueBytes: Number.MAX_SAFE_INTEGER }

async function textOf(argument: string): Promise<string> {
  if (argument === '-') return readAll(process.stdin)
  if (!argument.startsWith('@')) return argument
  const path = argument.slice(1)
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw unreadable(path, error)
  }
}

async function readAll(stream: AsyncIterable<unknown>): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(Buffer.from(part as Uint8Array))
  return Buffer.concat(parts).toString('utf8')
}

export function unreadable(path: string, cause: unknown): UnderpinError {
  return new UnderpinError('invalid', `${path} cannot be read: ${(cause as Error).message}`, { cause })
}

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0 && text.trim() !== '') return value
  throw new InvalidArgumentError('It must be a whole number.')
}

export function positiveNumber(text: string): number {
  const value = wholeNumber(text)
  if (value > 0) return value
  throw new InvalidArgumentError('It must be at least 1.')
}

export function seconds(text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('It must be a number of seconds.')
}

export function secondsOrNone(text: string): number {
  return text.trim() !== '' && Number(text) === 0 ? 0 : seconds(text)
}

export function part(text: string): number {
  const value = Number(text)
  if (value >= 0 && value <= 1 && text.trim() !== '') return value
  throw new InvalidArgumentError('It must be a part from 0 to 1.')
}

/** A whole number, or one of some words. */
export function numberOr<W extends string>(...words: readonly W[]): (text: string) => number | W {
  return (text) => {
    if ((words as readonly string[]).includes(text)) return text as W
    const value = Number(text)
    if (Number.isSafeInteger(value) && value >= 0 && text.trim() !== '') return value
    throw new InvalidArgumentError(`It must be a whole number, or ${words.join(' or ')}.`)
  }
}

/** A time in ISO 8601, as milliseconds since 1970. */
export function time(text: string): number {
  const value = Date.parse(text)
  if (!Number.isNaN(value)) return value
  throw new InvalidArgumentError('It must be a time, for example 2030-01-31T12:00:00Z.')
}

/** A field value: JSON where it is JSON, else the text itself. */
export function fieldValue(text: string): string | number | boolean | null {
  try {
    const value: unknown = JSON.parse(text)
    if (value === null || ['string', 'number', 'boolean'].includes(typeof value))
      return value as string | number | boolean | null
  } catch {
    // Not JSON, so it is the text.
  }
  return text
}

export function fieldValues(text: string): readonly (string | number | boolean | null)[] {
  return text.split(',').map(fieldValue)
}
