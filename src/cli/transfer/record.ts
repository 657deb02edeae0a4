/** The lines of an export, and the simpler ones that an import takes as well. */
import { type Change, isUnderpinError, UnderpinError } from '../../index.ts'
import { parseJson } from '../input.ts'

/** The first line of an export. */
export interface Header {
  readonly underpin: 1
  readonly kind: 'export'
  readonly domain: string
  /** Names the copy of the domain that was read: an export goes on only with the same one. */
  readonly incarnation: string
  /** Streams that were truncated when the export began: such an export cannot be imported. Left out for none. */
  readonly truncatedStreams?: number
}

/** Its last line. */
export interface Trailer {
  readonly kind: 'end'
  readonly domain: string
  /** Lines between header and trailer. */
  readonly records: number
  readonly head: number
  /** The digest of the domain at this head; null if writers moved the domain on before it could be read. */
  readonly digest: string | null
}

/** What a line says. */
export type Line =
  | {
      readonly kind: 'event'
      readonly stream: string
      readonly type: string
      readonly data: unknown
      readonly meta?: Record<string, unknown> | null
    }
  | {
      readonly kind: 'document'
      readonly collection: string
      readonly id: string
      readonly value: unknown
      readonly expiresAt?: number | null
    }
  | { readonly kind: 'tombstone'; readonly collection: string; readonly id: string }
  | Header
  | Trailer

/** The line of a change. Its data goes in as the text that it is stored as. */
export function toLine(change: Change): string {
  const { kind, position, commit, at } = change
  const place = `"kind":"${kind}","position":${position},"commit":${commit},"at":${at}`
  if (change.kind === 'event') {
    const { stream, seq, type, data, meta } = change
    const metaPart = meta === null ? '' : `,"meta":${meta}`
    return `{${place},"stream":${JSON.stringify(stream)},"seq":${seq},"type":${JSON.stringify(type)},"data":${data}${metaPart}}\n`
  }
  const name = `"collection":${JSON.stringify(change.collection)},"id":${JSON.stringify(change.id)}`
  if (change.kind === 'tombstone') return `{${place},${name}}\n`
  return `{${place},${name},"expiresAt":${change.expiresAt},"value":${change.data}}\n`
}

/** What a line says; undefined for an empty one. `invalid` if it is none of what an import takes. */
export function parseLine(text: string): Line | undefined {
  if (text.trim() === '') return undefined
  const value = parseJson(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UnderpinError('invalid', 'It is no object')
  const line = value as Record<string, unknown>
  if (line.underpin !== undefined) return toHeader(line)
  if (line.kind === 'end') return line as unknown as Trailer
  if (typeof line.stream === 'string' && typeof line.type === 'string' && 'data' in line)
    return { ...line, kind: 'event' } as Line
  const document = toDocument(line)
  if (document !== undefined) return document
  throw new UnderpinError('invalid', 'It has neither stream, type and data, nor collection, id and data')
}

function toHeader(line: Record<string, unknown>): Header {
  if (line.underpin === 1 && line.kind === 'export') return line as unknown as Header
  throw new UnderpinError('unsupported', 'It begins an export in a form that this version cannot read', {
    hint: 'Update the package.',
  })
}

function toDocument(line: Record<string, unknown>): Line | undefined {
  if (typeof line.collection !== 'string' || typeof line.id !== 'string') return undefined
  if (line.kind === 'tombstone') return line as Line
  const value = 'value' in line ? line.value : line.data
  return value === undefined ? undefined : ({ ...line, kind: 'document', value } as Line)
}

/** Runs, and names the line in what goes wrong. */
export function atLine<T>(line: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw lineError(line, error)
  }
}

export function lineError(line: number, error: unknown): unknown {
  if (!isUnderpinError(error)) return error
  const hint = error.hint === undefined ? '' : `${error.hint} `
  return new UnderpinError(error.code, `Line ${line}: ${error.message}`, {
    hint: `${hint}Nothing of its commit was written. Mend the line and run the same command again.`,
    details: { ...error.details, line },
    cause: error,
  })
}
