import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { collection, openStore, type StreamExpectation } from '../src/index.ts'
import { limits } from '../src/model/limit.ts'
import { Forward } from '../src/wrapper/forward.ts'
import { limitsOf } from '../src/wrapper/validate.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-limits-'))
const stores: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
const places: [string, () => string][] = [
  ['memory', () => 'memory:'],
  ['sqlite', () => `sqlite:${join(folder, `${++files}.db`)}`],
]

const things = {
  fields: { key: 'string', other: 'string' },
  indexes: { by_key: { fields: ['key', 'other'] } },
} as const

async function open(place: string) {
  const store = await openStore(place, {
    domains: { app: { collections: { things: collection<unknown>(things) } } },
  })
  stores.push(store)
  return store.domain('app')
}
type App = Awaited<ReturnType<typeof open>>

interface Case {
  readonly what: string
  readonly limit: number
  readonly code: 'invalid' | 'too-large'
  /** Asks for as much as `size`. */
  readonly ask: (app: App, size: number) => Promise<unknown>
}

const text = (size: number) => 'x'.repeat(size)
/** A value with JSON text of so many bytes. */
const jsonOf = (bytes: number) => text(bytes - 2)
/** A value nested so deep. */
const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
const event = (type = 't', data: unknown = null) => ({ type, data })
/** Ids of so many bytes made of characters with 1, 2, 3 and 4 bytes. */
const wide = (bytes: number) => `é€🚀`.repeat(Math.floor(bytes / 9)) + text(bytes % 9)

const { idBytes, valueBytes, valueDepth, commitItems, commitBytes, pageItems, indexKeyBytes } = limits

const cases: readonly Case[] = [
  {
    what: 'the name of a stream',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append(text(n), event()),
  },
  {
    what: 'the name of a stream, of wide characters',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append(wide(n), event()),
  },
  {
    what: 'the name of a stream that is read',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.log.read(text(n)),
  },
  {
    what: 'the name of a stream that is checked',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.transaction((tx) => tx.checkStream(text(n), 'none')),
  },
  {
    what: 'the type of an event',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append('s', event(text(n))),
  },
  {
    what: 'the id of a document',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').put(text(n), 1),
  },
  {
    what: 'the id of a document, of wide characters',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').put(wide(n), 1),
  },
  {
    what: 'the id of a document that is deleted',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').delete(text(n)),
  },
  {
    what: 'the id of a document that is read',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').get(text(n)),
  },
  {
    what: 'the id of a document that is checked',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.transaction((tx) => tx.checkDocument('things', text(n), 'absent')),
  },
  {
    what: 'the id of a commit',
    limit: idBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append('s', event(), { id: text(n) }),
  },
  {
    what: 'the data of an event',
    limit: valueBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append('s', event('t', jsonOf(n))),
  },
  {
    what: 'the meta of an event',
    limit: valueBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append('s', { ...event(), meta: { m: jsonOf(n - '{"m":}'.length) } }),
  },
  {
    what: 'a document',
    limit: valueBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').put('a', jsonOf(n)),
  },
  {
    what: 'a document of characters that JSON escapes',
    limit: valueBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').put('a', '\n'.repeat((n - 2) >> 1) + text(n & 1)),
  },
  {
    what: 'the levels of an event',
    limit: valueDepth,
    code: 'invalid',
    ask: (app, n) => app.log.append('s', event('t', nested(n))),
  },
  {
    what: 'the levels of a document',
    limit: valueDepth,
    code: 'invalid',
    ask: (app, n) => app.documents('things').put('a', nested(n)),
  },
  {
    what: 'the writes of a commit',
    limit: commitItems,
    code: 'too-large',
    ask: (app, n) =>
      app.log.append(
        's',
        Array.from({ length: n }, () => event()),
      ),
  },
  {
    what: 'the checks of a commit',
    limit: commitItems,
    code: 'too-large',
    ask: (app, n) =>
      app.transaction((tx) => {
        for (let i = 0; i < n; i++) tx.checkStream(`s${i}`, 'none')
      }),
  },
  {
    what: 'the bytes of a commit',
    limit: commitBytes,
    code: 'too-large',
    ask: (app, n) => app.log.append('s', parts(n)),
  },
  {
    what: 'the events of a page',
    limit: pageItems,
    code: 'too-large',
    ask: (app, limit) => app.log.read('s', { limit }),
  },
  {
    what: 'the documents of a page',
    limit: pageItems,
    code: 'too-large',
    ask: (app, limit) => app.documents('things').list({ limit }),
  },
  {
    what: 'the changes of a page',
    limit: pageItems,
    code: 'too-large',
    ask: (app, limit) => app.changes({ limit }),
  },
  {
    what: 'the keys of a get',
    limit: pageItems,
    code: 'too-large',
    ask: (app, n) => app.documents('things').getMany(Array.from({ length: n }, (_, i) => `k${i}`)),
  },
  {
    what: 'the strings of an index key',
    limit: indexKeyBytes,
    code: 'too-large',
    ask: (app, n) => app.documents('things').put('a', { key: text(9), other: wide(n - 9) }),
  },
]

