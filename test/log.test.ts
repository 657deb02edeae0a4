import { describe, expect, it } from 'vitest'
import { collect, failing, open, type Placed, placed, places, stores, time } from './shop.ts'

describe.each(places)('the log on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('appends one event or several, and reads them with type, data, meta, time and position', async () => {
    const { log } = await shop()
    const one = await log.append('o1', { ...placed(5), meta: { by: 'ann' } })
    const two = await log.append('o1', [placed(6), { type: 'Paid', data: null }])
    expect(one).toMatchObject({ seqs: [1], isReplay: false })
    expect(two.seqs).toEqual([2, 3])
    expect(two.positions).toEqual([one.position + 1, one.position + 2])
    const { events, next } = await log.read('o1')
    expect(events[0]).toEqual({
      stream: 'o1',
      seq: 1,
      type: 'Placed',
      data: { total: 5 },
      meta: { by: 'ann' },
      at: time.now,
      position: one.position,
    })
    expect(events.map(({ type, meta }) => [type, meta])).toEqual([
      ['Placed', { by: 'ann' }],
      ['Placed', undefined],
      ['Paid', undefined],
    ])
    expect(next).toBeUndefined()
  })

  it('reads parts of a stream in both directions', async () => {
    const { log } = await shop()
    await log.append(
      'o1',
      Array.from({ length: 10 }, (_, i) => placed(i + 1)),
    )
    const seqs = async (options: Parameters<typeof log.read>[1]) =>
      (await log.read('o1', options)).events.map(({ seq }) => seq)
    expect(await seqs({ after: 3, before: 6 })).toEqual([4, 5])
    expect(await seqs({ backwards: true, limit: 2 })).toEqual([10, 9])
    expect(await seqs({ backwards: true, after: 8 })).toEqual([10, 9])
    const first = await log.read('o1', { backwards: true, limit: 4, before: 9 })
    expect(first.next).toMatchObject({ before: 5, backwards: true })
    expect(await seqs(first.next)).toEqual([4, 3, 2, 1])
    expect((await collect(log.events('o1', { backwards: true, limit: 3 }))).map(({ seq }) => seq)).toEqual([
      10, 9, 8,
    ])
    expect(await collect(log.events('o1', { after: 4 }))).toHaveLength(6)
    expect(await log.seq('o1')).toBe(10)
    expect(await log.seq('none')).toBe(0)
  })

  it('expects an exact seq, none, or some, and says what it found instead', async () => {
    const { log } = await shop()
    await expect(log.append('o', placed(1), { expect: 'some' })).rejects.toEqual(failing('conflict'))
    await log.append('o', placed(1), { expect: 'none' })
    await log.append('o', placed(2), { expect: 1 })
    await log.append('o', placed(3), { expect: 'some' })
    await expect(log.append('o', placed(4), { expect: 1 })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'stream', stream: 'o', expected: 1, found: 3 }] },
    })
    await expect(log.append('o', placed(4), { expect: 'none' })).rejects.toEqual(failing('conflict'))
    await expect(log.append('o', placed(4), { expect: -1 })).rejects.toEqual(failing('invalid'))
    expect(await log.seq('o')).toBe(3)
  })

  it('refuses an expectation that is undefined, rather than taking it for none', async () => {
    const { log, documents } = await shop().then((domain) => ({
      log: domain.log,
      documents: domain.documents('counters'),
    }))
    const options = { expect: undefined } as unknown as { expect: number }
    await expect(log.append('o', placed(1), options)).rejects.toEqual(failing('invalid'))
    await expect(documents.put('a', 1, options)).rejects.toEqual(failing('invalid'))
    await expect(documents.delete('a', options)).rejects.toEqual(failing('invalid'))
    expect(await log.seq('o')).toBe(0)
  })

  it('rejects bad input instead of throwing, and writes nothing of it', async () => {
    const domain = await shop()
    const head = await domain.head()
    const bad = [placed(1), { type: 'Placed', data: { total: Number.NaN } }] as Placed[]
    await expect(domain.log.append('o', bad)).rejects.toMatchObject({
      code: 'invalid',
      details: { path: 'total' },
    })
    await expect(domain.log.append('', placed(1))).rejects.toEqual(failing('invalid'))
    await expect(domain.log.append('o', placed(1), { id: '' })).rejects.toEqual(failing('invalid'))
    expect(await domain.head()).toBe(head)
  })

  it('applies a commit with an id once, also after a restart, and refuses the id for other changes', async () => {
    const place = at()
    const first = (await open(place())).domain('shop')
    const done = await first.log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })
    expect(await first.log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })).toEqual({
      ...done,
      isReplay: true,
    })
    await stores.pop()?.close()
    const { log } = (await open(place())).domain('shop')
    expect(await log.append('o', [placed(1), placed(2)], { id: 'r1', expect: 'none' })).toEqual({
      ...done,
      isReplay: true,
    })
    await expect(log.append('o', placed(3), { id: 'r1' })).rejects.toEqual(failing('mismatch'))
    expect(await log.seq('o')).toBe(2)
  })

  it('forgets a commit id when it expires', async () => {
    const { log } = await shop()
    await log.append('o', placed(1), { id: 'r1', idExpiresInMs: 1_000 })
    time.now += 1_000
    expect(await log.append('o', placed(1), { id: 'r1', idExpiresInMs: 1_000 })).toMatchObject({
      seqs: [2],
      isReplay: false,
    })
  })

  it('applies one of many commits with the same id that are sent at once', async () => {
    const { log } = await shop()
    const results = await Promise.all(
      Array.from({ length: 10 }, () => log.append('o', placed(1), { id: 'r1' })),
    )
    expect(results.filter(({ isReplay }) => !isReplay)).toHaveLength(1)
    expect(new Set(results.map(({ position }) => position)).size).toBe(1)
  })
})
