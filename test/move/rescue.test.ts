/** A domain whose move lost its coordinator is rescued by whoever wants to write. */
import { setTimeout as pause } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Domains, Store } from '../../src/index.ts'
import { changeRecord, readRecord } from '../../src/move/record.ts'
import type { Sides } from '../../src/move/sides.ts'
import { placePairs } from '../places.ts'
import { type BothSides, bothSides, catchUp, sidesOf, step } from './both-sides.ts'

const domains = { app: {} } as const
const maxPauseMs = 1_000

describe.each(placePairs)('a coordinator that died moving from $name', (pair) => {
  let places: BothSides
  let store: Store<typeof domains>
  let sides: Sides
  const append = (data: unknown, on = store) =>
    on.domain('app').log.append('s', { type: 'E', data: data as never })

  beforeEach(async (context) => {
    places = bothSides(context, pair)
    store = await places.open(domains)
    sides = sidesOf(store as Store<Domains>)
    const move = await store.move('app', { from: 'a', to: 'b' })
    await move.start({ settings: { maxPauseMs } })
    await catchUp(sides)
  })

  it('behind the seal: the source accepts commits again once the time of the cutover is over, and not before', async () => {
    const [calling, other] = [await places.open(domains), await places.open(domains)]
    const since = performance.now()
    await step(sides, 'seal')
    const waiting = [store, calling, other].map((each, i) => append(i, each))
    await pause(250)
    expect((await sides.source.fence('app')).role).toBe('sealed')
    await Promise.all(waiting)
    const ms = performance.now() - since
    expect(ms).toBeGreaterThan(maxPauseMs - 10)
    expect(ms).toBeLessThan(3 * maxPauseMs)
    expect((await sides.source.fence('app')).role).toBe('authority')
    expect((await sides.target.fence('app')).role).toBe('follower')
    expect((await store.domain('app').log.read('s')).events).toHaveLength(3)
  })

  it('behind the decision: the target is opened at once', async () => {
    await step(sides, 'seal')
    await catchUp(sides)
    const waiting = append(0)
    await step(sides, 'decide')
    const since = performance.now()
    await waiting
    expect(performance.now() - since).toBeLessThan(maxPauseMs - 10)
    expect((await sides.target.fence('app')).role).toBe('authority')
  })

  it('behind the decision: for readers, too', async () => {
    await step(sides, 'seal')
    await catchUp(sides)
    await step(sides, 'decide')
    expect((await store.domain('app').log.read('s')).events).toEqual([])
    expect((await sides.target.fence('app')).role).toBe('authority')
  })

  it('is not taken for dead while it is at work within its time', async () => {
    await changeRecord(
      sides,
      (record) => record && { ...record, settings: { ...record.settings, maxPauseMs: 20_000 } },
    )
    await catchUp(sides)
    await step(sides, 'seal')
    const waiting = append(0)
    await pause(1.5 * maxPauseMs)
    expect(await sides.source.fence('app')).toMatchObject({ role: 'sealed' })
    await step(sides, 'decide')
    await waiting
    expect((await sides.target.fence('app')).role).toBe('authority')
    expect((await readRecord({ domain: 'app', source: sides.target }))?.to).toBe('b')
  })
})
