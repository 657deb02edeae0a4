import { beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { append, remove, streamAt } from '../src/conformance/harness.ts'
import { UnderpinError } from '../src/error.ts'
import type { Commit } from '../src/model/commit.ts'
import { batch } from '../src/wrapper/batch.ts'
import { FakeClock, idle, watchOutcome } from './fake-clock.ts'
import { type Line, openLine } from './line.ts'

let clock: FakeClock
let line: Line
let backend: Backend

beforeEach(async () => {
  clock = new FakeClock()
  line = await openLine('app', 'other')
  backend = batch({ clock, deadlineMs: 1_000 })(line)
})

const commitOf = (stream: string, value: unknown = null, checks: Commit['checks'] = []): Commit => ({
  at: 1,
  writes: [append(stream, value)],
  checks,
})
const send = (commit: Commit, signal?: AbortSignal, domain = 'app') =>
  backend.commit(domain, 1, [commit], signal === undefined ? undefined : { signal })
/** The streams that each group wrote, group by group. */
const groups = () =>
  line.groups.map((group) =>
    group.flatMap(({ writes }) => writes.map((write) => 'stream' in write && write.stream)),
  )
const streamsIn = async (domain = 'app') =>
  (await line.changes(domain, 0, 1_000)).items.map((item) => item.kind === 'event' && item.stream)

describe('the forming of groups', () => {
  it('makes one group of the commits that arrive while another is in flight', async () => {
    line.hold()
    const calls = [send(commitOf('a'))]
    await idle()
    for (const stream of ['b', 'c', 'd']) calls.push(send(commitOf(stream)))
    await idle()
    expect(groups()).toEqual([['a']])
    line.release()
    const outcomes = await Promise.all(calls)
    expect(groups()).toEqual([['a'], ['b', 'c', 'd']])
    expect(outcomes.map(([outcome]) => outcome)).toEqual(
      [1, 2, 3, 4].map((position) => ({ kind: 'committed', positions: [position], seqs: [1] })),
    )
  })

  it('gives callers who were just answered the chance to join the next group', async () => {
    line.hold()
    const first = send(commitOf('a'))
    const again = first.then(() => send(commitOf('a2')))
    await idle()
    const second = send(commitOf('b'))
    line.release()
    await Promise.all([again, second])
    expect(groups()).toEqual([['a'], ['b', 'a2']])
  })

  it('sends a lone commit without waiting for others: no timer decides when', async () => {
    const outcome = watchOutcome(send(commitOf('a')))
    await idle()
    expect(outcome.state).toMatchObject({ value: [{ kind: 'committed' }] })
    expect(clock.monotonic()).toBe(0)
    expect(clock.timers).toBe(0)
  })

  it('puts at most so many commits into a group, and no more text than its size', async () => {
    backend = batch({ clock, deadlineMs: 1_000, groupCommits: 3, groupSize: 100 })(line)
    line.hold()
    const calls = [send(commitOf('first'))]
    await idle()
    for (let i = 1; i <= 4; i++) calls.push(send(commitOf(`n${i}`)))
    for (let i = 1; i <= 3; i++) calls.push(send(commitOf(`large${i}`, 'x'.repeat(60))))
    calls.push(send(commitOf('huge', 'x'.repeat(500))), send(commitOf('last')))
    line.release()
    await Promise.all(calls)
    expect(groups()).toEqual([
      ['first'],
      ['n1', 'n2', 'n3'],
      ['n4', 'large1'],
      ['large2'],
      ['large3'],
      ['huge'],
      ['last'],
    ])
  })

  it('keeps commits that were given together in one group, and gives each its own outcome', async () => {
    line.hold()
    const first = send(commitOf('a'))
    await idle()
    const pair = backend.commit('app', 1, [commitOf('b'), commitOf('b', 2, [streamAt('b', 'none')])])
    const deleting = backend.commit('app', 1, [{ at: 1, writes: [remove('$commits', 'x')], checks: [] }])
    const none = backend.commit('app', 1, [])
    line.release()
    await Promise.all([first, deleting])
    expect((await pair).map(({ kind }) => kind)).toEqual(['committed', 'failed'])
    expect(await none).toEqual([])
    expect(line.groups.map((group) => group.length)).toEqual([1, 3])
  })

  it('lets no domain and no epoch wait for another', async () => {
    line.hold()
    const inApp = watchOutcome(send(commitOf('a')))
    const inOther = watchOutcome(send(commitOf('b'), undefined, 'other'))
    const stale = watchOutcome(backend.commit('app', 7, [commitOf('c')]))
    await idle()
    expect(groups()).toEqual([['a'], ['b'], ['c']])
    line.release()
    await idle()
    expect([inApp, inOther].map(({ state }) => state)).toEqual([
      { value: [expect.objectContaining({ kind: 'committed' })] },
      { value: [expect.objectContaining({ kind: 'committed' })] },
    ])
    expect(stale.state).toBe('fenced')
  })

  it('leaves a backend as it is that has nothing to sync', () => {
    const bare = memory()
    expect(batch({ clock, deadlineMs: 1_000 })(bare)).toBe(bare)
  })
})

describe('commits in one group', () => {
  it('keep the order in which one caller sent them', async () => {
    backend = batch({ clock, deadlineMs: 1_000, groupCommits: 7 })(line)
    const calls = Array.from({ length: 100 }, (_, i) => send(commitOf('s', i)))
    const seqs = (await Promise.all(calls)).map(
      ([outcome]) => outcome?.kind === 'committed' && outcome.seqs[0],
    )
    expect(seqs).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    const page = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 200 }
    const stored = (await line.read('app', 's', page)).items.map(({ data }) => JSON.parse(data))
    expect(stored).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(line.groups.length).toBe(15)
  })

  it('do not fail because a check of a neighbour failed', async () => {
    const outcomes = await Promise.all([
      send(commitOf('s', 1, [streamAt('s', 'none')])),
      send(commitOf('s', 2, [streamAt('s', 'none')])),
      send(commitOf('s', 3, [streamAt('s', 1)])),
      send({ at: 1, writes: [remove('nowhere', 'x')], checks: [] }),
      send(commitOf('s', 4)),
    ])
    expect(line.groups).toHaveLength(1)
    expect(outcomes.flat()).toMatchObject([
      { kind: 'committed', seqs: [1] },
      { kind: 'failed', failed: [{ stream: 's', expected: 'none', found: 1 }] },
      { kind: 'committed', seqs: [2] },
      { kind: 'refused', error: { code: 'invalid' } },
      { kind: 'committed', seqs: [3] },
    ])
  })

  it('all fail with what the group failed with, and the next group goes on', async () => {
    const broken = new UnderpinError('unknown', 'the line broke')
    line.failures = [broken, undefined]
    line.hold()
    const group = ['a', 'b'].map((stream) => send(commitOf(stream)))
    await idle()
    const next = send(commitOf('c'))
    line.release()
    const failed = await Promise.allSettled(group)
    expect(failed).toEqual(group.map(() => ({ status: 'rejected', reason: broken })))
    expect(await next).toMatchObject([{ kind: 'committed' }])
  })
})

