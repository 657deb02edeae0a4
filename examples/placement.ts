/**
 * Placement: a flag says where a new domain is created and where it is wanted; who holds it is told by `health`.
 * Run: `npm run build && npx tsx examples/placement.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const backends = { first: `sqlite:${join(folder, 'a.db')}`, second: `sqlite:${join(folder, 'b.db')}` }
const domains = { orders: {}, chat: {} }

// `env: process.env` in an application.
let store = await openStore(backends, { domains, env: { CHAT_STORE: 'second' } })
const placed = async () => {
  const health = await store.health()
  return health.domains.map(({ domain, authority, problems }) => ({ domain, authority, problems }))
}
assert.deepEqual(await placed(), [
  { domain: 'orders', authority: 'first', problems: [] },
  { domain: 'chat', authority: 'second', problems: [] },
])
await store.domain('orders').log.append('order-1', { type: 'placed', data: { total: 42 } })
await store.close()

// Another flag moves nothing: the difference is told.
store = await openStore(backends, { domains, env: { ORDERS_STORE: 'second', CHAT_STORE: 'second' } })
const [orders] = await placed()
console.log(orders?.problems[0])
assert.equal(orders?.authority, 'first')

// A move does, while the application goes on.
const move = await store.move('orders', { to: 'second' })
await move.start({ by: 'ada' })
await move.catchUp()
await move.verify()
await move.cutover({ by: 'ada' })
assert.equal((await placed())[0]?.authority, 'second')
assert.equal((await store.domain('orders').log.read('order-1')).events.length, 1)

await store.close()
rmSync(folder, { recursive: true })
