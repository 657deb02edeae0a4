/** Rows as text: CSV by RFC 4180, safe to open in a spreadsheet, or NDJSON. */
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'
import { encodeValue } from '../../model/value.ts'

/** A row of an export, by column. */
export type ExportRow = Readonly<Record<string, unknown>>
export type ExportFormat = 'csv' | 'ndjson'

/** The line of a row, with its end. */
export function lineOf(format: ExportFormat, columns: readonly string[], row: ExportRow): string {
  if (format === 'ndjson') return `${encodeValue(row)}\n`
  return csvLine(columns.map((column) => (Object.hasOwn(row, column) ? row[column] : null)))
}

/** What stands before the first row. */
export function headOf(format: ExportFormat, columns: readonly string[], hasMark: boolean): string {
  return format === 'ndjson' ? '' : `${hasMark ? '\ufeff' : ''}${csvLine(columns)}`
}

export function csvLine(values: readonly unknown[]): string {
  return `${values.map(csvCell).join(',')}\r\n`
}

/**
 * A cell. Numbers and booleans stay what they are; null and undefined are empty; objects are their JSON. A text that a
 * spreadsheet would take for a formula gets an apostrophe before it, as OWASP advises against CSV injection.
 */
export function csvCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return String(value)
    throw new UnderpinError('invalid', `The number ${value} cannot be a cell`, {
      hint: 'Use null or a text.',
    })
  }
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return quoted(neutral(value))
  if (typeof value === 'object') return quoted(neutral(encodeValue(value)))
  throw new UnderpinError('invalid', `A ${typeof value} cannot be a cell: ${quote(value)}`, {
    hint: 'Give a text, a number, a boolean, null or JSON.',
  })
}

/** What begins a formula, full-width forms included, also behind blanks and invisible characters, which some programs skip. */
const formula = /^[\s\p{Cf}\p{Cc}]*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b]|^[\t\r\n]/u

function neutral(text: string): string {
  return formula.test(text) ? `'${text}` : text
}

/** Also around what separates cells elsewhere, so that no cell can begin in the middle of another one. */
const special = /[",;\t\r\n|]|^\s|\s$/

function quoted(text: string): string {
  return special.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
