import { beforeEach, describe, expect, it } from 'vitest'
import { portOf } from '../src/facet/domain.ts'
import { defineJobs, type Jobs, type JsonText, job } from '../src/index.ts'
import { FakeClock, idle } from './fake-clock.ts'
import { type Place, placeKinds } from './places.ts'

const definitions = defineJobs({ report: job<{ of: string }>(), tick: job<null>() })
const minute = 60_000

/** Time belongs to the test: only memory answers without real time passing. */
const [memoryKind] = placeKinds

describe('schedules', () => {
  let place: Place
  let clock: FakeClock
  let jobs: Jobs<typeof definitions>

  beforeEach(async () => {
    place = memoryKind?.make() as Place
    clock = new FakeClock()
    jobs = await open()
  })

  async function open(): Promise<Jobs<typeof definitions>> {
    const store = await place.open({ app: {} }, { clock })
    return store.domain('app').jobs(definitions)
  }

  /** Works for a while, as so many processes. */
  async function workFor(ms: number, processes = 1): Promise<number[]> {
    const times: number[] = []
    const started = await Promise.all(
      Array.from({ length: processes }, async () =>
        (await open()).work({ report: () => void times.push(clock.now()), tick: () => undefined }),
      ),
    )
    for (let passed = 0; passed < ms; passed += 1_000) await clock.advance(1_000)
    const stopped = Promise.all(started.map((worker) => worker.stop()))
    await clock.advance(100)
    await idle()
    await stopped
    return times
  }

  const enqueued = async () =>
    (await jobs.list({ limit: 1_000 })).jobs.filter(({ name }) => name === 'report')

  it('enqueue one job for each time, over several workers', async () => {
    await jobs.schedule('report', '* * * * *', { of: 'sales' })
    await workFor(10 * minute, 3)
    const all = await enqueued()
    expect(all).toHaveLength(10)
    expect(
      all.every(({ state, data }) => state === 'completed' && (data as { of: string }).of === 'sales'),
    ).toBe(true)
  })

  it('keep their next time when they are set again, and take what is changed', async () => {
    const before = await jobs.schedule('report', '0 8 * * *', { of: 'a' }, { timeZone: 'Europe/Vienna' })
    await clock.advance(minute)
    expect(await jobs.schedule('report', '0 8 * * *', { of: 'a' }, { timeZone: 'Europe/Vienna' })).toEqual(
      before,
    )
    const changed = await jobs.schedule('report', '0 8 * * *', { of: 'a' }, { timeZone: 'Asia/Tokyo' })
    expect(changed.nextAt).not.toBe(before.nextAt)
    expect(await jobs.schedules()).toEqual([changed])
  })

  it('go on when one of them cannot be read', async () => {
    await jobs.schedule('report', '* * * * *', { of: 'sales' })
    await jobs.schedule('tick', '* * * * *', null)
    // As a machine sees it that does not know the time zone.
    const port = portOf((await place.open({ app: {} }, { clock })).domain('app'))
    const key = { collection: '$schedules', id: 'tick' }
    const [found] = (await port.get([key])).documents
    const record = JSON.parse((found as { data: string }).data)
    const data = JSON.stringify({ ...record, timeZone: 'Atlantis/Center', nextAt: 1 }) as JsonText
    await port.commit({
      at: clock.now(),
      writes: [{ kind: 'put', ...key, data, expiresAt: null }],
      checks: [],
    })
    await workFor(3 * minute)
    expect(await enqueued()).toHaveLength(3)
  })

  it('mean their time zone, on both sides of a change to summer time', async () => {
    const { nextAt } = await jobs.schedule('report', '0 8 * * *', { of: 'a' }, { timeZone: 'Europe/Vienna' })
    // The fake clock stands in November: 8 o'clock in Vienna is 7 o'clock UTC.
    expect(new Date(nextAt ?? 0).toISOString()).toMatch(/T07:00:00/)
    const summer = await jobs.schedule('report', '0 8 1 7 *', { of: 'a' }, { timeZone: 'Europe/Vienna' })
    expect(new Date(summer.nextAt ?? 0).toISOString()).toMatch(/-07-01T06:00:00/)
  })

  it.each([
    ['last', 1],
    ['each', 5],
    ['none', 0],
  ] as const)('make up for times at which nobody worked: %s', async (missed, times) => {
    await jobs.schedule('report', '*/10 * * * *', { of: 'a' }, { missed })
    await clock.advance(53 * minute)
    await workFor(1_000)
    expect(await enqueued()).toHaveLength(times)
  })

  it('end when they are removed', async () => {
    await jobs.schedule('report', '* * * * *', { of: 'a' }, { key: 'x' })
    expect(await jobs.unschedule('x')).toBe(true)
    expect(await jobs.unschedule('x')).toBe(false)
    await workFor(3 * minute)
    expect(await enqueued()).toEqual([])
  })

  it('refuse expressions and time zones that nobody can read', async () => {
    await expect(jobs.schedule('report', 'every day', { of: 'a' })).rejects.toMatchObject({ code: 'invalid' })
    const nowhere = jobs.schedule('report', '* * * * *', { of: 'a' }, { timeZone: 'Nowhere/Land' })
    await expect(nowhere).rejects.toMatchObject({ code: 'invalid' })
    expect(await jobs.schedules()).toEqual([])
  })
})
