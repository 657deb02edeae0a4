/**
 * A tenant's data as a file: requested, made by a worker, downloaded by a signed link, with an audit of all of it.
 * Run: `npm run build && npx tsx examples/exports.ts`.
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { collection, openStore } from 'underpin'
import { DirectoryBlobs } from 'underpin/blob'
import { Exports, exportKind } from 'underpin/export'

interface Invoice {
  readonly tenant: string
  readonly customer: string
  readonly total: number
}

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(`sqlite:${join(folder, 'app.db')}`, {
  domains: {
    shop: {
      collections: {
        invoices: collection<Invoice>({
          fields: { tenant: 'string' },
          indexes: { by_tenant: { fields: ['tenant'] } },
        }),
      },
    },
  },
})
const shop = store.domain('shop')
await shop.documents('invoices').put('1', { tenant: 'acme', customer: '=HYPERLINK("evil")', total: 42 })
await shop.documents('invoices').put('2', { tenant: 'other', customer: 'not for acme', total: 7 })

const exports = new Exports(shop, {
  blobs: await DirectoryBlobs.open(join(folder, 'blobs')),
  keys: [{ id: '2026', secret: randomBytes(32) }],
  kinds: {
    invoices: exportKind({
      source: (tenant) => ({ of: 'documents', collection: 'invoices', index: 'by_tenant', equals: [tenant] }),
      columns: ['id', 'customer', 'total'],
      row: (item) => {
        if (item.kind !== 'document') return undefined
        const { customer, total } = item.value as Invoice
        return { id: item.id, customer, total }
      },
    }),
  },
})

// In a process of its own, or in several: an export is made by one, and gone on with by another if that one dies.
const end = new AbortController()
const working = exports.work({ signal: end.signal, pollMs: 20 })

const { id } = await exports.request('acme', { kind: 'invoices', format: 'csv', requestedBy: 'ada' })
while ((await exports.get('acme', id))?.state !== 'ready')
  await new Promise((resolve) => setTimeout(resolve, 20))

// `exports.handle` is a Fetch handler: give it to whatever serves the URL.
const link = await exports.link('acme', id, { url: 'https://shop.example.org/exports' })
const response = await exports.handle(new Request(link as string))
const text = await response.text()
console.log(text)
assert.equal(text, `id,customer,total\r\n1,"'=HYPERLINK(""evil"")",42\r\n`)

// Another tenant's export is not there, and a link that was changed is worth nothing.
assert.equal(await exports.get('other', id), undefined)
const forged = await exports.handle(new Request((link as string).replace('tenant=acme', 'tenant=other')))
assert.equal(forged.status, 403)

const audit: string[] = []
for await (const { type } of exports.audit('acme')) audit.push(type)
console.log(audit)
assert.deepEqual(audit, ['export.requested', 'export.ready', 'export.downloaded'])

end.abort()
await working
await store.close()
rmSync(folder, { recursive: true })
