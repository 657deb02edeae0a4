/**
 * Your transaction: an order's event, a document and a row of the application's own table, written with Drizzle, commit
 * together or not at all. On PostgreSQL inside this process (PGlite), or on the server that POSTGRES_URL names.
 * Run: `npm run build && npx tsx examples/within.ts`.
 */
import { strict as assert } from 'node:assert'
import { PGlite } from '@electric-sql/pglite'
import { sql } from 'drizzle-orm'
import { drizzle as drizzleNodePg } from 'drizzle-orm/node-postgres'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle as drizzlePGlite } from 'drizzle-orm/pglite'
import pg from 'pg'
import { collection, events, openStore } from 'underpin'
import { postgres } from 'underpin/postgres'

type OrderEvent = { type: 'placed'; data: { sku: string; quantity: number } }

const schema = `within_example_${process.pid}`
const stock = pgTable(`${schema}_stock`, { sku: text().primaryKey(), left: integer().notNull() })

const url = process.env.POSTGRES_URL
const client = url === undefined ? new PGlite() : new pg.Pool({ connectionString: url })
const db = client instanceof PGlite ? drizzlePGlite(client) : drizzleNodePg(client)
const store = await openStore(postgres(client, { schema }), {
  domains: {
    orders: {
      events: events<OrderEvent>(),
      collections: { carts: collection<{ sku: string; quantity: number }>() },
    },
  },
})
const orders = store.domain('orders')
await db.execute(
  sql`CREATE TABLE ${stock} (sku text PRIMARY KEY, "left" integer NOT NULL CHECK ("left" >= 0))`,
)
await db.insert(stock).values({ sku: 'lamp', left: 3 })

/** The stock is Drizzle's, the order is Underpin's. The domain is locked by its first commit, so that comes last. */
async function place(order: string, quantity: number): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.update(stock).set({ left: sql`${stock.left} - ${quantity}` })
    const mine = orders.within(tx)
    await mine.transaction((commit) => {
      commit.append(order, { type: 'placed', data: { sku: 'lamp', quantity } }, { expect: 'none' })
      commit.put('carts', order, { sku: 'lamp', quantity })
    })
  })
}

await place('order-1', 2)
// Too many: the table refuses, and the order is not placed. The same order again: Underpin refuses, and the stock stays.
await assert.rejects(place('order-2', 2))
await assert.rejects(place('order-1', 1))
assert.deepEqual(await db.select().from(stock), [{ sku: 'lamp', left: 1 }])
assert.equal(await orders.log.seq('order-1'), 1)
assert.equal(await orders.log.seq('order-2'), 0)
assert.equal((await orders.documents('carts').get('order-1'))?.value.quantity, 2)
console.log('Stock and orders agree:', await db.select().from(stock))

await store.close()
await db.execute(sql`DROP TABLE ${stock}`)
await db.execute(sql.raw(`DROP SCHEMA ${schema} CASCADE`))
await (client instanceof PGlite ? client.close() : client.end())
