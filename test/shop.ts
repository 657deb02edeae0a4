/** The shop that the facets are tested with: its domains, on memory and on a file, under a clock that the test sets. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { z } from 'zod'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { type Clock, collection, events, openStore, systemClock } from '../src/index.ts'

let folder: string
/** The stores that the test opened, closed when it ends. */
export const stores: { close(): Promise<void> }[] = []
/** What the injected clock says. */
export const time = { now: 0 }
export const clock: Clock = { ...systemClock, now: () => time.now }

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-facets-'))
  time.now = 1_000_000
})

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  rmSync(folder, { recursive: true, force: true })
})

export type Placed = { type: 'Placed'; data: { total: number }; meta?: { by: string } }
type Paid = { type: 'Paid'; data: null }
interface Order {
  readonly total: number
  readonly status?: string | null
  readonly code?: string
}

const userSchema = z.object({ email: z.email(), address: z.object({ city: z.string() }).optional() })
const domains = {
  shop: {
    events: events<Placed | Paid>(),
    collections: {
      orders: collection<Order>({
        fields: { status: 'string', total: 'number', code: 'string' },
        indexes: {
          by_status: { fields: ['status', 'total'] },
          one_code: { fields: ['code'], unique: true },
          one_open: { fields: ['total'], unique: true, where: { status: 'open' } },
        },
      }),
      users: collection({ schema: userSchema }),
      counters: collection<number>(),
    },
  },
  chat: {},
} as const

export async function open(target: string | Backend, deadlineMs = 10_000) {
  const store = await openStore(target, { domains, clock, deadlineMs })
  stores.push(store)
  return store
}

export const failing = (code: string) => expect.objectContaining({ code })
export const placed = (total: number): Placed => ({ type: 'Placed', data: { total } })

export async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of from) items.push(item)
  return items
}

/** The same place each time within a test, so that a second `open` is a second process or a restart. */
export const places: [string, () => () => string | Backend][] = [
  [
    'memory',
    () => {
      const backend = memory()
      return () => backend
    },
  ],
  ['sqlite', () => () => `sqlite:${join(folder, 'app.db')}`],
]
