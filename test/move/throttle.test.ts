import { channel } from 'node:diagnostics_channel'
import { describe, expect, it } from 'vitest'
import { hearCommits, Samples } from '../../src/move/samples.ts'
import { defaultSettings } from '../../src/move/settings.ts'
import { type Load, Throttle } from '../../src/move/throttle.ts'
import { FakeClock } from '../fake-clock.ts'

const limits = defaultSettings
const publish = (call: object) => channel('underpin:call').publish(call)
const calm: Load = {
  workMs: 50,
  records: 5_000,
  sinceMs: 50,
  application: undefined,
  source: undefined,
  target: undefined,
  isUnseen: false,
}

/** Decides over and over, as after so many pages of one kind. */
function decideAgain(throttle: Throttle, pages: number, load: Load, given = limits) {
  let decision = throttle.decide(load, given)
  for (let page = 1; page < pages; page++) decision = throttle.decide(load, given)
  return decision
}

const limiting = ({ causes }: ReturnType<Throttle['decide']>) =>
  causes.filter(({ isLimiting }) => isLimiting).map(({ cause }) => cause)

describe('the throttle', () => {
  it('lets a mover go that harms nobody, and names all causes all the same', () => {
    const decision = new Throttle().decide(calm, limits)
    expect(decision).toMatchObject({ waitMs: 0, pageItems: limits.pageItems })
    expect(decision.causes.map(({ cause }) => cause)).toEqual([
      'application',
      'source',
      'target',
      'unseen',
      'rate',
      'duty',
    ])
    expect(limiting(decision)).toEqual([])
  })

  it('halves the pace for each time that the application suffers, in time and in page size, and raises it by steps', () => {
    const throttle = new Throttle()
    const suffering = { ...calm, application: { now: 2, before: 1, isFresh: true } }
    const slowed = throttle.decide(suffering, limits)
    expect(slowed).toMatchObject({ isSlower: true, pageItems: limits.pageItems / 2 })
    expect(limiting(slowed)).toEqual(['application'])
    expect(slowed.waitMs).toBeGreaterThanOrEqual(50)
    expect(slowed.causes[0]?.utilisation).toBeCloseTo(2 / 1.3)
    const slowest = decideAgain(throttle, 20, suffering)
    expect(throttle.pace).toBeCloseTo(0.02)
    expect(slowest.pageItems).toBe(200)
    const fine = { ...calm, sinceMs: 1_000, application: { now: 1, before: 1, isFresh: true } }
    decideAgain(throttle, 10, fine)
    expect(throttle.pace).toBeCloseTo(0.52)
    decideAgain(throttle, 100, fine)
    expect(throttle.pace).toBe(1)
  })

  it('does not judge a pace by what was heard at the one before', () => {
    const throttle = new Throttle()
    const stale = { ...calm, application: { now: 9, before: 1, isFresh: false } }
    expect(decideAgain(throttle, 5, stale).isSlower).toBe(false)
    expect(throttle.pace).toBe(1)
  })

  it('gives way to a store that answers three times as slowly as at its best', () => {
    for (const cause of ['source', 'target'] as const) {
      const throttle = new Throttle()
      const fine = throttle.decide({ ...calm, [cause]: { now: 20, before: 10, isFresh: true } }, limits)
      expect(fine.isSlower).toBe(false)
      const slow = throttle.decide({ ...calm, [cause]: { now: 60, before: 10, isFresh: true } }, limits)
      expect(limiting(slow)).toEqual([cause])
    }
  })

  it('goes slowly and in small pages beside writers that it cannot hear, unless they may wait', () => {
    const beside = { ...calm, isUnseen: true }
    const decision = new Throttle().decide(beside, limits)
    expect(decision.waitMs).toBeCloseTo(150)
    expect(decision.pageItems).toBe(limits.pageItems / 10)
    expect(limiting(decision)).toEqual(['unseen'])
    const bold = new Throttle().decide(beside, { ...limits, latencyFactor: 4 })
    expect(bold).toMatchObject({ waitMs: 0, pageItems: limits.pageItems })
    expect(limiting(bold)).toEqual([])
  })

  it('keeps the rate and the part of the time that the operator allows', () => {
    const duty = new Throttle().decide(calm, { ...limits, maxDuty: 0.25 })
    expect(duty.waitMs).toBeCloseTo(150)
    expect(limiting(duty)).toEqual(['duty'])
    const rate = new Throttle().decide(calm, { ...limits, maxRate: 10_000, maxDuty: 0.25 })
    expect(rate.waitMs).toBeCloseTo(450)
    expect(limiting(rate)).toEqual(['rate'])
    // The page and its rest took half a second: the rate is used up.
    const used = new Throttle().decide({ ...calm, sinceMs: 500 }, { ...limits, maxRate: 10_000 })
    expect(used.causes).toContainEqual({ cause: 'rate', utilisation: 1, isLimiting: true })
  })

  it('rests a tenth of the time while it hears the application, to hear what that is like without it', () => {
    const heard = { ...calm, application: { now: 1, before: 1, isFresh: true } }
    expect(new Throttle().decide(heard, limits).waitMs).toBeCloseTo(50 / 9)
  })
})

describe('the samples of a mover', () => {
  it('tell what was met while it worked from what was met while it rested all the time', async () => {
    const clock = new FakeClock()
    const samples = new Samples(clock)
    await clock.advance(100)
    samples.add(10)
    samples.workBegins()
    await clock.advance(5)
    samples.add(30)
    samples.workEnds()
    await clock.advance(5)
    // Begun while the mover worked.
    samples.add(6)
    await clock.advance(10)
    samples.add(10)
    expect(samples.contrast(0.5, 1)).toEqual({ calmMs: 10, busyMs: 30 })
    expect(samples.contrast(0.5, 3)).toBeUndefined()
    samples.forgetBusy()
    expect(samples.contrast(0.5, 1)).toBeUndefined()
    expect(samples.count).toBe(4)
  })

  it('are the commits of this process in the domain, and no other calls', () => {
    const heard: number[] = []
    const stop = hearCommits('app', (ms) => heard.push(ms))
    const call = { backend: 'memory', verb: 'commit', domain: 'app', ms: 3, error: undefined }
    publish(call)
    publish({ ...call, verb: 'get', ms: 4 })
    publish({ ...call, domain: 'other', ms: 5 })
    publish({ ...call, error: new Error('no'), ms: 6 })
    stop()
    publish({ ...call, ms: 7 })
    expect(heard).toEqual([3])
  })
})
