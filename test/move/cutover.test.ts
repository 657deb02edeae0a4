import { setTimeout as pause } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/index.ts'
import { cutover, giveUp, start } from '../../src/move/cutover.ts'
import { Mover } from '../../src/move/mover.ts'
import { lookFromLead, type Sides, turned } from '../../src/move/sides.ts'
import { placePairs } from '../places.ts'
import { bothSides, sidesOf } from './both-sides.ts'

const domains = { app: { collections: { things: {} } } } as const

describe.each(placePairs)('a cutover from $name', (pair) => {
  let store: Store<typeof domains>
  let sides: Sides
  beforeEach(async (context) => {
    store = await bothSides(context, pair).open(domains)
    sides = sidesOf(store)
  })

  it('loses no acknowledged write of 16 callers, there and back and there', async () => {
    const domain = store.domain('app')
    const acknowledged: string[] = []
    const stop = new AbortController()
    const pauses: number[] = []
    const writers = Array.from({ length: 16 }, async (_, w) => {
      for (let i = 0; !stop.signal.aborted; i++) {
        const since = performance.now()
        await domain.log.append(`s${w}`, { type: 'E', data: { w, i } })
        pauses.push(performance.now() - since)
        acknowledged.push(`${w}/${i}`)
        if (i % 3 === 0) await domain.documents('things').put(`d${w}`, { i })
      }
    })
    await start(sides)
    const done: number[] = []
    for (const side of [sides, turned(sides), sides]) {
      const ending = new AbortController()
      const mirroring = new Mover(side, { signal: ending.signal }).run()
      // Under traffic for a while: what is copied meanwhile differs from run to run.
      await pause(150)
      ending.abort()
      await mirroring
      const { pauseMs } = await cutover(side)
      done.push(Math.round(pauseMs))
      const { isTurned, stage } = await lookFromLead(side)
      expect({ isTurned, stage }).toEqual({ isTurned: true, stage: 'mirroring' })
    }
    stop.abort()
    await Promise.all(writers)
    const found: string[] = []
    for (let w = 0; w < 16; w++)
      for await (const { data, seq } of domain.log.events(`s${w}`)) {
        const { i } = data as { i: number }
        expect(seq).toBe(i + 1)
        found.push(`${w}/${i}`)
      }
    expect(found.sort()).toEqual(acknowledged.sort())
    await giveUp(turned(sides))
    expect((await lookFromLead(sides)).stage).toBe('alone')
    console.log(
      `${pair.name}: ${acknowledged.length} writes, pauses ${done} ms, worst call ${Math.round(pauses.reduce((a, b) => Math.max(a, b), 0))} ms`,
    )
  }, 60_000)
})
