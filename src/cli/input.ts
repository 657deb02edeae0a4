/** What comes from outside: JSON arguments, files, standard input, flags with a choice of words. */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { InvalidArgumentError } from 'commander'
import { UnderpinError } from '../index.ts'

/** A JSON value given as text, as `@file`, or as `-` for standard input. */
export async function readJson(argument: string): Promise<unknown> {
  const text =
    argument === '-'
      ? await readAll(process.stdin)
      : argument.startsWith('@')
        ? await readFile(argument.slice(1), 'utf8')
        : argument
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new UnderpinError('invalid', `The data is not JSON: ${(cause as Error).message}`, {
      hint: 'Quote it for the shell: --data \'{"n":1}\', or give --data @file.json or --data -.',
      cause,
    })
  }
}

async function readAll(stream: AsyncIterable<unknown>): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(Buffer.from(part as Uint8Array))
  return Buffer.concat(parts).toString('utf8')
}

/** The lines of a file, plain or gzip (told by its first bytes), or of standard input for `-`. */
export async function* readLines(path: string): AsyncGenerator<string> {
  const source = path === '-' ? process.stdin : createReadStream(path)
  const unpacked = path !== '-' && (await isGzip(path)) ? source.pipe(createGunzip()) : source
  if (unpacked !== source)
    source.on('error', (error: Error) => (unpacked as ReturnType<typeof createGunzip>).destroy(error))
  for await (const line of createInterface({ input: unpacked, crlfDelay: Number.POSITIVE_INFINITY }))
    yield line
}

async function isGzip(path: string): Promise<boolean> {
  for await (const part of createReadStream(path, { end: 1 })) {
    const bytes = part as Buffer
    return bytes[0] === 0x1f && bytes[1] === 0x8b
  }
  return false
}

export function wholeNumber(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0 && text.trim() !== '') return value
  throw new InvalidArgumentError('It must be a whole number.')
}

export function seconds(text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('It must be a number of seconds.')
}

/** A whole number, or one of some words. */
export function numberOr<W extends string>(...words: readonly W[]): (text: string) => number | W {
  return (text) => {
    if ((words as readonly string[]).includes(text)) return text as W
    const value = Number(text)
    if (Number.isSafeInteger(value) && value >= 0) return value
    throw new InvalidArgumentError(`It must be a whole number, or ${words.join(' or ')}.`)
  }
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
