import { beforeEach, describe, expect, it } from 'vitest'
import { canonicalJson } from '../src/facet/once/canonical.ts'
import { collection, idempotencyToken, systemClock, UnderpinError } from '../src/index.ts'
import { limits } from '../src/model/limit.ts'
import { Route } from '../src/route.ts'
import { gate } from './gate.ts'
import { placeKinds } from './places.ts'

const domains = { app: { collections: { counts: collection<{ n: number }>() } } }
const token = idempotencyToken('orders', 'key-1')
const request = { order: 7, lines: [{ sku: 'lamp', n: 2 }] }

describe.each(placeKinds)('work done once on $name', ({ make, missing }) => {
  beforeEach(({ skip }) => skip(missing !== '', missing))
  const processes = async () => {
    const place = make()
    return [
      (await place.open(domains)).domain('app'),
      (await place.open(domains)).domain('app'),
      place,
    ] as const
  }
  const place = (
    tx: { append(stream: string, event: { type: string; data: unknown }): void },
    data: unknown,
  ) => {
    tx.append('orders', { type: 'placed', data: data ?? null })
    return data
  }

  it.each([{ id: 7, lines: ['a', null] }, null, 'text', 0, undefined, { __proto__: null, '': '' }])(
    'gives %j again to whoever asks again, here, elsewhere and after a restart',
    async (value) => {
      const [here, there, again] = await processes()
      const first = await here.once(token, request, (tx) => place(tx, value))
      expect(first).toMatchObject({ isReplay: false })
      expect(first.value).toEqual(value)
      const restarted = (await again.open(domains)).domain('app')
      for (const domain of [here, there, restarted])
        expect(
          await domain.once(token, { lines: [{ n: 2, sku: 'lamp' }], order: 7 }, () => expect.fail()),
        ).toEqual({
          value,
          isReplay: true,
          position: expect.any(Number),
        })
      expect(await here.log.seq('orders')).toBe(1)
    },
  )

  it('fails with mismatch for another request, and tells scopes and keys apart', async () => {
    const [here, there] = await processes()
    await here.once(token, request, (tx) => place(tx, 1))
    for (const other of [{ ...request, order: 8 }, { ...request, more: null }, [], null])
      await expect(there.once(token, other, () => expect.fail())).rejects.toMatchObject({ code: 'mismatch' })
    const others = [
      idempotencyToken('orders', 'key-2'),
      idempotencyToken('order', 's/key-1'),
      idempotencyToken(['orders', 'key-1'], 'x'),
      idempotencyToken('orders/key-1', 'x'),
      idempotencyToken('orders%2Fkey-1', 'x'),
    ]
    for (const other of others)
      expect((await there.once(other, 0, (tx) => place(tx, 1))).isReplay).toBe(false)
  })

  it('tells what is kept for a token, and does nothing', async () => {
    const [here, there] = await processes()
    expect(await there.recall(token)).toBeUndefined()
    await here.once(token, request, (tx) => place(tx, [1]), { expiresInMs: 60_000 })
    const { position } = await there.once(token, request, () => expect.fail())
    const kept = await there.recall<number[]>(token)
    expect(kept).toEqual({ value: [1], position, expiresAt: expect.any(Number) })
    expect(await here.log.seq('orders')).toBe(1)
  })

  it('refuses a token that was not made as one', async () => {
    const [here] = await processes()
    for (const wrong of ['key-1', undefined])
      await expect(here.once(wrong as never, request, () => expect.fail())).rejects.toThrow(
        /idempotencyToken\(scope, key\)/,
      )
  })

  it('keeps nothing of work that throws; a refusal that is returned is kept', async () => {
    const [here, there] = await processes()
    const fails = here.once(token, request, (tx) => {
      place(tx, 1)
      throw new RangeError('own')
    })
    await expect(fails).rejects.toThrow(new RangeError('own'))
    expect(await here.log.seq('orders')).toBe(0)
    const refused = await there.once(token, request, () => ({ refused: 'no money' }), { waitMs: 0 })
    expect(refused).toMatchObject({ value: { refused: 'no money' }, isReplay: false })
    expect((await here.once(token, request, () => expect.fail())).value).toEqual({ refused: 'no money' })
  })

  it('keeps nothing of work whose result JSON does not keep, or whose own checks fail', async () => {
    const [here] = await processes()
    await expect(here.once(token, request, (tx) => [place(tx, 1), new Date()])).rejects.toMatchObject({
      code: 'invalid',
    })
    await expect(
      here.once(token, request, (tx) => tx.put('counts', 'a', { n: 1 }, { expect: 'present' })),
    ).rejects.toMatchObject({ code: 'conflict' })
    expect(await here.log.seq('orders')).toBe(0)
    expect((await here.once(token, request, (tx) => place(tx, 1))).isReplay).toBe(false)
  })

  it('runs again when what it read was changed meanwhile, and has one effect', async () => {
    const [here, there] = await processes()
    let runs = 0
    const { value } = await here.once(token, request, async (tx) => {
      const n = (await tx.get('counts', 'a'))?.value.n ?? 0
      if (runs++ === 0) await there.documents('counts').put('a', { n: 10 })
      tx.put('counts', 'a', { n: n + 1 })
      return n + 1
    })
    expect([runs, value, (await here.documents('counts').get('a'))?.value.n]).toEqual([2, 11, 11])
  })

  it('under way is in-flight for others, or waited for, and not done twice', async () => {
    const [here, there] = await processes()
    const begun = gate()
    const end = gate()
    const first = here.once(token, request, async (tx) => {
      begun.open()
      await end.opened
      return place(tx, 'first')
    })
    await begun.opened
    for (const domain of [here, there])
      for (const waitMs of [0, 50])
        await expect(domain.once(token, request, () => expect.fail(), { waitMs })).rejects.toMatchObject({
          code: 'in-flight',
          details: { holder: expect.stringContaining(`process ${process.pid}`) },
        })
    const abort = AbortSignal.timeout(30)
    for (const domain of [here, there])
      await expect(domain.once(token, request, () => expect.fail(), { signal: abort })).rejects.toMatchObject(
        {
          code: 'aborted',
        },
      )
    const waiting = [here, there, there].map((domain) => domain.once(token, request, () => expect.fail()))
    end.open()
    expect((await first).isReplay).toBe(false)
    for (const { value, isReplay } of await Promise.all(waiting))
      expect([value, isReplay]).toEqual(['first', true])
    expect(await here.log.seq('orders')).toBe(1)
  })

  it('is new when its result has expired, and expired results are swept', async () => {
    const at = make()
    let jumpedMs = 0
    const clock = { ...systemClock, now: () => systemClock.now() + jumpedMs }
    const app = (await at.open(domains, { clock })).domain('app')
    for (let i = 0; i < 20; i++)
      await app.once(idempotencyToken('o', `${i}`), i, (tx) => place(tx, i), { expiresInMs: 1_000 })
    jumpedMs = 1_001
    expect((await app.once(idempotencyToken('o', '0'), 'another', (tx) => place(tx, 0))).isReplay).toBe(false)
    const many = Array.from({ length: 128 }, (_, i) =>
      app.once(idempotencyToken('later', `${i}`), i, () => i),
    )
    await Promise.all(many)
    const left = new Set<string>()
    for (const { items } of [await app.changes({ limit: 10_000 })])
      for (const item of items) if (item.kind === 'document' && item.collection === '$once') left.add(item.id)
    expect([...left].filter((id) => id.startsWith('o/'))).toEqual(['o/0'])
    expect(left.size).toBe(129)
  })

  it('whose answer was lost is found out: done once, and told as done or as not done', async () => {
    const [here] = await processes()
    const { commit } = Route.prototype
    const lose = async (when: 'before' | 'after') => {
      Route.prototype.commit = async function (this: Route, ...call) {
        const isLast = call[0].writes.some((write) => 'collection' in write && write.collection === '$once')
        if (!isLast) return commit.apply(this, call)
        if (when === 'after') await commit.apply(this, call)
        throw new UnderpinError('unknown', 'the answer was lost')
      }
      try {
        return await here.once(idempotencyToken('lost', when), request, (tx) => place(tx, when))
      } finally {
        Route.prototype.commit = commit
      }
    }
    expect(await lose('after')).toMatchObject({ value: 'after', isReplay: false })
    await expect(lose('before')).rejects.toMatchObject({ code: 'unavailable' })
    expect(await here.log.seq('orders')).toBe(1)
  })

  it('under a lock depends on the lock', async () => {
    const [here] = await processes()
    const stray = await here.withLock('k', async ({ domain }) => {
      await domain.once(token, request, (tx) => place(tx, 1))
      return domain
    })
    await expect(stray.once(idempotencyToken('o', 'late'), 1, (tx) => place(tx, 2))).rejects.toMatchObject({
      code: 'lost-lease',
      details: { id: 'lock/k' },
    })
    expect(await here.log.seq('orders')).toBe(1)
    const late = await here.once(idempotencyToken('o', 'late'), 1, (tx) => place(tx, 2), { waitMs: 0 })
    expect(late).toMatchObject({ value: 2, isReplay: false })
  })
})

