import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Move, openStore, type Store } from '../../src/index.ts'
import { type Place, placeKinds } from '../places.ts'

const domains = { app: { collections: { things: {} } } } as const

describe.each(placeKinds)('a move from memory to $name', ({ make, missing }) => {
  let store: Store<typeof domains>
  let move: Move
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    const place: Place = make()
    store = await openStore({ old: 'memory:', new: place.url ?? 'memory:' }, { domains })
    for (let i = 0; i < 30; i++) await store.domain('app').log.append(`s${i % 3}`, { type: 'T', data: i })
    move = await store.move('app', { to: 'new' })
  })
  afterEach(() => store?.close())

  it('goes there and back and there, and every step says where it stands', async () => {
    expect(await move.status()).toMatchObject({ phase: 'none', authority: 'old', canCutOver: false })
    await move.start({ by: 'ann' })
    expect(await move.status()).toMatchObject({ phase: 'mirroring', position: 0 })
    await move.catchUp()
    expect(await move.verify()).toMatchObject({ differences: [], isEqual: true })
    expect((await move.status()).canCutOver).toBe(true)
    const there = await move.cutover({ by: 'ann' })
    expect(there).toMatchObject({ from: 'old', to: 'new', by: 'ann' })
    expect(await move.status()).toMatchObject({ phase: 'reversed', authority: 'new' })
    await store.domain('app').log.append('s0', { type: 'T', data: 'behind' })
    const back = await move.rollback()
    expect(back).toMatchObject({ from: 'new', to: 'old' })
    expect(await move.status()).toMatchObject({ phase: 'mirroring', authority: 'old' })
    await move.cutover()
    await move.complete()
    expect(await move.status()).toMatchObject({ phase: 'completed', authority: 'new' })
    const { events } = await store.domain('app').log.read('s0', { backwards: true, limit: 1 })
    expect(events[0]?.data).toBe('behind')
  })

  it('is cancelled before its cutover, and can be started again', async () => {
    await move.start()
    await move.catchUp()
    await move.cancel()
    expect(await move.status()).toMatchObject({ phase: 'none', authority: 'old' })
    await move.start()
    await move.catchUp()
    await move.verify()
    await move.cutover()
    expect(await move.status()).toMatchObject({ phase: 'reversed', authority: 'new' })
    await expect(move.cancel()).rejects.toMatchObject({ code: 'gate' })
  })

  it('is not ended by who names it the other way round', async () => {
    await move.start()
    await move.catchUp()
    await move.cutover({ force: true })
    const back = await store.move('app', { to: 'old' })
    await expect(back.cancel()).rejects.toMatchObject({ code: 'gate' })
    await expect(back.cutover({ force: true })).rejects.toMatchObject({ code: 'gate' })
    await move.rollback({ force: true })
    expect(await move.status()).toMatchObject({ phase: 'mirroring', authority: 'old' })
  })
})
