import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { Alarm } from '../src/clock.ts'
import { FakeClock } from './fake-clock.ts'

describe('an alarm', () => {
  it('ends a wait when it is rung, when the time is over, and when the signal aborts', async () => {
    const [alarm, clock, ending] = [new Alarm(), new FakeClock(), new AbortController()]
    const rung = alarm.wait(clock, 10, ending.signal)
    alarm.ring()
    expect(await rung).toBe(true)
    const late = alarm.wait(clock, 10, ending.signal)
    await clock.advance(10)
    expect(await late).toBe(false)
    const over = alarm.wait(clock, 10, ending.signal)
    ending.abort()
    expect(await over).toBe(false)
    expect(await alarm.wait(clock, 10, ending.signal)).toBe(false)
  })

  it('misses no ring between two waits, and counts several as one', async () => {
    const [alarm, clock, { signal }] = [new Alarm(), new FakeClock(), new AbortController()]
    alarm.ring()
    alarm.ring()
    expect(await alarm.wait(clock, 10, signal)).toBe(true)
    const next = alarm.wait(clock, 10, signal)
    await clock.advance(10)
    expect(await next).toBe(false)
  })

  it('leaves nothing behind on its signal, however often it waits', async () => {
    const any = vi.spyOn(AbortSignal, 'any')
    const [alarm, clock, { signal }] = [new Alarm(), new FakeClock(), new AbortController()]
    for (let i = 0; i < 100; i++) {
      const waiting = alarm.wait(clock, 10, signal)
      alarm.ring()
      await waiting
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(any).not.toHaveBeenCalled()
    any.mockRestore()
  })
})