describe('a commit that is given up', () => {
  it('is certainly not written while it waits in line, and its neighbours are', async () => {
    line.hold()
    const first = send(commitOf('first'))
    await idle()
    const ending = new AbortController()
    const before = send(commitOf('before'))
    const given = watchOutcome(send(commitOf('given up'), ending.signal))
    const after = send(commitOf('after'))
    ending.abort()
    await idle()
    expect(given.state).toBe('aborted')
    line.release()
    await Promise.all([first, before, after])
    expect(groups()).toEqual([['first'], ['before', 'after']])
    expect(await streamsIn()).toEqual(['first', 'before', 'after'])
  })

  it('is unknown while it is in flight, at once, and its neighbours get their answers', async () => {
    line.hold()
    const ending = new AbortController()
    const given = watchOutcome(send(commitOf('given up'), ending.signal))
    const neighbour = send(commitOf('neighbour'))
    await idle()
    ending.abort()
    await idle()
    expect(given.state).toBe('unknown')
    line.release()
    expect(await neighbour).toMatchObject([{ kind: 'committed', positions: [2] }])
    expect(given.state).toBe('unknown')
  })

  it('never joins a line when it was aborted before it began', async () => {
    await expect(send(commitOf('a'), AbortSignal.abort('why'))).rejects.toMatchObject({
      code: 'aborted',
      cause: 'why',
    })
    await idle()
    expect(line.groups).toEqual([])
  })

  it('changes nothing once it was answered', async () => {
    const ending = new AbortController()
    const outcome = await send(commitOf('a'), ending.signal)
    ending.abort()
    await idle()
    expect(outcome).toMatchObject([{ kind: 'committed' }])
  })

  it('sends no empty group when all of it were given up', async () => {
    line.hold()
    const first = send(commitOf('first'))
    await idle()
    const ending = new AbortController()
    const given = ['b', 'c'].map((stream) => watchOutcome(send(commitOf(stream), ending.signal)))
    ending.abort()
    line.release()
    await first
    await idle()
    expect(given.map(({ state }) => state)).toEqual(['aborted', 'aborted'])
    expect(line.groups).toHaveLength(1)
    expect(await send(commitOf('later'))).toMatchObject([{ kind: 'committed' }])
  })
})

