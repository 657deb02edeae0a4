/** Jobs where something goes wrong around them: workers die between two commits, answers are lost, croner is missing. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { Jobs } from '../src/facet/job/jobs.ts'
import { type Domain, defineJobs, job, openStore } from '../src/index.ts'
import type { Commit } from '../src/model/commit.ts'
import { faultyMemory } from '../src/testing/testing.ts'
import { DyingPort } from './dying-port.ts'
import { fastClock } from './fast-clock.ts'
import { type Place, placeKinds } from './places.ts'

type Item = { n: number; group: string }

const definitions = defineJobs({
  ordered: job<Item, number>({ retry: { attempts: 50, delayMs: 5, maxDelayMs: 50 } }),
  few: job<{ n: number }, number>({ concurrency: 2, retry: { attempts: 50, delayMs: 5 } }),
  tick: job<null>(),
})
const deadlineMs = 300_000

/** What a job has done, in order. */
async function effectsOf(domain: Domain, stream: string): Promise<number[]> {
  const events: number[] = []
  for await (const { data } of domain.log.events(stream)) events.push((data as { n: number }).n)
  return events
}

async function finished(jobs: Jobs<typeof definitions>): Promise<void> {
  const counts = async () => {
    const states = Object.values(await jobs.stats())
    return states.reduce(
      (sum, { waiting, delayed, lined, running }) => sum + waiting + delayed + lined + running,
      0,
    )
  }
  await expect.poll(counts, { interval: 20 }).toBe(0)
}

/** Each effect with the completion of its job; how many run at once is counted. */
function handlers(pauseMs = 2) {
  const counted = { running: 0, most: 0 }
  const pause = () => new Promise((resolve) => setTimeout(resolve, pauseMs))
  return {
    counted,
    work: {
      ordered: ({ n, group }: Item, { transaction }: { transaction: Domain['transaction'] }) =>
        transaction((tx) => {
          tx.append(group, { type: 'done', data: { n } })
          return n
        }) as unknown as Promise<number>,
      few: async ({ n }: { n: number }, { transaction }: { transaction: Domain['transaction'] }) => {
        counted.most = Math.max(counted.most, ++counted.running)
        await pause()
        counted.running--
        return transaction((tx) => {
          tx.append('few', { type: 'done', data: { n } })
          return n
        }) as unknown as Promise<number>
      },
    },
  }
}

const writes = (text: string) => (commit: Commit) =>
  commit.writes.some((write) => write.kind === 'put' && write.data.includes(text))

describe.each(placeKinds)('jobs on $name', ({ make, missing }) => {
  let place: Place
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
  })
  const open = async (times = 10) => {
    const store = await place.open({ app: {} }, { deadlineMs, clock: fastClock(times) })
    return store.domain('app')
  }

  it.each([
    ['took them', '"state":"running"'],
    ['completed one', '"state":"completed"'],
    ['set one aside', '"state":"lined"'],
  ])('keep groups, limits and dedupe keys when a worker dies that just %s', async (_, last) => {
    const domain = await open()
    const jobs = domain.jobs(definitions)
    const live = handlers()
    const port = new DyingPort(domain, writes(last))
    const numbers = [1, 2, 3, 4]
    for (const n of numbers)
      for (const group of ['a', 'b']) await jobs.enqueue('ordered', { n, group }, { group })
    for (const n of numbers) await jobs.enqueue('few', { n }, { dedupe: `n${n}` })
    void new Jobs(port, definitions).work(handlers().work as never, { leaseMs: 3_000, concurrency: 6 })
    await port.died
    const isOpen = (await jobs.list({ limit: 100 })).jobs.filter(
      ({ dedupe, state }) => dedupe !== undefined && state !== 'completed',
    )
    for (const { id, dedupe, data } of isOpen)
      expect(await jobs.enqueue('few', data as { n: number }, { dedupe: dedupe as string })).toEqual({
        id,
        isDuplicate: true,
      })
    const workers = [
      await jobs.work(live.work as never, { leaseMs: 10_000 }),
      await (await open()).jobs(definitions).work(live.work as never, { leaseMs: 10_000 }),
    ]
    await finished(jobs)
    for (const group of ['a', 'b']) expect(await effectsOf(domain, group)).toEqual(numbers)
    expect((await effectsOf(domain, 'few')).toSorted()).toEqual(numbers)
    expect(live.counted.most).toBeLessThanOrEqual(2)
    expect(await jobs.enqueue('few', { n: 1 }, { dedupe: 'n1', delayMs: 1e9 })).toMatchObject({
      isDuplicate: false,
    })
    await Promise.all(workers.map((worker) => worker.stop()))
  })

  it('are made by a schedule once for each time, whichever of several processes sees it first', async () => {
    const domain = await open(20)
    const others = [domain, await open(20)].map((each) => each.jobs(definitions))
    const set = others.map((jobs) => jobs.schedule('tick', '* * * * * *', null, { missed: 'each' }))
    const [first] = await Promise.all(set)
    const workers = await Promise.all(others.map((jobs) => jobs.work({ tick: () => undefined })))
    const [jobs] = others as [Jobs<typeof definitions>]
    await expect
      .poll(async () => (await jobs.stats()).tick?.completed ?? 0, { interval: 50 })
      .toBeGreaterThan(10)
    await Promise.all(workers.map((worker) => worker.stop()))
    const [last] = await jobs.schedules()
    const times = ((last?.nextAt ?? 0) - (first?.nextAt ?? 0)) / 1_000
    expect((await jobs.list({ limit: 1_000 })).jobs).toHaveLength(times)
  })
})

