import { describe, expect, it } from 'vitest'
import { collect, failing, open, places, time } from './shop.ts'

describe.each(places)('documents on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('puts, gets, replaces and deletes, with revisions that only grow', async () => {
    const orders = (await shop()).documents('orders')
    const one = await orders.put('a', { total: 1 }, { expect: 'absent' })
    expect(await orders.get('a')).toEqual({
      id: 'a',
      value: { total: 1 },
      revision: one.position,
      at: time.now,
      expiresAt: undefined,
    })
    const two = await orders.put('a', { total: 2 }, { expect: one.position })
    expect(two.position).toBeGreaterThan(one.position)
    await expect(orders.put('a', { total: 3 }, { expect: one.position })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'document', expected: one.position, found: two.position }] },
    })
    await orders.delete('a', { expect: 'present' })
    expect(await orders.get('a')).toBeUndefined()
    await expect(orders.delete('a', { expect: 'present' })).rejects.toEqual(failing('conflict'))
    await orders.put('a', { total: 4 }, { expect: 'absent' })
    expect((await orders.get('a'))?.value).toEqual({ total: 4 })
  })

  it('gets several documents in the order of the ids', async () => {
    const orders = (await shop()).documents('orders')
    await orders.put('a', { total: 1 })
    await orders.put('b', { total: 2 })
    await orders.delete('b')
    const found = await orders.getMany(['b', 'a', 'x', 'a'])
    expect(found.map((document) => document?.value.total)).toEqual([undefined, 1, undefined, 1])
    expect(await orders.getMany([])).toEqual([])
  })

  it('stores what the schema returns, and names the path of what does not fit', async () => {
    const users = (await shop()).documents('users')
    await users.put('u', { email: 'a@example.org', address: { city: 'Oslo', extra: 1 } } as never)
    expect((await users.get('u'))?.value).toEqual({ email: 'a@example.org', address: { city: 'Oslo' } })
    const misfit = users.put('v', { email: 'a@example.org', address: { city: 5 as never } })
    await expect(misfit).rejects.toMatchObject({
      code: 'invalid',
      details: { issues: [{ path: 'address.city' }] },
    })
    await expect(misfit).rejects.toThrow(/address\.city/)
    expect(await users.get('v')).toBeUndefined()
  })

  it('refuses a declared field of another type', async () => {
    const orders = (await shop()).documents('orders')
    await expect(orders.put('a', { total: 1, status: 7 as never })).rejects.toMatchObject({
      code: 'invalid',
      details: { path: 'status' },
    })
    await orders.put('a', { total: 1, status: null })
  })

  it('lists by id prefix and by index, with bounds, in both directions', async () => {
    const orders = (await shop()).documents('orders')
    for (const [i, status] of ['new', 'paid', 'new', 'paid', 'new'].entries())
      await orders.put(`o${i}`, { total: 10 * i, status })
    await orders.put('x', { total: 1 })
    const ids = async (options: Parameters<typeof orders.list>[0]) =>
      (await orders.list(options)).documents.map(({ id }) => id)
    expect(await ids({ prefix: 'o', backwards: true })).toEqual(['o4', 'o3', 'o2', 'o1', 'o0'])
    expect(await ids({ index: 'by_status', equals: ['new'] })).toEqual(['o0', 'o2', 'o4'])
    expect(await ids({ index: 'by_status', equals: ['new'], from: 20 })).toEqual(['o2', 'o4'])
    expect(await ids({ index: 'by_status', equals: ['new'], below: 20 })).toEqual(['o0'])
    expect(await ids({ index: 'by_status', backwards: true, from: 'new', below: 'o' })).toEqual([
      'o4',
      'o2',
      'o0',
    ])
    expect((await ids({ index: 'by_status' }))[0]).toBe('x')
    await expect(orders.list({ equals: ['new'] })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ index: 'nothing' })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ index: 'by_status', prefix: 'o' })).rejects.toEqual(failing('invalid'))
    await expect(orders.list({ limit: 0 })).rejects.toEqual(failing('invalid'))
  })

  it.each([false, true])(
    'goes on by cursor without skipping or repeating under writes (backwards: %s)',
    async (backwards) => {
      const orders = (await shop()).documents('orders')
      for (let i = 10; i < 30; i++) await orders.put(`o${i}`, { total: i, status: i % 2 ? 'odd' : 'even' })
      for (const query of [{}, { index: 'by_status' }]) {
        const seen: string[] = []
        let cursor: string | undefined
        do {
          const page = await orders.list({
            ...query,
            backwards,
            limit: 3,
            ...(cursor === undefined ? {} : { cursor }),
          })
          seen.push(...page.documents.map(({ id }) => id))
          cursor = page.cursor
          await orders
            .put(seen.at(-1) as string, { total: 500, status: 'zzz' })
            .then(() => orders.delete(seen.at(-1) as string))
          await orders.put(seen.at(-1) as string, {
            total: Number(seen.at(-1)?.slice(1)),
            status: Number(seen.at(-1)?.slice(1)) % 2 ? 'odd' : 'even',
          })
        } while (cursor !== undefined)
        const all = await collect(orders.all({ ...query, backwards, limit: 7 }))
        expect(seen).toEqual(all.map(({ id }) => id))
        expect(seen).toHaveLength(20)
      }
    },
  )

  it('holds one document for each key of a unique index, and one in its part for a partial one', async () => {
    const orders = (await shop()).documents('orders')
    await orders.put('a', { total: 1, code: 'X', status: 'open' })
    await expect(orders.put('b', { total: 2, code: 'X' })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'unique', index: 'one_code', holder: 'a' }] },
    })
    await expect(orders.put('b', { total: 1, status: 'open' })).rejects.toEqual(failing('conflict'))
    await orders.put('b', { total: 1, status: 'paid' })
    await orders.put('c', { total: 1 })
    await orders.put('a', { total: 1, status: 'paid' })
    await orders.put('c', { total: 1, code: 'X', status: 'open' })
    await orders.delete('c')
    await orders.put('d', { total: 1, code: 'X', status: 'open' })
  })

  it('counts a document as absent from its expiry on, by the injected clock', async () => {
    const orders = (await shop()).documents('orders')
    const { position } = await orders.put('a', { total: 1, code: 'X' }, { expiresAt: time.now + 100 })
    time.now += 99
    expect((await orders.get('a'))?.expiresAt).toBe(1_000_100)
    time.now += 1
    expect(await orders.get('a')).toBeUndefined()
    expect(await orders.getMany(['a'])).toEqual([undefined])
    expect((await orders.list()).documents).toEqual([])
    await expect(orders.put('a', { total: 2 }, { expect: position })).rejects.toEqual(failing('conflict'))
    await orders.put('b', { total: 3, code: 'X' })
    await orders.put('a', { total: 4 }, { expect: 'absent' })
    expect((await orders.list()).documents.map(({ id }) => id)).toEqual(['a', 'b'])
  })

  it('sweeps what has expired, at most so many at once', async () => {
    const domain = await shop()
    const orders = domain.documents('orders')
    for (let i = 0; i < 5; i++) await orders.put(`o${i}`, { total: i }, { expiresAt: time.now + i })
    await orders.put('forever', { total: 9 })
    time.now += 3
    expect([await orders.sweep(3), await orders.sweep(3), await orders.sweep()]).toEqual([3, 1, 0])
    const { items } = await domain.changes()
    expect(items.filter(({ kind }) => kind === 'tombstone')).toHaveLength(4)
    expect((await collect(orders.all())).map(({ id }) => id)).toEqual(['forever', 'o4'])
  })

  it('updates from the current value, so that no one of many at once is lost', async () => {
    const counters = (await shop()).documents('counters')
    await Promise.all(Array.from({ length: 20 }, () => counters.update('n', (value = 0) => value + 1)))
    expect((await counters.get('n'))?.value).toBe(20)
    await counters.put('e', 1, { expiresAt: time.now + 50 })
    await counters.update('e', (value = 0) => value + 1)
    expect(await counters.get('e')).toMatchObject({ value: 2, expiresAt: time.now + 50 })
    await expect(
      counters.update('n', () => {
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
  })
})
