import { describe, expect, it } from 'vitest'
import { collection, openStore } from '../src/index.ts'

const domains = { app: { collections: { counters: collection<{ n: number }>() } } }

describe.each(['memory:', 'sqlite::memory:'])('a transaction with an id on %s', (url) => {
  it('is applied once even when what it writes depends on what it reads', async () => {
    await using store = await openStore(url, { domains })
    const app = store.domain('app')
    const increment = () =>
      app.transaction(
        async (tx) => {
          const found = await tx.get('counters', 'a')
          tx.put('counters', 'a', { n: (found?.value.n ?? 0) + 1 })
        },
        { id: 'request-1' },
      )
    const first = await increment()
    const second = await increment()
    expect(second).toEqual({ ...first, isReplay: true })
    expect((await app.documents('counters').get('a'))?.value).toEqual({ n: 1 })
  })

  it('is applied once when it is retried at the same time', async () => {
    await using store = await openStore(url, { domains })
    const app = store.domain('app')
    const increment = () =>
      app.transaction(
        async (tx) => {
          const found = await tx.get('counters', 'a')
          tx.put('counters', 'a', { n: (found?.value.n ?? 0) + 1 })
        },
        { id: 'request-1' },
      )
    const results = await Promise.all(Array.from({ length: 20 }, increment))
    expect(results.filter(({ isReplay }) => !isReplay)).toHaveLength(1)
    expect((await app.documents('counters').get('a'))?.value).toEqual({ n: 1 })
  })
})
