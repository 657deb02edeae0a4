/** A repair while a mover takes the copy on all the time. */
import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { type MemoryBackend, memory } from '../../src/backend/memory.ts'
import { append, put } from '../../src/conformance/harness.ts'
import { type Backend, systemClock } from '../../src/index.ts'
import { definitionsCollection } from '../../src/model/collection.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { start } from '../../src/move/cutover.ts'
import { Mover } from '../../src/move/mover.ts'
import { repairCopy } from '../../src/move/repair.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { catchUp, commit, domain } from './copies.ts'
import { inMemory } from './saboteur.ts'

/** Answers in a turn of its own, as a store across a wire, and counts repairs. */
class Counting extends Forward {
  tries = 0
  sums = 0

  override async apply(...call: Parameters<Backend['apply']>): Promise<void> {
    await turn()
    const { repair } = call[2]
    if (repair !== undefined) this.tries++
    await this.inner.apply(...call)
    if (repair !== undefined && repair.isPart !== true) this.sums++
  }

  override async get(...call: Parameters<Backend['get']>): ReturnType<Backend['get']> {
    await turn()
    return this.inner.get(...call)
  }
}

it('a repair under a busy mirror converges, and sums the copy up once', async () => {
  const source = memory()
  const copy: MemoryBackend = memory()
  const target = new Counting(copy)
  await source.transition(domain, vacantFence, {
    ...{ ...vacantFence, role: 'authority', epoch: 1, incarnation: 'source' },
  })
  await commit(source, [put(definitionsCollection, 'things', { fields: {}, indexes: {} })])
  const ids = Array.from({ length: 2_500 }, (_, i) => `t${i}`)
  await commit(
    source,
    ids.map((id) => put('things', id)),
  )
  const sides = { domain, source, target, clock: systemClock }
  await start(sides)
  await catchUp(sides)
  const saboteur = inMemory(copy, domain)
  for (const id of ids) await saboteur.remove({ collection: 'things', id })

  const stop = new AbortController()
  const running = new Mover(sides, { signal: stop.signal }).run()
  const writing = (async () => {
    for (let n = 0; !stop.signal.aborted; n++) {
      await commit(source, [append('s', n)])
      await turn()
    }
  })()
  const report = await repairCopy(sides)
  stop.abort()
  await Promise.all([running, writing])
  expect(report).toMatchObject({ how: 'records', isDone: true, after: { isEqual: true } })
  console.log(`2,500 records put right under a mover in ${target.tries} tries`)
  expect(target.sums).toBe(1)
  // Three parts, and what was overtaken; one by one it would be thousands.
  expect(target.tries).toBeLessThan(60)
}, 60_000)
