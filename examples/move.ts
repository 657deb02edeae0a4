/**
 * Moves a domain to another store while it is written to: there, back, there again, and for good.
 * Run: `npm run build && npx tsx examples/move.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-move-'))
// The application names both stores, before the move begins; which of them holds the domain, it never says.
const store = await openStore(
  { old: `sqlite:${join(folder, 'old.db')}`, new: `sqlite:${join(folder, 'new.db')}` },
  { domains: { orders: {} } },
)
const orders = store.domain('orders')

// It goes on writing through everything below, and sees nothing of it but a commit that takes a little longer.
const stop = new AbortController()
let written = 0
let longestMs = 0
const writing = (async () => {
  while (!stop.signal.aborted) {
    const since = performance.now()
    await orders.log.append(`order-${written % 7}`, { type: 'noted', data: written })
    longestMs = Math.max(longestMs, performance.now() - since)
    written++
    await pause(1)
  }
})()

// The operator: here in the same process, as well from any other, or with `underpin move`.
const move = await store.move('orders', { to: 'new' })
await move.start({ by: 'the example' })
const copying = move.run({ signal: stop.signal })
await move.catchUp()
const { compared, differences } = await move.verify()
console.log(`${compared} records compared, ${differences.length} differences`)
assert.deepEqual(differences, [])

for (const step of ['cutover', 'rollback', 'cutover'] as const) {
  const { from, to, head, pauseMs } = await move[step]({ by: 'the example' })
  console.log(`${step}: ${from} → ${to} at ${head}, ${pauseMs?.toFixed(1)} ms`)
  await pause(100) // The application writes on the other side now.
  await move.catchUp()
}
assert.equal((await move.status()).authority, 'new')
await move.complete({ by: 'the example' })
assert.equal((await move.status()).phase, 'completed')

stop.abort()
await Promise.all([writing, copying])
console.log(`${written} writes acknowledged, the longest took ${longestMs.toFixed(1)} ms`)

// Every acknowledged write is there once, in its order.
for (let stream = 0; stream < 7; stream++) {
  const found: unknown[] = []
  for await (const { data } of orders.log.events(`order-${stream}`)) found.push(data)
  const wanted = Array.from({ length: Math.ceil((written - stream) / 7) }, (_, n) => stream + n * 7)
  assert.deepEqual(found, wanted)
}
await store.close()
rmSync(folder, { recursive: true })
