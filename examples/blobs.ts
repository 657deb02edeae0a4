/**
 * Bytes beside the log: a picture in a directory, a reference to it in a document, an upload that goes on after a
 * restart, and the removal of what nothing refers to any more.
 * Run: `npm run build && npx tsx examples/blobs.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { collection, openStore } from 'underpin'
import { type BlobRef, collectBlobs, DirectoryBlobs, readBlob } from 'underpin/blob'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(`sqlite:${join(folder, 'app.db')}`, {
  domains: { shop: { collections: { products: collection<{ name: string; picture: BlobRef }>() } } },
})
const shop = store.domain('shop')
const blobs = await DirectoryBlobs.open(join(folder, 'blobs'), { sizeMax: 10_000_000 })

// Put the bytes first, then commit the reference: plain JSON, so it may stand anywhere in an event or a document.
const picture = await blobs.put(Buffer.from('…the bytes of a picture…'), { type: 'image/png' })
await shop.documents('products').put('lamp', { name: 'Lamp', picture })
console.log(picture)

// What is read is checked against its name as it streams; a changed or cut file ends with `damaged`.
const lamp = await shop.documents('products').get('lamp')
for await (const chunk of (await blobs.get(lamp?.value.picture as BlobRef)) ?? [])
  console.log(chunk.length, 'bytes')

// An upload is gone on with where it was acknowledged, by whichever process opens it again.
const upload = await blobs.upload('catalogue-2026')
await upload.append(Buffer.from('first half, '))
const again = await blobs.upload('catalogue-2026')
assert.equal(again.offset, 12)
await again.append(Buffer.from('second half'))
const catalogue = await again.finish({ type: 'application/pdf' })
await again.discard()
assert.equal((await readBlob(blobs, catalogue))?.toString(), 'first half, second half')

// Nobody refers to the catalogue. Here its grace time is none; leave it at its day in a real program.
await new Promise((resolve) => setTimeout(resolve, 5))
const collected = await collectBlobs(blobs, { domains: [shop], graceMs: 0 })
console.log(collected)
assert.equal(collected.removed, 1)
assert.equal(await blobs.get(catalogue), undefined)
assert.ok(await blobs.get(picture))

await store.close()
rmSync(folder, { recursive: true })
