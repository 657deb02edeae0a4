/** A page of the feed costs a PostgreSQL follower as many round trips whatever number of streams and documents is in it. */
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import { postgres } from '../../src/backend/postgres/postgres.ts'
import { openStore, type Store } from '../../src/index.ts'
import { start } from '../../src/move/cutover.ts'
import { placeKinds } from '../places.ts'
import { catchUp, sidesOf } from './both-sides.ts'

const kind = placeKinds.find(({ name }) => name === 'postgres')
const missing = kind === undefined ? 'no PostgreSQL among the places' : kind.missing
const domains = { app: { collections: { things: {} } } } as const

/** Statements of this process, counted. */
let statements = 0
class CountingClient extends pg.Client {
  constructor(options?: pg.ClientConfig) {
    super(options)
    const { query } = this
    Object.assign(this, {
      query: (...call: unknown[]) => {
        statements++
        return (query as (...call: unknown[]) => unknown).apply(this, call)
      },
    })
  }
}

/** Once more an event of each stream and a state of each document. */
async function writeAll(store: Store<typeof domains>, count: number): Promise<void> {
  const app = store.domain('app')
  for (let n = 0; n < count; n++) {
    await app.log.append(`stream-${n}`, { type: 'E', data: n })
    await app.documents('things').put(`thing-${n}`, { n })
  }
}

/** Of a second page, in a process that knows nothing of what the first one brought. */
async function statementsFor(count: number): Promise<number> {
  const url = kind?.make().url as string
  const store = await openStore({ a: memory(), b: url }, { domains })
  const sides = sidesOf(store as Store<never>)
  await writeAll(store, count)
  await start(sides)
  await catchUp(sides)
  await writeAll(store, count)
  const pool = new pg.Pool({ connectionString: url, Client: CountingClient })
  const target = postgres(pool, { schema: new URL(url).searchParams.get('schema') as string })
  await target.open()
  const { head, epoch } = await target.fence('app')
  const page = await sides.source.changes('app', head, 1_000)
  statements = 0
  await target.apply('app', epoch, page)
  const found = statements
  await target.close()
  await pool.end()
  await store.close()
  return found
}

describe('a page of the feed', () => {
  it('costs as many statements for 30 streams and documents as for 2', async ({ skip }) => {
    skip(missing !== '', missing)
    const few = await statementsFor(2)
    expect(few).toBeGreaterThan(2)
    expect(await statementsFor(30)).toBe(few)
  })
})
