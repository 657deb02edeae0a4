/** Exports: a tenant's data as CSV or NDJSON, made in steps, kept as a blob, downloaded by a signed link, audited. */
export type { ExportFormat, ExportRow } from './facet/export/csv.ts'
export {
  type ExportRequest,
  Exports,
  type ExportsOptions,
  type LinkOptions,
  type WorkOptions,
} from './facet/export/exports.ts'
export { type ExportJob, type ExportJobs, exportJob } from './facet/export/job.ts'
export { type ExportKind, type ExportKinds, exportKind } from './facet/export/kind.ts'
export type { SigningKey } from './facet/export/link.ts'
export type { ExportEvent, ExportInfo, ExportState } from './facet/export/record.ts'
export type { ExportSource } from './facet/export/source.ts'
