/** Moments between two statements of a PostgreSQL backend at which another process does something, made to happen. */
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { openStore, verifyDomain } from '../src/index.ts'
import { FakeClock, idle, watchOutcome } from './fake-clock.ts'
import { scratchForEach } from './server/scratch.ts'

const scratch = scratchForEach()
const { url } = scratch
let pool: HookedPool

interface Hook {
  readonly when: 'before' | 'behind'
  readonly text: string
  readonly run: () => Promise<void>
}

/** A pool that does something once, before or behind a statement that contains a text; hooks are taken in their order. */
class HookedPool {
  readonly inner = new pg.Pool({ connectionString: url })
  readonly #hooks: Hook[] = []

  once(when: Hook['when'], text: string, run: Hook['run']): void {
    this.#hooks.push({ when, text, run })
  }

  /** Keeps one statement without an answer, from when it is `sent` until `answer` is called. */
  hold(text: string): { readonly sent: Promise<void>; answer(): void } {
    let answer = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const sent = new Promise<void>((resolve) => {
      this.once('before', text, () => {
        resolve()
        return answered
      })
    })
    return { sent, answer }
  }

  get isDone(): boolean {
    return this.#hooks.length === 0
  }

  async query(config: object): Promise<{ rows: unknown[][] }> {
    const hook = this.#take((config as { text: string }).text)
    if (hook?.when === 'before') await hook.run()
    const result = await this.inner.query(config as never)
    if (hook?.when === 'behind') await hook.run()
    return result as never
  }

  #take(text: string): Hook | undefined {
    const at = this.#hooks.findIndex((hook) => text.includes(hook.text))
    return at === -1 ? undefined : this.#hooks.splice(at, 1)[0]
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

describe('a get on PostgreSQL', () => {
  const [ofOne, ofSeveral] = ['d.id = $2', 'd.id = ANY']
  const slowMs = 1_001

  async function openThings() {
    const clock = new FakeClock()
    const target = postgres(pool, { schema: scratch.schema, clock })
    const store = await openStore(target, { domains: { app: { collections: { things: {} } } } })
    const things = store.domain('app').documents('things')
    await things.put('a', 1)
    const value = async () => (await things.get('a'))?.value
    return { clock, value, [Symbol.asyncDispose]: () => store.close() }
  }

  it('is not held up by two statements that get no answer', async () => {
    await using opened = await openThings()
    const { clock, value } = opened
    const silent = [pool.hold(ofOne), pool.hold(ofOne)]
    const unanswered = [value(), value()]
    await Promise.all(silent.map(({ sent }) => sent))
    // While they may only be busy it waits, and goes together with the next.
    const waiting = value()
    await clock.advance(slowMs)
    pool.once('before', ofSeveral, async () => {})
    expect(await Promise.all([waiting, value()])).toEqual([1, 1])
    expect(pool.isDone).toBe(true)
    for (const { answer } of silent) answer()
    expect(await Promise.all(unanswered)).toEqual([1, 1])
  })

  it('waits when eight statements get no answer, until one of them does', async () => {
    await using opened = await openThings()
    const { clock, value } = opened
    const silent = Array.from({ length: 8 }, () => pool.hold(ofOne))
    const unanswered: Promise<unknown>[] = []
    for (const { sent } of silent) {
      unanswered.push(value())
      await sent
      await clock.advance(slowMs)
    }
    const ninth = pool.hold(ofOne)
    const outcome = watchOutcome(ninth.sent)
    const waiting = value()
    await idle()
    expect(outcome.state).toBe('pending')
    silent[3]?.answer()
    await ninth.sent
    ninth.answer()
    expect(await waiting).toBe(1)
    for (const { answer } of silent) answer()
    expect(await Promise.all(unanswered)).toEqual(silent.map(() => 1))
  })
})
