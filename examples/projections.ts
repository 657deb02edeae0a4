/**
 * Projections: a cart's totals kept in the commit that appends, a list of best sellers built by a process of its own, and
 * a second version of it built beside the first and swapped in. Run: `npm run build && npx tsx examples/projections.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { events, openStore, projection } from 'underpin'

type Added = { type: 'added'; data: { sku: string; price: number } }
type Emptied = { type: 'emptied'; data: null }
type CartEvent = Added | Emptied

/** One document for each stream. An emptied cart has none. */
const totals = projection<{ items: number; sum: number }, CartEvent>({
  name: 'totals',
  version: 1,
  seed: { items: 0, sum: 0 },
  step: ({ items, sum }, event) =>
    event.type === 'emptied' ? undefined : { items: items + 1, sum: sum + event.data.price },
})

/** One document for each article, from all streams. */
const sellers = (version: number, weigh: (price: number) => number) =>
  projection<{ score: number }, CartEvent>({
    name: 'sellers',
    version,
    seed: { score: 0 },
    key: (event) => (event.type === 'added' ? event.data.sku : undefined),
    step: ({ score }, event) => ({ score: score + (event.type === 'added' ? weigh(event.data.price) : 0) }),
    fields: { score: 'number' },
    indexes: { by_score: { fields: ['score'] } },
  })

const folder = mkdtempSync(join(tmpdir(), 'underpin-projections-'))
const store = await openStore(`sqlite:${join(folder, 'app.db')}`, {
  domains: { carts: { events: events<CartEvent>(), projections: { inline: [totals] } } },
})
const carts = store.domain('carts')

await carts.log.append('cart-1', { type: 'added', data: { sku: 'lamp', price: 30 } })
await carts.log.append('cart-1', { type: 'added', data: { sku: 'bulb', price: 4 } })
// Inline: there as soon as the append is acknowledged, because it is the same commit.
assert.deepEqual((await carts.projection(totals).get('cart-1'))?.value, { items: 2, sum: 34 })

// Asynchronous: any process runs it, one at a time; whoever has written can wait until it can read.
const stop = new AbortController()
const byCount = carts.projection(sellers(1, () => 1))
const running = [byCount.run({ signal: stop.signal })]
const { position } = await carts.log.append('cart-2', { type: 'added', data: { sku: 'bulb', price: 4 } })
await byCount.waitFor(position)
const best = await byCount.list({ index: 'by_score', backwards: true, limit: 1 })
assert.deepEqual(
  best.documents.map(({ id, value }) => [id, value.score]),
  [['bulb', 2]],
)

// A new version is built beside the old one and takes its place when it has caught up; the old one is kept.
const byPrice = carts.projection(sellers(2, (price) => price))
running.push(byPrice.run({ signal: stop.signal }))
while ((await byPrice.status()).active !== 2) await new Promise((resolve) => setTimeout(resolve, 10))
assert.equal((await byPrice.get('lamp'))?.value.score, 30)
await byPrice.rollback()
assert.equal((await byPrice.get('lamp'))?.version, 1)

// Live: in the memory of this process, to be asked without waiting.
const live = await carts.projection(totals).live({ signal: stop.signal })
await live.waitFor((await carts.log.append('cart-2', { type: 'emptied', data: null })).position)
assert.equal(live.get('cart-2'), undefined)

const verified = await carts.projection(totals).verify()
assert.ok(verified.ok)
console.log(`Verified: ${verified.events} events, ${verified.keys} keys, nothing differs`)

stop.abort()
await Promise.all(running)
await store.close()
rmSync(folder, { recursive: true, force: true })