/** Events whose texts together have so many bytes. */
function parts(bytes: number) {
  const events = []
  for (let left = bytes; left > 0; ) {
    const part = left > 2 * valueBytes ? valueBytes : left > valueBytes ? valueBytes - 2 : left
    events.push(event('t', jsonOf(part)))
    left -= part
  }
  return events
}

describe.each(places)('a limit on %s', (_name, place) => {
  it.each(cases)(
    'of $limit for $what is taken, and one more is refused with $code before anything is written',
    async ({ limit, code, ask }) => {
      const app = await open(place())
      const before = await app.head()
      await expect(ask(app, limit + 1)).rejects.toMatchObject({ code })
      expect(await app.head()).toBe(before)
      await ask(app, limit)
    },
  )

  it('is named with what was found in the details', async () => {
    const app = await open(place())
    await expect(app.log.append(text(513), event())).rejects.toMatchObject({
      details: { bytes: 513, limit: 512 },
    })
    await expect(app.log.append('s', event('t', jsonOf(valueBytes + 1)))).rejects.toMatchObject({
      details: { bytes: valueBytes + 1, limit: valueBytes },
    })
    await expect(app.log.read('s', { limit: pageItems + 1 })).rejects.toMatchObject({
      details: { found: pageItems + 1, limit: pageItems },
    })
    await expect(app.documents('things').put('a', { key: text(1537) })).rejects.toMatchObject({
      details: { index: 'by_key', bytes: 1537, limit: indexKeyBytes },
    })
    await expect(app.documents('things').put('a', { deep: nested(valueDepth) })).rejects.toMatchObject({
      details: { path: `deep${'[0]'.repeat(valueDepth - 1)}` },
    })
  })

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses a page of %s records',
    async (limit) => {
      const app = await open(place())
      for (const call of [
        () => app.log.read('s', { limit }),
        () => app.documents('things').list({ limit }),
        () => app.changes({ limit }),
      ])
        await expect(call()).rejects.toMatchObject({ code: 'invalid' })
    },
  )

  it.each([-1, 1.5, Number.NaN, 'absent', null, {}])(
    'refuses to expect of a stream that it is at %s',
    async (expectation) => {
      const app = await open(place())
      const expected = expectation as unknown as StreamExpectation
      await expect(app.log.append('s', event(), { expect: expected })).rejects.toMatchObject({
        code: 'invalid',
      })
      expect(await app.log.seq('s')).toBe(0)
    },
  )

  it.each([-1, 1.5, Number.NaN, Number.MAX_SAFE_INTEGER + 1])('refuses the expiry %s', async (expiresAt) => {
    const app = await open(place())
    const head = await app.head()
    await expect(app.documents('things').put('a', 1, { expiresAt })).rejects.toMatchObject({
      code: 'invalid',
    })
    expect(await app.head()).toBe(head)
  })
})

/** A backend that takes less than others. */
class Narrow extends Forward {
  override get supports() {
    return { ...this.inner.supports, limits: { idBytes: 10, valueBytes: 20, pageItems: 5, commitItems: 2 } }
  }
}

describe('a backend with tighter limits', () => {
  it('has them held instead of the common ones, and the common ones where it names none', async () => {
    const backend = new Narrow(memory())
    expect(limitsOf(backend)).toEqual({
      ...limits,
      idBytes: 10,
      valueBytes: 20,
      pageItems: 5,
      commitItems: 2,
    })
    const store = await openStore(backend, { domains: { app: {} } })
    stores.push(store)
    const { log } = store.domain('app')
    await log.append(text(10), event('t', jsonOf(20)))
    await expect(log.append(text(11), event())).rejects.toMatchObject({ code: 'too-large' })
    await expect(log.append('s', event('t', jsonOf(21)))).rejects.toMatchObject({ code: 'too-large' })
    await expect(log.append('s', [event(), event(), event()])).rejects.toMatchObject({ code: 'too-large' })
    await log.read('s', { limit: 5 })
    await expect(log.read('s', { limit: 6 })).rejects.toMatchObject({ code: 'too-large' })
    expect(await store.domain('app').head()).toBe(1)
  })
})