describe('jobs on a store that fails', () => {
  it.each(['unknown, written', 'unknown, not written', 'unavailable'] as const)(
    'are taken once each, though the answer to that was: %s',
    async (fault) => {
      const backend = faultyMemory()
      const store = await openStore(backend, { domains: { app: {} }, clock: fastClock() })
      const domain = store.domain('app')
      const jobs = domain.jobs(definitions)
      const errors: unknown[] = []
      const onError = (error: unknown, id: string | undefined) =>
        errors.push([(error as { code: string }).code, id])
      const worker = await jobs.work(handlers().work as never, { onError })
      await jobs.finished((await jobs.enqueue('ordered', { n: 0, group: 'a' })).id)
      const { id } = await jobs.enqueue('ordered', { n: 1, group: 'a' })
      backend.failNext(fault)
      expect(await jobs.finished(id)).toMatchObject({ state: 'completed', attempt: 1 })
      // Of a claim: what concerns one job is told with its id. What was not written the store tries again by itself.
      expect(errors).toEqual(fault === 'unavailable' ? [] : [['unknown', undefined]])
      expect(backend.injected).toMatchObject(fault === 'unavailable' ? { unavailable: 1 } : { unknown: 1 })
      expect(await effectsOf(domain, 'a')).toEqual([0, 1])
      await worker.stop()
      await store.close()
    },
  )

  it.each([1, 2, 3])('are neither lost nor doubled, in their order, seed %i', async (seed) => {
    const backend = faultyMemory({ seed, unavailable: 0.1, unknown: 0.15, delays: 0.2, delayMs: 2 })
    backend.isQuiet = true
    const store = await openStore(backend, { domains: { app: {} }, clock: fastClock(), deadlineMs })
    const domain = store.domain('app')
    const jobs = domain.jobs(definitions)
    const numbers = Array.from({ length: 12 }, (_, n) => n)
    for (const n of numbers) {
      for (const group of ['a', 'b']) await jobs.enqueue('ordered', { n, group }, { group })
      await jobs.enqueue('few', { n })
    }
    backend.isQuiet = false
    const live = handlers()
    const workers = [
      await jobs.work(live.work as never, { leaseMs: 10_000 }),
      await jobs.work(live.work as never, { leaseMs: 10_000 }),
    ]
    await expect.poll(() => backend.injected.unknown).toBeGreaterThan(1)
    backend.isQuiet = true
    await finished(jobs)
    for (const group of ['a', 'b']) expect(await effectsOf(domain, group)).toEqual(numbers)
    expect((await effectsOf(domain, 'few')).toSorted((a, b) => a - b)).toEqual(numbers)
    expect(live.counted.most).toBeLessThanOrEqual(2)
    await Promise.all(workers.map((worker) => worker.stop()))
    await store.close()
  })
})

describe('schedules without croner', () => {
  it('are refused, and hold up no jobs', async () => {
    const store = await openStore('memory:', { domains: { app: {} }, clock: fastClock() })
    const jobs = store.domain('app').jobs(definitions)
    await jobs.schedule('tick', '* * * * * *', null)
    vi.doMock('croner', () => {
      throw new Error("Cannot find package 'croner'")
    })
    try {
      const code = 'driver-missing'
      const install = { code, hint: expect.stringContaining('npm install croner') }
      await expect(jobs.schedule('tick', '* * * * *', null)).rejects.toMatchObject(install)
      const errors: unknown[] = []
      const worker = await jobs.work(handlers().work as never, { onError: (error) => errors.push(error) })
      await expect.poll(() => errors.length).toBeGreaterThan(0)
      expect(errors[0]).toMatchObject(install)
      const { id } = await jobs.enqueue('ordered', { n: 1, group: 'a' })
      expect(await jobs.finished(id)).toMatchObject({ state: 'completed' })
      expect((await jobs.schedules()).map(({ cron }) => cron)).toEqual(['* * * * * *'])
      await worker.stop()
    } finally {
      vi.doUnmock('croner')
      await store.close()
    }
  })
})
