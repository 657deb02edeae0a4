import { describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import { openStore } from '../../src/index.ts'
import { Meter } from '../../src/move/progress.ts'
import { survey } from '../../src/move/survey.ts'
import { randomOf } from '../crash/random.ts'

const page = { records: 1_000, bytes: 200_000 }
const seed = Number(process.env.UNDERPIN_SEED ?? 11)

/** Copies pages that take so many milliseconds each, by a clock of its own. */
function copy(meter: Meter, pages: readonly number[], from: { now: number; position: number }, head: number) {
  let { now, position } = from
  for (const ms of pages) {
    now += ms
    position += page.records
    meter.moved(now, position, head, page)
  }
  return { now, position }
}

describe('the progress of a copy', () => {
  it('counts records, the lag and what is left, and says when it will have caught up', () => {
    const meter = new Meter(0, 0, 100_000)
    const { now } = copy(meter, Array(50).fill(100), { now: 0, position: 0 }, 100_000)
    const report = meter.report(now)
    expect(report).toMatchObject({ position: 50_000, head: 100_000, records: 50_000 })
    expect(report.recordsPerSecond).toBeCloseTo(10_000)
    expect(report.lag).toEqual({ positions: 50_000, ms: 5_000 })
    expect(report.recordsLeft).toBe(50_000)
    expect(report.eta?.ms).toBeCloseTo(5_000)
    expect(report.eta?.lowMs).toBeGreaterThan(4_500)
    expect(report.eta?.highMs).toBeLessThan(5_500)
  })

  it('has no lag and no time left where it holds everything, and knows no time before it has a rate', () => {
    const meter = new Meter(0, 0, 2_000)
    expect(meter.report(0).eta).toBeUndefined()
    const { now } = copy(meter, [300, 300], { now: 0, position: 0 }, 2_000)
    expect(meter.report(now)).toMatchObject({ lag: { positions: 0, ms: 0 }, recordsLeft: 0, eta: { ms: 0 } })
  })

  it('reckons with a source that grows meanwhile, and promises nothing if that is the faster one', () => {
    const slowly = new Meter(0, 0, 100_000)
    const fast = new Meter(0, 0, 100_000)
    for (let i = 1; i <= 50; i++) {
      slowly.moved(i * 100, i * 1_000, 100_000 + i * 500, page)
      fast.moved(i * 100, i * 1_000, 100_000 + i * 1_500, page)
    }
    // 75,000 are left, at 10,000 a second less the 5,000 that come.
    expect(slowly.report(5_000).eta?.ms).toBeCloseTo(15_000, -2)
    expect(fast.report(5_000).eta).toBeUndefined()
  })

  it('takes no account of what is done once at the beginning, as soon as it knows the rate without', () => {
    const meter = new Meter(0, 0, 100_000)
    const { now } = copy(meter, [1_600, ...Array(10).fill(200)], { now: 0, position: 0 }, 100_000)
    expect(meter.report(now).eta?.ms).toBeCloseTo(89_000 / 5)
  })

  it('counts what another mover copied as progress, but not as its own', () => {
    const meter = new Meter(0, 0, 10_000)
    meter.moved(500, 4_000, 10_000)
    meter.moved(1_000, 8_000, 10_000)
    const report = meter.report(1_000)
    expect(report).toMatchObject({ position: 8_000, records: 0, recordsLeft: 2_000 })
    expect(report.eta?.ms).toBeCloseTo(250)
  })

  it('widens the error band with the variance of the rate, and is within it nineteen times in twenty', () => {
    const random = randomOf(seed)
    let inside = 0
    let narrow = 0
    const trials = 400
    for (let trial = 0; trial < trials; trial++) {
      const spread = trial % 2 === 0 ? 0.1 : 0.9
      const times = Array.from({ length: 400 }, () => 100 * (1 - spread + 2 * spread * random()))
      const meter = new Meter(0, 0, 400_000)
      const { now } = copy(meter, times.slice(0, 100), { now: 0, position: 0 }, 400_000)
      const left = times.slice(100).reduce((sum, ms) => sum + ms, 0)
      const { lowMs, highMs } = meter.report(now).eta ?? { lowMs: 0, highMs: 0 }
      if (lowMs <= left && left <= highMs) inside++
      if (spread === 0.1 && highMs - lowMs < 0.2 * left) narrow++
    }
    console.log(`seed ${seed}: ${inside} of ${trials} within the band`)
    expect(inside / trials).toBeGreaterThanOrEqual(0.95)
    expect(narrow).toBe(trials / 2)
  })

  it('tells what varies from hour to hour from what varies from page to page', () => {
    const random = randomOf(seed)
    const meter = new Meter(0, 0, 400_000)
    // Ten slow seconds, ten fast ones: a band made of the pages alone would be far too narrow.
    const times = Array.from({ length: 200 }, (_, i) => (Math.floor(i / 20) % 2 ? 50 : 150) + random())
    const { now } = copy(meter, times, { now: 0, position: 0 }, 400_000)
    const { ms, lowMs, highMs } = meter.report(now).eta ?? { ms: 0, lowMs: 0, highMs: 0 }
    expect((highMs - lowMs) / ms).toBeGreaterThan(0.3)
  })

  it('forgets the rate from before a pause, and remembers a long move in little memory', () => {
    const meter = new Meter(0, 0, 10_000_000)
    const { now, position } = copy(meter, Array(8_000).fill(300), { now: 0, position: 0 }, 10_000_000)
    expect(meter.report(now).recordsPerSecond).toBeCloseTo(3_333, -1)
    meter.interrupted(now + 60_000)
    expect(meter.report(now + 60_000)).toMatchObject({ recordsPerSecond: 0, eta: undefined })
    const later = copy(meter, Array(100).fill(100), { now: now + 60_000, position }, 10_000_000)
    expect(meter.report(later.now).recordsPerSecond).toBeCloseTo(10_000, -1)
  })
})

describe('a survey of the feed', () => {
  it('finds how many records and bytes there are, where most positions are empty and records grow', async () => {
    const backend = memory()
    const store = await openStore(backend, { domains: { app: { collections: { things: {} } } } })
    const app = store.domain('app')
    // The first half is superseded again and again; behind it stand events, ever larger.
    for (let i = 0; i < 200; i++)
      await app.transaction((t) => {
        for (let n = 0; n < 100; n++) t.put('things', `t-${n}`, { i })
      })
    for (let i = 0; i < 300; i++)
      await app.log.append(
        `s-${i % 7}`,
        Array.from({ length: 100 }, (_, n) => ({ type: 'T', data: 'x'.repeat(n + i * 5) })),
      )
    const { head } = await backend.fence('app')
    const found = (await survey(backend, 'app', 0, head)).between(0, head)
    let [records, bytes] = [0, 0]
    for (let after = 0; after < head; ) {
      const { items, next } = await backend.changes('app', after, 10_000)
      records += items.length
      for (const item of items) if (item.kind !== 'tombstone') bytes += item.data.length
      after = next
    }
    expect(head - records).toBeGreaterThan(19_000)
    expect(Math.abs(found.records / records - 1)).toBeLessThan(0.1)
    expect(Math.abs(found.bytes / bytes - 1)).toBeLessThan(0.1)
    await store.close()
  })

  it('takes a short feed as it is', async () => {
    const backend = memory()
    const found = await survey(backend, 'app', 10, 500)
    expect(found.between(10, 500).records).toBe(490)
  })
})
