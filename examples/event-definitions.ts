/**
 * Three releases of an application on one file: each reads what the earlier ones wrote.
 * Run: `npm run build && npx tsx examples/event-definitions.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { becomes, defineEvents, event, isUnderpinError, openStore, retired, typed } from 'underpin'
import { z } from 'zod'

// The first release: amounts in euros, and a type whose name has a mistake in it.
const first = defineEvents({
  placed: event<{ amount: number }>(),
  payed: event<{ by: string }>(),
})

// The second: cents. What was stored stays as it is, and is read through the upcaster.
const second = defineEvents({
  placed: event({
    schema: typed<{ cents: number }>(),
    version: 2,
    upcast: { 1: (old: { amount: number }) => ({ cents: old.amount * 100 }) },
  }),
  payed: event<{ by: string }>(),
})

// The third: a schema that validates, a currency, and `payed` is read as two other events.
const third = defineEvents({
  placed: event({
    schema: z.object({ cents: z.number().int(), currency: z.string() }),
    version: 3,
    upcast: {
      1: (old: { amount: number }) => ({ cents: old.amount * 100 }),
      2: (old: { cents: number }) => ({ ...old, currency: 'EUR' }),
    },
  }),
  paid: event<{ by: string }>(),
  closed: event<null>(),
  payed: retired({
    1: (old: { by: string }) => becomes({ type: 'paid', data: old }, { type: 'closed', data: null }),
  }),
})

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const url = `sqlite:${join(folder, 'app.db')}`
try {
  {
    await using store = await openStore(url, { domains: { orders: { events: first } } })
    const { log } = store.domain('orders')
    await log.append('order-1', { type: 'placed', data: { amount: 42 } })
    await log.append('order-1', { type: 'payed', data: { by: 'ada' } })
  }
  {
    await using store = await openStore(url, { domains: { orders: { events: second } } })
    await store.domain('orders').log.append('order-2', { type: 'placed', data: { cents: 250 } })
  }
  await using store = await openStore(url, { domains: { orders: { events: third } } })
  const { log } = store.domain('orders')
  const seen: unknown[] = []
  for (const stream of ['order-1', 'order-2'])
    for await (const { seq, type, data } of log.events(stream)) seen.push([stream, seq, type, data])
  console.log(seen)
  assert.deepEqual(seen, [
    ['order-1', 1, 'placed', { cents: 4200, currency: 'EUR' }],
    ['order-1', 2, 'paid', { by: 'ada' }],
    ['order-1', 2, 'closed', null],
    ['order-2', 1, 'placed', { cents: 250, currency: 'EUR' }],
  ])

  // What does not fit is refused before anything is written.
  const misfit = log.append('order-3', { type: 'placed', data: { cents: 0.5, currency: 'EUR' } })
  await assert.rejects(misfit, (error) => isUnderpinError(error, 'invalid'))
  assert.equal(await log.seq('order-3'), 0)
} finally {
  rmSync(folder, { recursive: true })
}
