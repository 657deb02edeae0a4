import { beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { type ErrorCode, errorCodes, UnderpinError } from '../src/error.ts'
import type { JsonText } from '../src/model/value.ts'
import { retry } from '../src/wrapper/retry.ts'
import { FakeClock, idle, watchOutcome } from './fake-clock.ts'
import { type Line, openLine, verbs } from './line.ts'

let clock: FakeClock
let line: Line
let backend: Backend

const busy = new UnderpinError('unavailable', 'busy')

beforeEach(async () => {
  clock = new FakeClock()
  line = await openLine('app')
  backend = retry({ clock, deadlineMs: 1_000 })(line)
})

/** The times at which calls were made while the clock went on by `ms`, one millisecond after the other. */
async function timesOfCalls(ms: number): Promise<number[]> {
  await idle()
  const times = line.calls.map(() => clock.monotonic())
  for (let i = 0; i < ms; i++) {
    await clock.advance(1)
    while (times.length < line.calls.length) times.push(clock.monotonic())
  }
  return times
}

describe('retry', () => {
  it.each(verbs)(
    'makes %s again while the store is unavailable, and gives its answer',
    async (verb, _, call) => {
      const unhindered = watchOutcome(call(await openLine('app')))
      line.failures = [busy, busy, undefined]
      const outcome = watchOutcome(call(backend))
      await clock.advance(3)
      expect(line.calls).toEqual([verb, verb, verb])
      expect(outcome.state).toEqual(unhindered.state)
      expect(outcome.state).not.toBe('pending')
      expect(clock.timers).toBe(0)
    },
  )

  it('makes again what stood behind a busy store in a group, in its order, and nothing twice', async () => {
    const commits = [1, 2, 3].map((n) => ({
      ...{ at: 0, checks: [] },
      writes: [{ kind: 'append', stream: 's', type: 't', data: String(n) as JsonText, meta: null } as const],
    }))
    const inner = line.commit.bind(line)
    const sent: number[] = []
    line.commit = async (domain, epoch, group) => {
      sent.push(group.length)
      if (sent.length > 1) return inner(domain, epoch, group)
      const first = await inner(domain, epoch, group.slice(0, 1))
      return [...first, ...group.slice(1).map(() => ({ kind: 'refused' as const, error: busy }))]
    }
    const outcome = watchOutcome(backend.commit('app', 1, commits))
    await clock.advance(3)
    expect(sent).toEqual([3, 2])
    expect(outcome.state).toMatchObject({ value: [{ seqs: [1] }, { seqs: [2] }, { seqs: [3] }] })
  })

  it('waits twice as long each time, up to 100 ms', async () => {
    line.failures = [busy]
    const outcome = watchOutcome(backend.fence('app'))
    expect(await timesOfCalls(400)).toEqual([0, 1, 3, 7, 15, 31, 63, 127, 227, 327])
    expect(outcome.state).toBe('pending')
  })

  it('spreads the waits of callers by up to a half to either side', async () => {
    line.failures = [busy]
    clock.randomness = 0
    watchOutcome(backend.fence('app'))
    expect(await timesOfCalls(32)).toEqual([0, 1, 2, 4, 8, 16, 32])
    const other = await openLine('app')
    other.failures = [busy]
    clock.randomness = 0.999
    watchOutcome(retry({ clock, deadlineMs: 1_000 })(other).fence('app'))
    await clock.advance(4)
    expect(other.calls).toHaveLength(2)
    await clock.advance(1)
    expect(other.calls).toHaveLength(3)
  })

  it('stops at its deadline with the last error, and not a millisecond later', async () => {
    line.failures = [new UnderpinError('unavailable', 'first'), busy]
    const call = backend.fence('app')
    const outcome = watchOutcome(call)
    const times = await timesOfCalls(999)
    expect(outcome.state).toBe('pending')
    await clock.advance(1)
    expect(outcome.state).toBe('unavailable')
    await expect(call).rejects.toBe(busy)
    expect(line.calls).toHaveLength(times.length + 1)
    await clock.advance(5_000)
    expect(line.calls).toHaveLength(times.length + 1)
    expect(clock.timers).toBe(0)
  })

  const others = (Object.keys(errorCodes) as ErrorCode[]).filter((code) => code !== 'unavailable')
  it.each(others)('does not repeat a call that failed with %s', async (code) => {
    line.failures = [new UnderpinError(code, 'no')]
    await expect(backend.fence('app')).rejects.toMatchObject({ code })
    expect(line.calls).toHaveLength(1)
  })

  it('does not repeat a call that failed with an error of another kind', async () => {
    line.failures = [new TypeError('a mistake')]
    await expect(backend.fence('app')).rejects.toThrow(TypeError)
    expect(line.calls).toHaveLength(1)
  })

  it.each(verbs)(
    'ends %s with aborted as soon as its signal aborts, without waiting on',
    async (_, __, call) => {
      line.failures = [busy]
      const ending = new AbortController()
      const pending = call(backend, ending.signal)
      const outcome = watchOutcome(pending)
      await clock.advance(20)
      const calls = line.calls.length
      ending.abort(new Error('the user left'))
      await idle()
      expect(outcome.state).toBe('aborted')
      await expect(pending).rejects.toMatchObject({ cause: { message: 'the user left' } })
      expect(line.calls).toHaveLength(calls)
      expect(clock.timers).toBe(0)
    },
  )

  it('says aborted for a call that was aborted while it was found unavailable', async () => {
    line.failures = [busy]
    line.hold()
    const ending = new AbortController()
    const outcome = watchOutcome(backend.fence('app', { signal: ending.signal }))
    ending.abort()
    line.release()
    await idle()
    expect(outcome.state).toBe('aborted')
    expect(line.calls).toHaveLength(1)
  })

  it('wakes calls that wait when it closes: they meet the closed backend', async () => {
    line.failures = [busy]
    const outcome = watchOutcome(backend.fence('app'))
    await clock.advance(20)
    line.failures = []
    await backend.close()
    await idle()
    expect(outcome.state).toBe('closed')
    expect(clock.timers).toBe(0)
  })

  it('gives up with the last error when the backend is still unavailable after close', async () => {
    line.failures = [busy]
    const outcome = watchOutcome(backend.fence('app'))
    await clock.advance(20)
    await backend.close()
    await idle()
    expect(outcome.state).toBe('unavailable')
    expect(clock.timers).toBe(0)
  })
})
