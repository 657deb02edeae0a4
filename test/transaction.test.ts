import { describe, expect, it } from 'vitest'
import { failing, open, placed, places } from './shop.ts'

describe.each(places)('transactions on %s', (_name, at) => {
  const shop = async () => (await open(at()())).domain('shop')

  it('commits events and documents together, or neither', async () => {
    const domain = await shop()
    const { value, seqs, positions } = await domain.transaction((transaction) => {
      transaction.append('o', placed(1), { expect: 'none' })
      transaction.put('orders', 'o', { total: 1 })
      return 'done'
    })
    expect([value, seqs, positions.length]).toEqual(['done', [1], 2])
    const head = await domain.head()
    const refused = domain.transaction((transaction) => {
      transaction.append('o', placed(2))
      transaction.put('orders', 'o', { total: 2 }, { expect: 'absent' })
    })
    await expect(refused).rejects.toEqual(failing('conflict'))
    expect(await domain.head()).toBe(head)
  })

  it('takes nothing after its callback has returned', async () => {
    const domain = await shop()
    let late = () => {}
    await domain.transaction((transaction) => {
      late = () => transaction.append('o', placed(1))
    })
    expect(late).toThrow(TypeError)
  })

  it('runs again when something that it read was changed meanwhile', async () => {
    const domain = await shop()
    await domain.documents('counters').put('n', 1)
    let runs = 0
    const { value } = await domain.transaction(async (transaction) => {
      const found = await transaction.get('counters', 'n')
      if (++runs === 1) await domain.documents('counters').put('n', 10)
      transaction.put('counters', 'n', (found?.value ?? 0) + 1)
      return runs
    })
    expect(value).toBe(2)
    expect((await domain.documents('counters').get('n'))?.value).toBe(11)
  })

  it('depends on a stream that it read, and on an absent document', async () => {
    const domain = await shop()
    let runs = 0
    await domain.transaction(async (transaction) => {
      const [read, missing] = [await transaction.read('o'), await transaction.get('orders', 'o')]
      if (++runs === 1) await domain.log.append('o', placed(1))
      if (runs === 2) await domain.documents('orders').put('o', { total: 5 })
      transaction.put('counters', 'seen', read.length + (missing?.value.total ?? 0))
    })
    expect(runs).toBe(3)
    expect((await domain.documents('counters').get('seen'))?.value).toBe(6)
  })

  it('gives up after so many retries, and at once for a check that running again cannot mend', async () => {
    const domain = await shop()
    let runs = 0
    const always = domain.transaction(
      async (transaction) => {
        await transaction.get('counters', 'n')
        await domain.documents('counters').put('n', ++runs)
        transaction.append('o', placed(1))
      },
      { retries: 2 },
    )
    await expect(always).rejects.toEqual(failing('conflict'))
    expect(runs).toBe(3)
    const never = domain.transaction((transaction) => {
      runs++
      transaction.checkStream('o', 5)
      transaction.append('o', placed(1))
    })
    await expect(never).rejects.toEqual(failing('conflict'))
    expect(runs).toBe(4)
  })

  it('checks streams and documents that it does not write', async () => {
    const domain = await shop()
    await domain.documents('orders').put('o', { total: 1 })
    await domain.transaction((transaction) => {
      transaction.checkDocument('orders', 'o', 'present')
      transaction.checkStream('o', 'none')
      transaction.append('other', placed(1))
    })
    const refused = domain.transaction((transaction) => {
      transaction.checkDocument('orders', 'o', 'absent')
      transaction.append('other', placed(2))
    })
    await expect(refused).rejects.toEqual(failing('conflict'))
    expect(await domain.log.seq('other')).toBe(1)
  })

  it('writes nothing when its callback throws or asks for something invalid', async () => {
    const domain = await shop()
    const head = await domain.head()
    const thrown = domain.transaction((transaction) => {
      transaction.append('o', placed(1))
      throw new Error('changed my mind')
    })
    await expect(thrown).rejects.toThrow('changed my mind')
    const invalid = domain.transaction((transaction) => {
      transaction.append('o', placed(1))
      transaction.put('users', 'u', { email: 'nonsense' })
    })
    await expect(invalid).rejects.toEqual(failing('invalid'))
    expect(await domain.head()).toBe(head)
  })

  it('is applied once with an id', async () => {
    const domain = await shop()
    const run = () =>
      domain.transaction(
        (transaction) => {
          transaction.append('o', placed(1))
          transaction.put('orders', 'o', { total: 1 })
        },
        { id: 'r1' },
      )
    const first = await run()
    expect(await run()).toMatchObject({ positions: first.positions, seqs: first.seqs, isReplay: true })
    expect(await domain.log.seq('o')).toBe(1)
  })
})
