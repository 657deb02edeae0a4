import { AssertionError } from 'node:assert'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { systemClock } from '../src/clock.ts'
import { laws, runLaw } from '../src/conformance/conformance.ts'
import { isUnderpinError, openStore, verifyDomain } from '../src/index.ts'
import { vacantFence } from '../src/model/fence.ts'
import { encodeValue } from '../src/model/value.ts'
import { standardWrappers } from '../src/store.ts'
import {
  type Decider,
  FakeClock,
  type FaultyMemoryOptions,
  faultyMemory,
  given,
} from '../src/testing/testing.ts'
import { wrap } from '../src/wrapper/forward.ts'

type Account = { type: 'opened'; data: { limit: number } } | { type: 'spent'; data: { amount: number } }

const account: Decider<{ left: number } | undefined, { spend: number }, Account> = {
  seed: undefined,
  step: (state, event) =>
    event.type === 'opened' ? { left: event.data.limit } : { left: (state?.left ?? 0) - event.data.amount },
  decide(state, { spend }) {
    if (state === undefined) throw new RangeError('No account')
    if (spend > state.left) throw new RangeError(`Only ${state.left} left`)
    return spend === 0 ? [] : { type: 'spent', data: { amount: spend } }
  },
}
const opened = { type: 'opened', data: { limit: 10 } } as const
const spent = (amount: number) => ({ type: 'spent', data: { amount } }) as const

describe('given, when, then', () => {
  it('passes when a decider does what is expected', () => {
    given<Account>([opened, spent(3)])
      .when(account, { spend: 7 })
      .then(spent(7))
    given<Account>(opened).when(account, { spend: 0 }).then([])
    for (const expected of [RangeError, /^Only 7/, 'Only 7', { name: 'RangeError', message: 'Only 7 left' }])
      given<Account>([opened, spent(3)])
        .when(account, { spend: 8 })
        .thenFails(expected)
    given<Account>().when(account, { spend: 1 }).thenFails('No account')
  })

  it('shows the difference when it does not', () => {
    const decision = given<Account>([opened]).when(account, { spend: 7 })
    expect(() => decision.then(spent(8))).toThrow(AssertionError)
    expect(() => decision.then(spent(8))).toThrow(/\+ +amount: 7\n.*- +amount: 8/s)
    expect(() => decision.thenFails(/left/)).toThrow(/expected to fail, and it led to:.*"amount": 7/s)
    const refused = given<Account>([opened]).when(account, { spend: 11 })
    expect(() => refused.thenFails(TypeError)).toThrow(/otherwise than expected: Only 10 left/)
    expect(() => refused.thenFails({ code: 'conflict' })).toThrow(AssertionError)
    expect(() => refused.then([])).toThrow('Only 10 left')
  })

  it('tells what is no pure function, and what no store would keep', () => {
    let count = 0
    const counting = { ...account, decide: () => spent(++count) }
    expect(() => given<Account>().when(counting, { spend: 1 }).then(spent(1))).toThrow('the second time')
    const changing = {
      ...account,
      decide(state: { left: number } | undefined) {
        if (state !== undefined) state.left = 0
        return []
      },
    }
    expect(() => given<Account>(opened).when(changing, { spend: 1 }).then([])).toThrow(TypeError)
    const dated = { ...account, decide: () => ({ type: 'spent', data: { amount: new Date(0) } }) as never }
    expect(() => given<Account>().when(dated, { spend: 1 }).then([])).toThrow('an instance of Date')
  })

  it('folds projections, by stream or by key', () => {
    const total = {
      seed: { spent: 0 },
      step: (state: { spent: number }, { data }: { data: unknown }) => ({
        spent: state.spent + ((data as { amount?: number }).amount ?? 0),
      }),
    }
    given<Account>([opened, spent(1), spent(2)])
      .project(total)
      .then({ spent: 3 })
    given<Account>([]).project(total).then({ spent: 0 })
    const events = [
      { ...spent(1), stream: 'a' },
      { ...spent(2), stream: 'b' },
      { ...spent(3), stream: 'a' },
    ]
    given<Account>(events)
      .project(total)
      .thenByKey({ a: { spent: 4 }, b: { spent: 2 } })
    expect(() => given<Account>(events).project(total).then({ spent: 6 })).toThrow('several keys (a, b)')
    const even = { ...total, key: ({ seq }: { seq: number }) => (seq % 2 === 0 ? ['even', 'all'] : 'all') }
    given<Account>([spent(1), spent(2)])
      .project(even)
      .thenByKey({ even: { spent: 2 }, all: { spent: 3 } })
    const closing = { seed: 0, step: (n: number) => (n === 1 ? undefined : n + 1) }
    given<Account>([spent(1), spent(1)])
      .project(closing)
      .thenByKey({})
  })
})

