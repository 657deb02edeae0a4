/**
 * Idempotency: a client that got no answer asks again, and the order is placed once. First in plain code, then as an HTTP
 * handler from Request to Response. Run: `npm run build && npx tsx examples/idempotency.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { events, idempotencyToken, openStore } from 'underpin'
import { idempotent } from 'underpin/http'

type OrderEvent = { type: 'placed'; data: { sku: string; quantity: number } }

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const url = `sqlite:${join(folder, 'app.db')}`
const domains = { orders: { events: events<OrderEvent>() } }
let store = await openStore(url, { domains })
let orders = store.domain('orders')

/** What the work returns is kept in the same commit as what it wrote. */
function place(key: string, request: OrderEvent['data']) {
  return orders.once(idempotencyToken(['customer-7', 'place'], key), request, (tx) => {
    tx.append(`order-${key}`, { type: 'placed', data: request }, { expect: 'none' })
    return { order: `order-${key}` }
  })
}

const first = await place('a', { sku: 'lamp', quantity: 2 })
assert.equal(first.isReplay, false)
await store.close()

// After a restart, the same request again: the same answer, and no second order. Another request: refused.
store = await openStore(url, { domains })
orders = store.domain('orders')
const again = await place('a', { quantity: 2, sku: 'lamp' })
assert.deepEqual([again.value, again.isReplay], [first.value, true])
await assert.rejects(place('a', { sku: 'lamp', quantity: 3 }), { code: 'mismatch' })

/** The same for HTTP: of a fetch handler, a route of Next, Deno, Bun; adapters for Hono, Express and Fastify are beside it. */
const post = idempotent(orders, { tenant: (request) => request.headers.get('x-customer') ?? undefined })(
  async (request, tx) => {
    const order = (await request.json()) as OrderEvent['data']
    if (order.quantity < 1) return Response.json({ error: 'quantity' }, { status: 400 })
    tx.append('orders', { type: 'placed', data: order })
    return Response.json({ placed: order.sku }, { status: 201 })
  },
)

const send = (key: string | undefined, quantity: number) =>
  post(
    new Request('http://shop.test/orders', {
      method: 'POST',
      headers: { 'x-customer': '7', ...(key === undefined ? {} : { 'idempotency-key': key }) },
      body: JSON.stringify({ sku: 'lamp', quantity }),
    }),
  )
for (const [key, quantity, status, replayed] of [
  ['"8e03978e"', 1, 201, null],
  ['"8e03978e"', 1, 201, 'true'],
  ['"8e03978e"', 2, 422, null],
  [undefined, 1, 400, null],
] as const) {
  const response = await send(key, quantity)
  console.log(key, quantity, '->', response.status, await response.text())
  assert.deepEqual([response.status, response.headers.get('idempotency-replayed')], [status, replayed])
}
assert.equal(await orders.log.seq('orders'), 1)

await store.close()
rmSync(folder, { recursive: true })
