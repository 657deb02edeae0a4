/** What an application declares of its exports: what each kind reads for a tenant, and how it becomes rows. */
import { UnderpinError } from '../../error.ts'
import { checkId, quote } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import type { FeedItem } from '../feed.ts'
import type { ExportFormat, ExportRow } from './csv.ts'
import type { ExportSource } from './source.ts'

export interface ExportKind<Params> {
  /** What it reads for a tenant: this, and `row`, are what keeps tenants apart. Called once, at the request. */
  readonly source: (tenant: string, params: Params) => ExportSource
  /**
   * The row of an event or document; undefined leaves it out. Pure: after a crash it is called again, and must give the
   * same.
   */
  readonly row: (item: FeedItem, tenant: string, params: Params) => ExportRow | undefined
  /** The columns of CSV, in order; without them, the kind can be had as NDJSON only. */
  readonly columns?: readonly string[]
  /** Begins CSV with a byte order mark, which Excel needs to read it as UTF-8; false if left out. */
  readonly byteOrderMark?: boolean
  /** The name that a download is given, without an extension; kind and id if left out. */
  readonly fileName?: (tenant: string, params: Params) => string
  /** Milliseconds from ready to expired; 7 days if left out. */
  readonly keepMs?: number
}

// biome-ignore lint/suspicious/noExplicitAny: a kind with any parameters.
export type ExportKinds = Readonly<Record<string, ExportKind<any>>>
export type ParamsOf<K> = K extends ExportKind<infer Params> ? Params : never

/** Declares a kind of export, with the type of its parameters, which are JSON. */
export function exportKind<Params = undefined>(kind: ExportKind<Params>): ExportKind<Params> {
  return kind
}

export function checkKinds(kinds: ExportKinds): void {
  for (const [name, { source, row, columns }] of Object.entries(kinds)) {
    checkId(name, 'The kind of export', limits)
    if (typeof source !== 'function' || typeof row !== 'function')
      throw new TypeError(`The kind of export ${quote(name)} needs the functions source and row`)
    if (columns !== undefined && (columns.length === 0 || new Set(columns).size !== columns.length))
      throw new UnderpinError('invalid', `The columns of export ${quote(name)} must be some, each once`)
  }
}

/** The kind of that name, if it can be had in the format; `invalid` otherwise. */
export function kindOf(kinds: ExportKinds, name: string, format: ExportFormat): ExportKind<unknown> {
  const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined
  if (kind === undefined)
    throw new UnderpinError('invalid', `There is no kind of export ${quote(name)}`, {
      hint: `Declared are: ${Object.keys(kinds).join(', ')}.`,
    })
  if (format !== 'csv' && format !== 'ndjson')
    throw new UnderpinError('invalid', `${quote(format)} is no format of exports: csv or ndjson`)
  if (format === 'csv' && kind.columns === undefined)
    throw new UnderpinError('invalid', `The kind of export ${quote(name)} has no columns, which CSV needs`, {
      hint: "Declare columns, or ask for 'ndjson'.",
    })
  return kind
}
