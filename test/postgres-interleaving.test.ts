/** Moments between two statements of a PostgreSQL backend at which another process does something, made to happen. */
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { openStore, verifyDomain } from '../src/index.ts'
import { scratchForEach } from './server/scratch.ts'

const scratch = scratchForEach()
const { url } = scratch
let pool: HookedPool

/** A pool that does something once, before or behind a statement that contains a text. */
class HookedPool {
  readonly inner = new pg.Pool({ connectionString: url })
  #hook: { when: 'before' | 'behind'; text: string; run: () => Promise<void> } | undefined

  once(when: 'before' | 'behind', text: string, run: () => Promise<void>): void {
    this.#hook = { when, text, run }
  }

  get isDone(): boolean {
    return this.#hook === undefined
  }

  async query(config: object): Promise<{ rows: unknown[][] }> {
    const hook = this.#hook
    const isHit = hook !== undefined && (config as { text: string }).text.includes(hook.text)
    if (!isHit) return this.inner.query(config as never) as never
    this.#hook = undefined
    if (hook.when === 'before') await hook.run()
    const result = await this.inner.query(config as never)
    if (hook.when === 'behind') await hook.run()
    return result as never
  }

  connect(done: (error: Error | undefined, client: never) => void): void {
    this.inner.connect(done as never)
  }

  end() {
    return this.inner.end()
  }
}

const open = (target: string | HookedPool, collections: string[] = ['things']) =>
  openStore(typeof target === 'string' ? target : postgres(target, { schema: scratch.schema }), {
    domains: { app: { collections: Object.fromEntries(collections.map((name) => [name, {}])) } },
  })
const plainUrl = () => `${url}?schema=${scratch.schema}`

beforeEach(() => {
  pool = new HookedPool()
})
afterEach(() => pool?.end())

describe('a page of the feed', () => {
  it('holds the documents of a collection that was declared while it was being read', async () => {
    await using reader = await open(pool)
    await using other = await open(plainUrl())
    await other.domain('app').log.append('s', { type: 't', data: 1 })
    pool.once('before', 'UNION ALL', async () => {
      await using declaring = await open(plainUrl(), ['things', 'late'])
      await declaring.domain('app').documents('late').put('a', 1)
    })
    const found: string[] = []
    for (let after = 0, head = 1; after < head; ) {
      const page = await reader.domain('app').changes({ after })
      found.push(
        ...page.items.map((item) => (item.kind === 'event' ? item.stream : `${item.collection}/${item.id}`)),
      )
      ;[after, head] = [page.next, page.head]
    }
    expect(pool.isDone).toBe(true)
    expect(found).toEqual(['$collections/things', 's', '$collections/late', 'late/a'])
  })
})

describe('what a process remembers of documents', () => {
  it('is not taken for newer than it is when the feed is read meanwhile', async () => {
    await using writer = await open(pool)
    await using other = await open(plainUrl())
    const things = writer.domain('app').documents('things')
    // Until the writer, alone, has gone back to writing guarded by what it remembers.
    for (let n = 0; n < 20; n++) await things.put('warm', n)
    pool.once('behind', 'SELECT id, revision, checksum, expires_at', async () => {
      await other.domain('app').documents('things').put('a', 'of the other')
      await writer.domain('app').changes()
    })
    const put = things.put('a', 'of the writer', { expect: 'absent' })
    await expect(put).rejects.toMatchObject({ code: 'conflict' })
    expect(pool.isDone).toBe(true)
    expect((await things.get('a'))?.value).toBe('of the other')
    expect((await verifyDomain([...writer.backends.values()][0] as never, 'app')).isSound).toBe(true)
  })
})

describe('what a process remembers of the fence', () => {
  it('does not keep it from committing under an epoch that it read meanwhile', async () => {
    const mine = postgres(pool, { schema: scratch.schema })
    await using writer = await openStore(mine, { domains: { app: {} }, deadlineMs: 2_000 })
    const app = writer.domain('app')
    for (let n = 0; n < 20; n++) await app.log.append('s', { type: 't', data: n })
    const other = postgres(url, { schema: scratch.schema })
    await other.open()
    const from = await other.fence('app')
    expect(await other.transition('app', from, { ...from, epoch: from.epoch + 1 })).toBe(true)
    await other.close()
    expect(await app.log.seq('s')).toBe(20)
    await app.log.append('s', { type: 't', data: 'under the new epoch' })
    expect(await app.log.seq('s')).toBe(21)
  })
})
