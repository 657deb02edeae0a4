/**
 * The README's program: events and documents of one domain, changed together, in a file.
 * Run: `npm run build && npx tsx examples/orders.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { collection, events, isUnderpinError, openStore } from 'underpin'

type OrderEvent = { type: 'placed'; data: { total: number } } | { type: 'paid'; data: { by: string } }

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(`sqlite:${join(folder, 'app.db')}`, {
  domains: {
    orders: {
      events: events<OrderEvent>(),
      collections: {
        customers: collection<{ email: string }>({
          fields: { email: 'string' },
          indexes: { by_email: { fields: ['email'], unique: true } },
        }),
      },
    },
  },
})
const orders = store.domain('orders')

await orders.log.append('order-1', { type: 'placed', data: { total: 42 } }, { expect: 'none' })
await orders.transaction(async (tx) => {
  const customer = await tx.get('customers', 'ada')
  tx.append('order-1', { type: 'paid', data: { by: customer?.id ?? 'ada' } })
  tx.put('customers', 'ada', { email: 'ada@example.org' })
})
for await (const event of orders.log.events('order-1')) console.log(event.seq, event.type, event.data)

// A second order under the same name, and a second customer with the same address: nothing is written of either.
const again = orders.log.append('order-1', { type: 'placed', data: { total: 1 } }, { expect: 'none' })
await assert.rejects(again, (error) => isUnderpinError(error, 'conflict'))
const taken = orders.documents('customers').put('eve', { email: 'ada@example.org' })
await assert.rejects(taken, (error) => isUnderpinError(error, 'conflict'))
assert.equal(await orders.log.seq('order-1'), 2)

await store.close()
rmSync(folder, { recursive: true })