describe('an idempotency token', () => {
  it('is kept under an id of its own for each scope and key, however long they are', () => {
    const long = 'ü/%'.repeat(600)
    const parts = ['a', '/', '%', '%2F', 'a/b', long, `${long}x`, 'sha256:']
    const ids = parts.flatMap((a) =>
      parts.flatMap((b) => [idempotencyToken(a, b), ...parts.map((c) => idempotencyToken([a, b], c))]),
    )
    expect(new Set(ids.map(({ id }) => id)).size).toBe(ids.length)
    for (const { id } of ids) expect(Buffer.byteLength(id)).toBeLessThanOrEqual(400)
  })

  it.each([
    ['', 'k', 'invalid'],
    ['s', '', 'invalid'],
    [[], 'k', 'invalid'],
    [['s', ''], 'k', 'invalid'],
    ['s', '\0', 'invalid'],
    ['\ud800', 'k', 'invalid'],
    ['s', 'x'.repeat(4_097), 'too-large'],
    [Array(17).fill('s'), 'k', 'invalid'],
  ])('of %j and %j is refused', (scope, key, code) => {
    expect(() => idempotencyToken(scope, key)).toThrow(expect.objectContaining({ code }))
  })
})

describe('canonical JSON', () => {
  it('is one text for a value, whatever the order of its keys at any depth', () => {
    const value = { b: [{ y: 1, x: null }], a: { '\u{10000}': 1, '\uffff': 2, 10: 3, 9: 4 } }
    const text = canonicalJson(value, limits)
    expect(text).toBe('{"a":{"10":3,"9":4,"\uffff":2,"\u{10000}":1},"b":[{"x":null,"y":1}]}')
    expect(canonicalJson(JSON.parse(text), limits)).toBe(text)
    expect(canonicalJson(JSON.parse('{"__proto__":1,"a":2}'), limits)).toBe('{"__proto__":1,"a":2}')
  })

  it.each([undefined, { a: undefined }, new Date(), Number.NaN, { a: [() => 1] }])('refuses %s', (value) => {
    expect(() => canonicalJson(value, limits)).toThrow(expect.objectContaining({ code: 'invalid' }))
  })
})
