/** The life of one export, as the kill test's processes lead it, and what is true of it when nobody was killed. */
import { DirectoryBlobs } from '../../src/blob.ts'
import { Exports, exportKind } from '../../src/export.ts'
import { collection, type Domain } from '../../src/index.ts'

export interface Letter {
  readonly tenant: string
  readonly subject: string
  readonly pages: number
}
export const domains = {
  app: {
    collections: {
      letters: collection<Letter>({
        fields: { tenant: 'string' },
        indexes: { by_tenant: { fields: ['tenant'] } },
      }),
    },
  },
}

export const kinds = {
  letters: exportKind({
    source: (tenant) => ({ of: 'documents', collection: 'letters', index: 'by_tenant', equals: [tenant] }),
    columns: ['id', 'subject', 'pages'],
    row: (item) => {
      if (item.kind !== 'document') return undefined
      const { subject, pages } = item.value as Letter
      return { id: item.id, subject, pages }
    },
  }),
}

export const tenant = 'acme & co'
export const keys = [{ id: 'one', secret: 'a secret for the tests that is long enough' }]
export const ttlMs = 150
export const linkUrl = 'https://app.example.org/exports'

export async function openExports(domain: Domain | object, folder: string): Promise<Exports<typeof kinds>> {
  const blobs = await DirectoryBlobs.open(folder)
  return new Exports(domain as Domain, { blobs, kinds, keys, ttlMs, partBytes: 16_000 })
}

/** Requests it, works until it is ready, downloads it; all of it again if it was done before. */
export async function live(exports: Exports<typeof kinds>, id: string): Promise<Buffer> {
  await exports.request(tenant, { kind: 'letters', format: 'csv', id, requestedBy: 'ada' })
  const over = new AbortController()
  const working = exports.work({ signal: over.signal, pollMs: 20 })
  while ((await exports.get(tenant, id))?.state !== 'ready')
    await new Promise((resolve) => setTimeout(resolve, 10))
  over.abort()
  await working
  const link = await exports.link(tenant, id, { url: linkUrl })
  const response = await exports.handle(new Request(link as string))
  return Buffer.from(await response.arrayBuffer())
}

/** 2,500 letters of the tenant, which make three pages and so three parts, and some of another one. */
export async function fill(domain: Domain<never, { letters: Letter }>): Promise<void> {
  for (let from = 0; from < 2_600; from += 100) {
    await domain.transaction((tx) => {
      for (let i = from; i < from + 100; i++) {
        const owner = i % 26 === 0 ? 'another' : tenant
        tx.put('letters', `letter-${i}`, { tenant: owner, subject: `=Dear, "${i}"`, pages: i - 1_000 })
      }
    })
  }
}
