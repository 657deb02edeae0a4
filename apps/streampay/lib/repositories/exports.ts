/** Exports of a tenant over an Underpin domain. The tenant is a wallet: it has the streams that it sends. */
import { DirectoryBlobs } from 'underpin/blob'
import { Exports, exportKind, type SigningKey } from 'underpin/export'
import type { Activity, ExportAudit, ExportFormatName, ExportKindName, ExportRepository } from '../db.ts'
import type { StreamDomain } from '../domain.ts'
import type { StreamRecord } from '../stream.ts'

const kinds = {
  streams: exportKind({
    source: (sender) => ({ of: 'documents', collection: 'streams', index: 'by_sender', equals: [sender] }),
    columns: [
      ...['id', 'status', 'sender', 'recipient', 'currency', 'deposit', 'ratePerHour'],
      ...['settled', 'withdrawn', 'refunded', 'createdAt', 'updatedAt'],
    ],
    row: (item) => {
      if (item.kind !== 'document') return undefined
      const {
        version: _version,
        runningSince: _since,
        activeMs: _active,
        ...row
      } = item.value as StreamRecord
      return row
    },
  }),
  activity: exportKind({
    source: (sender) => ({ of: 'documents', collection: 'activity', index: 'by_sender', equals: [sender] }),
    columns: ['id', 'stream', 'type', 'at', 'amount'],
    row: (item) => {
      if (item.kind !== 'document') return undefined
      const { id, stream, type, at, amount } = item.value as Activity
      return { id, stream, type, at, amount }
    },
  }),
}

export interface ExportSettings {
  /** The folder of the files; all processes must reach it. */
  readonly folder: string
  /** Sign the links with the first, accept those of all. */
  readonly keys: readonly SigningKey[]
}

export class DomainExports implements ExportRepository {
  readonly #exports: Exports<typeof kinds>

  private constructor(exports: Exports<typeof kinds>) {
    this.#exports = exports
  }

  static async open(domain: StreamDomain, { folder, keys }: ExportSettings): Promise<DomainExports> {
    return new DomainExports(new Exports(domain, { blobs: await DirectoryBlobs.open(folder), keys, kinds }))
  }

  request(
    tenant: string,
    request: { readonly kind: ExportKindName; readonly format: ExportFormatName; readonly id?: string },
  ) {
    return this.#exports.request(tenant, { ...request, requestedBy: tenant })
  }

  get(tenant: string, id: string) {
    return this.#exports.get(tenant, id)
  }

  list(tenant: string) {
    return this.#exports.list(tenant)
  }

  async link(tenant: string, id: string, url: string) {
    if ((await this.#exports.get(tenant, id))?.state !== 'ready') return undefined
    return this.#exports.link(tenant, id, { url })
  }

  download(request: Request) {
    return this.#exports.handle(request)
  }

  async audit(tenant: string) {
    const found: ExportAudit[] = []
    for await (const { seq, type, at, data } of this.#exports.audit(tenant))
      found.push({ seq, type, at, export: data.export })
    return found
  }

  work(signal: AbortSignal) {
    return this.#exports.work({ signal, pollMs: 200 })
  }
}