describe('a fake clock', () => {
  it('runs timers when time passes, not when the wall clock is set', async () => {
    const clock = new FakeClock(1_000)
    let ran = 0
    clock.timer(10, () => ran++)
    clock.jump(-500)
    expect([clock.now(), clock.monotonic(), ran]).toEqual([500, 0, 0])
    await clock.advance(10)
    expect([clock.now(), clock.monotonic(), ran]).toEqual([510, 10, 1])
  })
})

describe.each(['bare', 'wrapped'])('a faulty memory in quiet mode, %s,', (how) => {
  const subject = {
    async open(): Promise<Backend> {
      const backend = faultyMemory({ seed: 7, conflicts: 1, unavailable: 1, unknown: 1, delays: 1 })
      backend.isQuiet = true
      await backend.open()
      return how === 'bare' ? backend : wrap(backend, standardWrappers(systemClock, 10_000))
    },
  }
  let backend: Backend
  beforeAll(async () => {
    backend = await subject.open()
  })
  afterAll(() => backend.close())

  for (const law of laws) {
    it(`keeps law ${law.law}: ${law.name}`, async ({ skip }) => {
      const { result, reason, error } = await runLaw(law, subject, backend)
      if (result === 'skipped') skip(reason)
      if (result === 'failed') throw error
    })
  }
})

async function made(options: FaultyMemoryOptions) {
  const backend = faultyMemory(options)
  backend.isQuiet = true
  await backend.transition('d', vacantFence, {
    ...vacantFence,
    role: 'authority',
    epoch: 1,
    incarnation: 'i',
  })
  backend.isQuiet = false
  return backend
}

const write = (n: number, expect?: number) => ({
  at: 0,
  writes: [{ kind: 'append', stream: 's', type: 't', data: encodeValue(n), meta: null } as const],
  checks: expect === undefined ? [] : [{ kind: 'stream', stream: 's', expect } as const],
})

const told = (call: Promise<unknown>) =>
  call.then(
    () => 'done',
    (error: { code: string }) => error.code,
  )

