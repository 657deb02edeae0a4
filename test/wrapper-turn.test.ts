import { describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { systemClock } from '../src/clock.ts'
import { turn } from '../src/wrapper/turn.ts'
import { placeKinds } from './places.ts'

/** Calls of a loop that never rests, until a timer has run; at most so many. */
async function callsUntilTimer(call: () => Promise<unknown>): Promise<number> {
  let isOver = false
  const timer = setTimeout(() => {
    isOver = true
  }, 20)
  let calls = 0
  while (!isOver && calls < 2_000_000) {
    await call()
    calls++
  }
  clearTimeout(timer)
  return isOver ? calls : Number.POSITIVE_INFINITY
}

const embedded = placeKinds.filter(({ name }) => name !== 'postgres')

describe.each(embedded)('a loop of calls that never rests, on $name', ({ make }) => {
  it('lets timers run while it appends', async () => {
    const app = (await make().open({ app: {} })).domain('app')
    expect(await callsUntilTimer(() => app.log.append('s', { type: 'E', data: 1 }))).toBeLessThan(1_000_000)
  })

  it('lets timers run while it reads', async () => {
    const app = (await make().open({ app: {} })).domain('app')
    expect(await callsUntilTimer(() => app.log.read('s'))).toBeLessThan(1_000_000)
  })

  it('keeps the calls of one caller in order, however many wait', async () => {
    const app = (await make().open({ app: {} })).domain('app')
    const numbers = Array.from({ length: 20_000 }, (_, i) => i)
    await Promise.all(numbers.map((i) => app.log.append('s', { type: 'E', data: i })))
    const found = []
    for await (const { data } of app.log.events('s')) found.push(data)
    expect(found).toEqual(numbers)
  })
})

describe('calls that follow one another within a turn of the event loop', () => {
  it('wait for the next turn when that has lasted two milliseconds, and not before', async () => {
    let ms = 0
    const backend = turn({ ...systemClock, monotonic: () => ms })(memory())
    await new Promise((resolve) => setImmediate(resolve))
    let hasTurned = false
    setImmediate(() => {
      hasTurned = true
    })
    const found: boolean[] = []
    for (const at of [0, 1.9, 2]) {
      ms = at
      await backend.fence('app')
      found.push(hasTurned)
    }
    expect(found).toEqual([false, false, true])
  })
})
