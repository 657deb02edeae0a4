/**
 * A copy that something else wrote to: found, named, and put right, while the application goes on.
 * Run: `npm run build && npx tsx examples/verify.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from '@photostructure/sqlite'
import { openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const file = join(folder, 'new.db')
const store = await openStore(
  { old: `sqlite:${join(folder, 'old.db')}`, new: `sqlite:${file}` },
  { domains: { shop: { collections: { prices: {} } } } },
)
const shop = store.domain('shop')
const move = await store.move('shop', { to: 'new' })
await move.start()
for (const id of ['lamp', 'table', 'chair']) await shop.documents('prices').put(id, { euro: 100 })
await move.catchUp()
assert.equal((await move.verify()).isEqual, true)

// Somebody who does not know that the new database is only a copy corrects a price in it, and deletes a row.
const other = new DatabaseSync(file)
other.exec(`UPDATE shop__d_prices SET data = '{"euro":1}' WHERE id = 'lamp'`)
other.exec(`DELETE FROM shop__d_prices WHERE id = 'chair'`)
other.close()

const found = await move.verify()
for (const { kind, record, foreign } of found.differences)
  console.log(`${kind}: ${record} (proof: ${foreign})`)
assert.equal(found.count, 2)
assert.equal(found.isForeign, true)

// What would be done, then doing it: forwards only, and never at the authority.
console.log((await move.repair({ dryRun: true })).steps)
const { isDone, after } = await move.repair()
assert.equal(isDone, true)
assert.equal(after?.isEqual, true)

await store.close()
rmSync(folder, { recursive: true })
