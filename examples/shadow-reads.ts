/**
 * Before a cutover: every read is made on the copy too and compared, and commits wait until the copy has them.
 * Run: `npm run build && npx tsx examples/shadow-reads.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const backends = { old: `sqlite:${join(folder, 'old.db')}`, new: `sqlite:${join(folder, 'new.db')}` }
const domains = { orders: { collections: { drafts: {} } } }
const store = await openStore(backends, { domains, attendEveryMs: 50, presence: { name: 'example' } })
const drafts = store.domain('orders').documents('drafts')
for (let i = 0; i < 20; i++) await drafts.put(`draft-${i}`, { items: i })

const move = await store.move('orders', { to: 'new' })
await move.start({ settings: { shadow: 1, mirror: 'await' } })
await move.catchUp()
// Processes learn what is set when they look the next time, and commits wait when the copy is near.
while (store.attendance('orders')?.await?.isDegraded !== false) await pause(20)

await drafts.put('draft-3', { items: 33 })
const copy = await store.backends.get('new')?.fence('orders')
const source = await store.backends.get('old')?.fence('orders')
assert.equal(copy?.head, source?.head) // acknowledged, so the copy has it

for (let i = 0; i < 20; i++) await drafts.get(`draft-${i}`)
await drafts.list({ prefix: 'draft-', limit: 10 })
while ((store.attendance('orders')?.shadow?.counts.equal ?? 0) < 21) await pause(20)
const { counts } = store.attendance('orders')?.shadow ?? {}
console.log('shadow reads', counts)
assert.equal(counts?.divergence, 0)

await store.close()
rmSync(folder, { recursive: true })
