/**
 * Subscriptions: a total kept exactly once, and a mailer that parks what it cannot send.
 * Run: `npm run build && npx tsx examples/subscriptions.ts`.
 */
import { strict as assert } from 'node:assert'
import { collection, events, openStore } from 'underpin'

type Placed = { type: 'placed'; data: { customer: string; total: number } }

const store = await openStore('memory:', {
  domains: { orders: { events: events<Placed>(), collections: { totals: collection<number>() } } },
})
const orders = store.domain('orders')

// What `tx` writes is committed together with the checkpoint: counted once, whatever dies in between.
const totals = orders.subscription({
  name: 'totals',
  mode: 'exactly-once',
  filter: { types: ['placed'] },
  async handle(item, { tx }) {
    if (item.kind !== 'event') return
    const { customer, total } = item.data
    const before = await tx.get('totals', customer)
    tx.put('totals', customer, (before?.value ?? 0) + total)
  },
})

// At least once: an effect outside of the store may be seen twice after a crash, never not at all.
let isMailServerUp = false
const sent: string[] = []
const mailer = orders.subscription({
  name: 'mailer',
  filter: { types: ['placed'] },
  retry: { attempts: 2, firstMs: 5 },
  handle(item) {
    if (item.kind !== 'event') return
    if (item.data.customer === 'bob' && !isMailServerUp) throw new Error('no route to bob')
    sent.push(item.data.customer)
  },
})

const stop = new AbortController()
const running = [totals.run({ signal: stop.signal }), mailer.run({ signal: stop.signal })]
await orders.log.append('order-1', { type: 'placed', data: { customer: 'ann', total: 20 } })
await orders.log.append('order-2', { type: 'placed', data: { customer: 'bob', total: 5 } })
await orders.log.append('order-3', { type: 'placed', data: { customer: 'ann', total: 22 } })

const until = async (holds: () => Promise<boolean>) => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}
await until(async () => (await mailer.parked()).length === 1 && sent.length === 2)
const [parked] = await mailer.parked()
console.log('parked:', parked?.change, parked?.error)
assert.deepEqual(sent, ['ann', 'ann'])

isMailServerUp = true
await mailer.replay(parked?.id)
await until(async () => (await mailer.parked()).length === 0)
assert.deepEqual(sent, ['ann', 'ann', 'bob'])

await until(async () => (await totals.status()).why.code === 'caught-up')
console.log('totals:', (await totals.status()).why.text)
assert.equal((await orders.documents('totals').get('ann'))?.value, 42)

stop.abort()
await Promise.all(running)
await store.close()
