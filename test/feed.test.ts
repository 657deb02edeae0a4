import { describe, expect, it } from 'vitest'
import { openBackend, openStore } from '../src/index.ts'
import { collect, open, placed, places, time } from './shop.ts'

describe.each(places)('the feed on %s', (_name, at) => {
  it('delivers every event and the latest of each document, in order, in whole commits', async () => {
    const domain = (await open(at()())).domain('shop')
    const after = await domain.head()
    await domain.log.append('o', [placed(1), placed(2), placed(3)])
    await domain.documents('counters').put('n', 1)
    await domain.documents('counters').put('n', 2)
    await domain.documents('counters').put('m', 1, { expiresAt: time.now + 5 })
    await domain.documents('counters').delete('m')
    const first = await domain.changes({ after, limit: 1 })
    expect(first.items).toHaveLength(3)
    expect([first.next, first.head]).toEqual([after + 3, after + 7])
    const rest = await domain.changes({ after: first.next })
    expect(rest.items).toEqual([
      {
        kind: 'document',
        collection: 'counters',
        id: 'n',
        value: 2,
        expiresAt: undefined,
        at: time.now,
        position: after + 5,
      },
      { kind: 'tombstone', collection: 'counters', id: 'm', at: time.now, position: after + 7 },
    ])
    expect(rest.next).toBe(rest.head)
    expect((await domain.changes({ after: rest.next })).items).toEqual([])
  })

  it('follows: catches up, goes on live with no gap, and ends at abort', async () => {
    const place = at()
    const [reading, writing] = [(await open(place())).domain('chat'), (await open(place())).domain('chat')]
    const say = (i: number) => writing.log.append('s', { type: 'said', data: i })
    for (let i = 1; i <= 30; i++) await say(i)
    const ending = new AbortController()
    const seen: number[] = []
    const following = (async () => {
      for await (const item of reading.follow({ signal: ending.signal, limit: 7 })) {
        seen.push(item.position)
        if (seen.length === 90) ending.abort()
      }
    })()
    await Promise.all(Array.from({ length: 30 }, (_, i) => say(31 + i)))
    for (let i = 61; i <= 95; i++) await say(i)
    await following
    expect(seen).toEqual(Array.from({ length: 90 }, (_, i) => i + 1))
  })

  it('ends a follower that waits when its signal aborts, and when the store closes', async () => {
    const store = await open(at()())
    const ending = new AbortController()
    const aborted = collect(store.domain('chat').follow({ signal: ending.signal }))
    const closed = collect(store.domain('chat').follow({ signal: new AbortController().signal }))
    await new Promise((resolve) => setTimeout(resolve, 30))
    ending.abort()
    expect(await aborted).toEqual([])
    await store.close()
    expect(await closed).toEqual([])
    expect(await collect(store.domain('chat').follow({ signal: AbortSignal.abort() }))).toEqual([])
  })

  it('is followed again on a backend that was closed and opened', async () => {
    const place = at()()
    const backend = typeof place === 'string' ? await openBackend(place) : place
    await backend.open()
    await backend.close()
    await using store = await openStore(backend, { domains: { chat: {} } })
    await store.domain('chat').log.append('s', { type: 'said', data: 1 })
    expect((await store.domain('chat').follow().next()).value).toMatchObject({ kind: 'event', data: 1 })
  })

  it.each([Number.NaN, -1, 1.5, '3'])(
    'refuses %s as a position, instead of skipping everything',
    async (after) => {
      const domain = (await open(at()())).domain('chat')
      const bad = after as number
      await expect(domain.changes({ after: bad })).rejects.toMatchObject({ code: 'invalid' })
      await expect(domain.follow({ after: bad }).next()).rejects.toMatchObject({ code: 'invalid' })
    },
  )

  it('refuses a position beyond the head: it was read from another store, or before a restore', async () => {
    const domain = (await open(at()())).domain('chat')
    await domain.log.append('s', { type: 'said', data: 1 })
    await expect(domain.changes({ after: 9 })).rejects.toMatchObject({
      code: 'invalid',
      details: { head: 1 },
    })
    await expect(domain.follow({ after: 9 }).next()).rejects.toMatchObject({ code: 'invalid' })
    expect((await domain.changes({ after: 1 })).items).toEqual([])
  })
})
