import { beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { append } from '../src/conformance/harness.ts'
import { UnderpinError } from '../src/error.ts'
import { standardWrappers } from '../src/store.ts'
import { deadline } from '../src/wrapper/deadline.ts'
import { wrap } from '../src/wrapper/forward.ts'
import { FakeClock, idle, watchOutcome } from './fake-clock.ts'
import { type Line, openLine, verbs } from './line.ts'

let clock: FakeClock
let line: Line
let backend: Backend

beforeEach(async () => {
  clock = new FakeClock()
  line = await openLine('app')
  backend = deadline({ clock, deadlineMs: 1_000 })(line)
})

describe('close', () => {
  it('leaves no timer behind that would keep the process alive', async () => {
    await backend.fence('app')
    expect(clock.timers).toBe(1)
    await backend.close()
    expect(clock.timers).toBe(0)
  })
})

describe.each(verbs)('%s to a backend that does not answer', (_verb, writes, call) => {
  it(`ends with ${writes ? 'unknown' : 'timeout'} at the deadline, not earlier`, async () => {
    line.hold()
    const pending = call(backend)
    const outcome = watchOutcome(pending)
    await clock.advance(999)
    expect(outcome.state).toBe('pending')
    await clock.advance(1)
    expect(outcome.state).toBe(writes ? 'unknown' : 'timeout')
    await expect(pending).rejects.toMatchObject({ hint: expect.stringMatching(/\w/) })
    expect(clock.timers).toBe(0)
  })

  it(`ends with ${writes ? 'unknown' : 'aborted'} as soon as its signal aborts`, async () => {
    line.hold()
    const ending = new AbortController()
    const pending = call(backend, ending.signal)
    const outcome = watchOutcome(pending)
    await clock.advance(10)
    ending.abort('why')
    await idle()
    expect(outcome.state).toBe(writes ? 'unknown' : 'aborted')
    await expect(pending).rejects.toMatchObject({ cause: 'why' })
  })

  it('reaches nobody when its signal has aborted before', async () => {
    await expect(call(backend, AbortSignal.abort('why'))).rejects.toMatchObject({
      code: 'aborted',
      cause: 'why',
    })
    expect(line.calls).toEqual([])
    expect(clock.timers).toBe(0)
  })

  it(`ends with ${writes ? 'unknown' : 'closed'} when the backend closes`, async () => {
    line.hold()
    const outcome = watchOutcome(call(backend))
    await idle()
    await backend.close()
    await idle()
    expect(outcome.state).toBe(writes ? 'unknown' : 'closed')
  })
})

describe('deadline', () => {
  it('gives the answer of a call that ends in time, or its error as it is', async () => {
    expect(await backend.domains()).toEqual(['app'])
    const failure = new UnderpinError('damaged', 'no')
    line.failures = [failure]
    await expect(backend.fence('app')).rejects.toBe(failure)
  })

  it('ends a call that began between two looks at most a quarter of the deadline late', async () => {
    line.hold()
    watchOutcome(backend.domains())
    await clock.advance(10)
    const outcome = watchOutcome(backend.fence('app'))
    await clock.advance(999)
    expect(outcome.state).toBe('pending')
    await clock.advance(241)
    expect(outcome.state).toBe('timeout')
  })

  it('ends each of many calls at its own time', async () => {
    line.hold()
    const outcomes = []
    for (let i = 0; i < 4; i++) {
      outcomes.push(watchOutcome(backend.fence('app')))
      await clock.advance(250)
    }
    expect(outcomes.map(({ state }) => state)).toEqual(['timeout', 'pending', 'pending', 'pending'])
    await clock.advance(500)
    expect(outcomes.map(({ state }) => state)).toEqual(['timeout', 'timeout', 'timeout', 'pending'])
  })

  it('does not mind an answer or an error that comes after the deadline', async () => {
    line.hold()
    const outcomes = [watchOutcome(backend.fence('app')), watchOutcome(backend.domains())]
    await clock.advance(1_000)
    line.failures = [new UnderpinError('damaged', 'late'), undefined]
    line.release()
    await idle()
    expect(outcomes.map(({ state }) => state)).toEqual(['timeout', 'timeout'])
    line.failures = []
    expect(await backend.domains()).toEqual(['app'])
  })

  it('sets no timer for good: none is left when no call is under way', async () => {
    await backend.domains()
    await clock.advance(250)
    expect(clock.timers).toBe(0)
  })

  it('leaves a backend as it is that does its work within the call', () => {
    const bare = memory()
    expect(deadline({ clock, deadlineMs: 1_000 })(bare)).toBe(bare)
  })
})

describe('all wrappers together around a backend that does not answer', () => {
  const commit = { at: 1, writes: [append('s')], checks: [] }

  beforeEach(() => {
    backend = wrap(line, standardWrappers(clock, 1_000))
  })

  it('settle every call: the commit in flight as unknown, those in line as timeout', async () => {
    line.hold()
    const inFlight = watchOutcome(backend.commit('app', 1, [commit]))
    await idle()
    const inLine = watchOutcome(backend.commit('app', 1, [commit]))
    const reading = watchOutcome(backend.fence('app'))
    await clock.advance(1_000)
    expect([inFlight, inLine, reading].map(({ state }) => state)).toEqual(['unknown', 'timeout', 'timeout'])
    await clock.advance(2_500)
    expect(clock.timers).toBe(0)
  })

  it('have settled every call when close has ended, and close ends', async () => {
    line.hold()
    const inFlight = watchOutcome(backend.commit('app', 1, [commit]))
    await idle()
    const inLine = watchOutcome(backend.commit('app', 1, [commit]))
    const reading = watchOutcome(backend.fence('app'))
    const closing = watchOutcome(backend.close())
    await clock.advance(2_500)
    expect(closing.state).toEqual({ value: undefined })
    for (const { state } of [inFlight, inLine, reading]) expect(state).not.toBe('pending')
    expect(clock.timers).toBe(0)
    line.release()
    await expect(backend.commit('app', 1, [commit])).rejects.toMatchObject({ code: 'closed' })
  })

  it('end a commit with aborted that was waiting to be tried again', async () => {
    line.failures = [new UnderpinError('unavailable', 'busy')]
    const ending = new AbortController()
    const reading = watchOutcome(backend.fence('app', { signal: ending.signal }))
    await clock.advance(20)
    ending.abort()
    await idle()
    expect(reading.state).toBe('aborted')
  })
})
