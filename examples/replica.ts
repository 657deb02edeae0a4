/**
 * A standing copy of a domain on another backend: kept up while the application writes, gone on with by whoever calls
 * `follow` next, compared record by record, and given up.
 * Run: `npm run build && npx tsx examples/replica.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(
  { main: 'memory:', copy: `sqlite:${join(folder, 'copy.db')}` },
  { domains: { orders: {} } },
)
const orders = store.domain('orders')
for (let n = 0; n < 100; n++) await orders.log.append(`order-${n % 10}`, { type: 'placed', data: { n } })

// Copies what is there, then what comes, until the signal aborts.
const stop = new AbortController()
let copied = 0
const following = store.follow('orders', {
  to: 'copy',
  signal: stop.signal,
  onProgress({ state, position, head, records, recordsPerSecond }) {
    console.log(`${state}: ${position} of ${head}, ${records} records, ${Math.round(recordsPerSecond)}/s`)
    copied = position
  },
})
await orders.log.append('order-0', { type: 'paid', data: {} })
while (copied < (await orders.head())) await new Promise((resolve) => setTimeout(resolve, 20))
stop.abort()
await following

// Written while nobody followed; the next follower begins there.
await orders.log.append('order-1', { type: 'paid', data: {} })
const replica = await store.move('orders', { to: 'copy' })
await replica.catchUp()
const { differences, isEqual } = await replica.verify()
assert.deepEqual({ differences, isEqual }, { differences: [], isEqual: true })

// Ends it: the copy is poisoned and never opens.
await replica.cancel()
assert.equal((await replica.status()).phase, 'none')
await store.close()
rmSync(folder, { recursive: true })
