/** Answers to links: checked, audited, then streamed. */
import { isUnderpinError } from '../../error.ts'
import type { BlobStore } from '../blob/store.ts'
import { type ExportKinds, kindOf } from './kind.ts'
import type { FoundExport, Ledger } from './ledger.ts'
import type { Signer } from './link.ts'
import { type ExportRecord, keyOf } from './record.ts'
import { mediaTypes } from './run.ts'

export interface DownloadSetting {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly kinds: ExportKinds
  readonly signer: Signer
}

/** A link is a secret and its answer one tenant's data: nobody between keeps either. */
const guarded = {
  'cache-control': 'private, no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
}

export async function download(setting: DownloadSetting, request: Request): Promise<Response> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return refusal(405, 'Only GET and HEAD', { allow: 'GET, HEAD' })
  const { ledger, blobs, signer } = setting
  const grant = signer.verify(new URL(request.url).searchParams)
  if (grant === undefined) return refusal(403, 'This link is not valid')
  if (grant.expiresAt <= ledger.port.clock.now()) return refusal(410, 'This link has expired')
  const options = { signal: request.signal }
  for (;;) {
    const found = await ledger.find(keyOf(grant.tenant, grant.id), options)
    const record = found?.record
    if (found === undefined || record === undefined) return refusal(404, 'There is no such export')
    if (record.state !== 'ready' || record.content === null || isPast(record, ledger))
      return refusal(410, 'This export is not there any more')
    const content = await blobs.get(record.content, options)
    if (content === undefined) return refusal(500, 'The file of this export is missing')
    const headers = headersOf(setting, record, content.size)
    if (request.method === 'HEAD') return new Response(null, { headers })
    if (await note(ledger, found)) return new Response(content.stream(), { headers })
  }
}

/** The audit comes before the first byte, in one commit with the state that allowed it: false if that has changed. */
function note(ledger: Ledger, found: FoundExport): Promise<boolean> {
  const { record } = found
  const facts = { bytes: record.bytes, number: record.downloads + 1 }
  const next = { ...record, downloads: record.downloads + 1 }
  return ledger.change(found, next, { type: 'export.downloaded', facts })
}

function isPast({ expiresAt }: ExportRecord, { port }: Ledger): boolean {
  return expiresAt === null || expiresAt <= port.clock.now()
}

function headersOf({ kinds }: DownloadSetting, record: ExportRecord, size: number): Record<string, string> {
  return {
    ...guarded,
    'content-type': mediaTypes[record.format],
    'content-length': String(size),
    'content-disposition': disposition(`${fileName(kinds, record)}.${record.format}`),
    'accept-ranges': 'none',
  }
}

function fileName(kinds: ExportKinds, { kind, id, tenant, params, format }: ExportRecord): string {
  const plain = `${kind}-${id}`
  try {
    return kindOf(kinds, kind, format).fileName?.(tenant, params) ?? plain
  } catch (error) {
    // A kind that this process does not declare any more: its files are still there to be had.
    if (isUnderpinError(error, 'invalid')) return plain
    throw error
  }
}

/** RFC 6266: the name in ASCII, and in full as RFC 8187 writes it. */
function disposition(name: string): string {
  const safe = name.toWellFormed().replace(/[\p{Cc}/\\]/gu, '_')
  const ascii = safe.replace(/[^\x20-\x7e]|["%]/g, '_')
  const full = encodeURIComponent(safe).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `attachment; filename="${ascii}"; filename*=UTF-8''${full}`
}

function refusal(status: number, message: string, headers: Record<string, string> = {}): Response {
  return new Response(`${message}\n`, {
    status,
    headers: { ...guarded, ...headers, 'content-type': 'text/plain; charset=utf-8' },
  })
}