describe('the wait in line', () => {
  it('ends with timeout at the deadline or at most a tenth of it later, and nothing is written', async () => {
    line.hold()
    const inFlight = watchOutcome(send(commitOf('in flight')))
    await clock.advance(10)
    const waiting = watchOutcome(send(commitOf('waiting')))
    await clock.advance(989)
    expect([inFlight.state, waiting.state]).toEqual(['pending', 'pending'])
    await clock.advance(111)
    expect([inFlight.state, waiting.state]).toEqual(['unknown', 'timeout'])
    line.release()
    await idle()
    expect(await streamsIn()).toEqual(['in flight'])
    expect(clock.timers).toBe(0)
  })

  it('ends only for those whose time has come', async () => {
    line.hold()
    const first = watchOutcome(send(commitOf('first')))
    await clock.advance(1)
    const early = watchOutcome(send(commitOf('early')))
    await clock.advance(600)
    const late = watchOutcome(send(commitOf('late')))
    await clock.advance(700)
    expect([first.state, early.state, late.state]).toEqual(['unknown', 'timeout', 'pending'])
    line.release()
    await idle()
    expect(late.state).toMatchObject({ value: [{ kind: 'committed' }] })
  })
})

describe('a group that could not be sent', () => {
  it('fails for those whose time is over, and is sent again for the others', async () => {
    line.hold()
    const first = watchOutcome(send(commitOf('first')))
    await clock.advance(1)
    const old = watchOutcome(send(commitOf('old')))
    await clock.advance(700)
    const young = watchOutcome(send(commitOf('young')))
    await clock.advance(200)
    line.failures = [undefined, new UnderpinError('unavailable', 'busy'), undefined]
    line.release()
    await idle()
    expect(first.state).toMatchObject({ value: [{ kind: 'committed' }] })
    expect(old.state).toBe('unavailable')
    expect(young.state).toMatchObject({ value: [{ kind: 'committed' }] })
    expect(groups()).toEqual([['first'], ['old', 'young'], ['young']])
  })
})

describe('close', () => {
  it('takes nothing more, so that callers who never rest cannot keep it open', async () => {
    line.hold()
    const first = send(commitOf('a'))
    await idle()
    const closed = watchOutcome(backend.close())
    await expect(send(commitOf('b'))).rejects.toMatchObject({ code: 'closed' })
    await expect(send(commitOf('c'), undefined, 'other')).rejects.toMatchObject({ code: 'closed' })
    line.release()
    await first
    await idle()
    expect(closed.state).toEqual({ value: undefined })
    expect(groups()).toEqual([['a']])
  })

  it('finishes what is in flight and what waits, then closes the backend', async () => {
    line.hold()
    const calls = [send(commitOf('a'))]
    await idle()
    calls.push(send(commitOf('b')), send(commitOf('c'), undefined, 'other'))
    const closed = watchOutcome(backend.close())
    await idle()
    expect(closed.state).toBe('pending')
    line.release()
    expect((await Promise.all(calls)).flat()).toMatchObject(calls.map(() => ({ kind: 'committed' })))
    await idle()
    expect(closed.state).toEqual({ value: undefined })
    await expect(send(commitOf('late'))).rejects.toMatchObject({ code: 'closed' })
    expect(clock.timers).toBe(0)
  })
})