describe('a faulty memory', () => {
  it('injects the same faults for the same seed and calls', async () => {
    const history = async (seed: number) => {
      const backend = await made({
        seed,
        unavailable: 0.2,
        unknown: 0.2,
        conflicts: 0.2,
        delays: 0.2,
        delayMs: 1,
      })
      const seen: string[] = []
      for (let n = 0; n < 100; n++) seen.push(await told(backend.commit('d', 1, [write(n)])))
      return seen.join(' ')
    }
    expect(await history(3)).toBe(await history(3))
    expect(await history(3)).not.toBe(await history(4))
  })

  it('meets the faults that are asked for, in order, and tells the truth about each', async () => {
    const backend = await made({})
    backend.failNext('unavailable', 'unknown, not written', 'unknown, written', 'conflict')
    const count = async () => (await backend.fence('d')).head
    expect([await told(backend.commit('d', 1, [write(1)])), await count()]).toEqual(['unavailable', 0])
    expect([await told(backend.commit('d', 1, [write(2)])), await count()]).toEqual(['unknown', 0])
    expect([await told(backend.commit('d', 1, [write(3)])), await count()]).toEqual(['unknown', 1])
    expect(await backend.commit('d', 1, [write(4), write(5, 1), write(6)])).toEqual([
      { kind: 'committed', positions: [2], seqs: [2] },
      { kind: 'failed', failed: [{ kind: 'stream', stream: 's', expected: 1, found: 1 }] },
      { kind: 'committed', positions: [3], seqs: [3] },
    ])
    expect(await told(backend.commit('d', 1, [write(7)]))).toBe('done')
    expect(backend.injected).toEqual({ conflicts: 1, unavailable: 1, unknown: 2, delays: 0, crashes: 0 })
  })

  it('keeps what was acknowledged before a crash, answers nothing until the restart, and writes nothing late', async () => {
    let [written, lost] = [0, 0]
    for (let seed = 1; seed <= 40; seed++) {
      const clock = new FakeClock()
      const backend = await made({ seed, clock, delays: 0.5, delayMs: 10 })
      const calls = Array.from({ length: 6 }, (_, n) => told(backend.commit('d', 1, [write(n)])))
      await clock.advance(5)
      backend.crash()
      const after = [told(backend.fence('d')), told(backend.commit('d', 1, [write(9)]))]
      expect(await Promise.all(after)).toEqual(['unavailable', 'unavailable'])
      backend.restart()
      backend.isQuiet = true
      const range = { after: 0, before: 99, backwards: false, limit: 99 }
      const there = (await backend.read('d', 's', range)).items.map(({ data }) => Number(data))
      await clock.advance(100)
      for (const [n, outcome] of (await Promise.all(calls)).entries()) {
        expect(outcome).toMatch(/^(done|unknown)$/)
        if (outcome === 'done') expect(there).toContain(n)
        else if (there.includes(n)) written++
        else lost++
      }
      expect((await backend.read('d', 's', range)).items).toHaveLength(there.length)
      await backend.close()
    }
    expect(Math.min(written, lost)).toBeGreaterThan(5)
  })

  it('shows that commits with ids are applied once, whatever fails', async () => {
    const backend = faultyMemory({
      seed: 11,
      conflicts: 0.2,
      unavailable: 0.1,
      unknown: 0.2,
      delays: 0.2,
      delayMs: 1,
    })
    backend.isQuiet = true
    const store = await openStore(backend, { domains: { d: { collections: { sums: {} } } } })
    backend.isQuiet = false
    const domain = store.domain('d')
    const add = async (n: number) => {
      for (;;) {
        try {
          return await domain.transaction(
            async (tx) => {
              const found = await tx.get('sums', 'all')
              tx.put('sums', 'all', Number(found?.value ?? 0) + n)
              tx.append('s', { type: 'added', data: n })
            },
            { id: `add-${n}` },
          )
        } catch (error) {
          if (!['unknown', 'unavailable', 'conflict'].some((code) => isUnderpinError(error, code as never)))
            throw error
        }
      }
    }
    await Promise.all(
      [0, 1, 2].map(async (part) => {
        for (let n = part; n < 60; n += 3) await add(n)
      }),
    )
    backend.isQuiet = true
    expect((await domain.documents('sums').get('all'))?.value).toBe((59 * 60) / 2)
    expect((await domain.log.read('s')).events.map(({ data }) => Number(data)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 60 }, (_, n) => n),
    )
    expect((await verifyDomain(backend, 'd')).isSound).toBe(true)
    const { conflicts, unavailable, unknown, delays } = backend.injected
    expect(Math.min(conflicts, unavailable, unknown, delays)).toBeGreaterThan(5)
    await store.close()
  })

  it('ends its delays when it is closed or a caller gives up', async () => {
    const clock = new FakeClock()
    const backend = await made({ clock, delays: 1, delayMs: 1_000 })
    const stop = new AbortController()
    const givenUp = told(backend.commit('d', 1, [write(1)], { signal: stop.signal }))
    stop.abort()
    expect(await givenUp).toBe('aborted')
    const pending = told(backend.commit('d', 1, [write(2)]))
    await backend.close()
    expect(await pending).toBe('done')
    expect(clock.timers).toBe(0)
  })
})
