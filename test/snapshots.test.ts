import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Fold } from '../src/index.ts'
import { events, isUnderpinError } from '../src/index.ts'
import { FakeClock } from './fake-clock.ts'
import { type Place, placeKinds } from './places.ts'
import { append } from './proof.ts'

interface Moved {
  readonly type: 'moved'
  readonly data: { readonly by: number; readonly note?: string }
}

interface Account {
  balance: number
  moves: number
  /** In order, so that a fold which takes an event twice or in another place is seen. */
  trail: string
}

const account: Fold<Account, Moved> = {
  name: 'account',
  version: 1,
  seed: { balance: 0, moves: 0, trail: '' },
  step: (state, { data }) => {
    state.balance += data.by
    state.moves++
    state.trail = `${state.trail.slice(-200)},${data.by}`
    return state
  },
}

const domains = { bank: { events: events<Moved>() } }
const moved = (by: number): Moved => ({ type: 'moved', data: { by } })
const seed = Number(process.env.UNDERPIN_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** The state by definition: all events, one after the other. */
const replayed = (all: readonly { readonly data: Moved['data'] }[]) =>
  all.reduce(
    (state, { data }) => account.step(state, { stream: '', type: 'moved', data, meta: undefined, at: 0 }),
    structuredClone(account.seed),
  )

describe.each(placeKinds)('snapshots on $name', ({ name, make, missing }) => {
  let place: Place
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
  })
  const open = async (clock?: FakeClock) =>
    (await place.open(domains, clock === undefined ? {} : { clock })).domain('bank')

  it('the state of an empty stream is a copy of the seed', async () => {
    const bank = await open()
    const found = await bank.state(account, 'nobody', { snapshot: { events: 1 } })
    expect(found).toEqual({ state: account.seed, seq: 0, position: 0, fromSeq: 0, snapshot: undefined })
    found.state.balance = 9
    expect((await bank.state(account, 'nobody')).state.balance).toBe(0)
  })

  it('a state is what its events give, at the end, at any seq, and at any time', async () => {
    const clock = new FakeClock()
    const bank = await open(clock)
    for (let n = 1; n <= 6; n++) {
      await bank.log.append('a', moved(n))
      await clock.advance(1_000)
    }
    const start = clock.now() - 6_000
    expect(await bank.state(account, 'a')).toMatchObject({ state: { balance: 21, moves: 6 }, seq: 6 })
    expect(await bank.state(account, 'a', { at: { seq: 2 } })).toMatchObject({
      state: { balance: 3 },
      seq: 2,
    })
    expect((await bank.state(account, 'a', { at: { seq: 0 } })).state).toEqual(account.seed)
    expect((await bank.state(account, 'a', { at: { seq: 99 } })).seq).toBe(6)
    expect((await bank.state(account, 'a', { at: { time: start + 2_000 } })).state.balance).toBe(6)
    expect((await bank.state(account, 'a', { at: { time: start - 1 } })).seq).toBe(0)
    await bank.state(account, 'a', { snapshot: { events: 1 } })
    const early = await bank.state(account, 'a', { at: { time: start + 2_000 } })
    expect([early.state.balance, early.fromSeq]).toEqual([6, 0])
    expect((await bank.state(account, 'a', { at: { seq: 3 } })).state.balance).toBe(6)
    await expect(bank.state(account, 'a', { at: 3 as never })).rejects.toThrow('at: { seq }')
  })

  it('a snapshot is taken after so many events, bytes or milliseconds, and used from then on', async () => {
    const clock = new FakeClock()
    const bank = await open(clock)
    const take = async (snapshot: object) => (await bank.state(account, 'a', { snapshot })).snapshot?.kind
    await bank.log.append('a', [moved(1), moved(2)])
    expect(await take({ events: 3 })).toBeUndefined()
    await bank.log.append('a', moved(3))
    expect(await take({ events: 3 })).toBe('taken')
    expect(await bank.state(account, 'a')).toMatchObject({ state: { balance: 6 }, seq: 3, fromSeq: 3 })
    expect(await take({ events: 1 })).toBeUndefined()
    await bank.log.append('a', moved(4))
    expect(await take({ bytes: 1_000, ageMs: 1_000 })).toBeUndefined()
    await clock.advance(1_000)
    expect(await take({ ageMs: 1_000 })).toBe('taken')
    await bank.log.append('a', { type: 'moved', data: { by: 5, note: 'x'.repeat(1_000) } })
    expect(await take({ ageMs: 1_000 })).toBeUndefined()
    expect(await take({ bytes: 1_000 })).toBe('taken')
  })

  it('a snapshot of another version is not used, and replaced only by a later version', async () => {
    const bank = await open()
    await bank.log.append('a', [moved(1), moved(2)])
    await bank.state(account, 'a', { snapshot: { events: 1 } })
    const second: Fold<{ sum: number }, Moved> = {
      name: 'account',
      version: 2,
      seed: { sum: 0 },
      step: ({ sum }, { data }) => ({ sum: sum + 10 * data.by }),
    }
    const first = await bank.state(second, 'a', { snapshot: { events: 1 } })
    expect(first).toMatchObject({ state: { sum: 30 }, fromSeq: 0, snapshot: { kind: 'taken' } })
    const old = await bank.state(account, 'a', { snapshot: { events: 1 } })
    expect(old).toMatchObject({ state: { balance: 3 }, fromSeq: 0, snapshot: { kind: 'overtaken' } })
    expect((await bank.state(second, 'a')).fromSeq).toBe(2)
  })

  it('streams whose names are as long as names may be have snapshots of their own', async () => {
    const bank = await open()
    const streams = ['x', 'ü'].map((letter) => letter.repeat(512 / Buffer.byteLength(letter)))
    streams.push('a/b', 'a#b', `${'x'.repeat(511)}y`)
    for (const [n, stream] of streams.entries()) {
      await bank.log.append(stream, moved(n))
      await bank.state(account, stream, { snapshot: { events: 1 } })
    }
    for (const [n, stream] of streams.entries())
      expect(await bank.state(account, stream)).toMatchObject({ state: { balance: n }, fromSeq: 1 })
  })

  it('a state that is too large for a document is given without a snapshot', async () => {
    const bank = await open()
    const wide: Fold<{ text: string }, Moved> = {
      name: 'wide',
      version: 1,
      seed: { text: '' },
      step: () => ({ text: 'x'.repeat(1_100_000) }),
    }
    await bank.log.append('a', moved(1))
    const found = await bank.state(wide, 'a', { snapshot: { events: 1 } })
    expect([found.state.text.length, found.snapshot]).toEqual([1_100_000, { kind: 'too-large' }])
  })

  it('a state that JSON cannot hold is refused when a snapshot of it is due', async () => {
    const bank = await open()
    const bad: Fold<unknown, Moved> = { name: 'bad', version: 1, seed: null, step: () => new Map() }
    await bank.log.append('a', moved(1))
    await expect(bank.state(bad, 'a', { snapshot: { events: 1 } })).rejects.toMatchObject({ code: 'invalid' })
    for (const wrong of [{ at: { seq: -1 } }, { at: { time: Number.NaN } }, { at: { seq: 1 }, snapshot: {} }])
      await expect(bank.state(account, 'a', wrong)).rejects.toMatchObject({ code: 'invalid' })
    await expect(bank.state({ ...account, name: 'A b' }, 'a')).rejects.toMatchObject({ code: 'invalid' })
    await expect(bank.state({ ...account, version: 0.5 }, 'a')).rejects.toMatchObject({ code: 'invalid' })
  })

  it('snapshot and tail equal a full replay, whatever is appended, read and compacted meanwhile', async () => {
    const runs = Number(process.env.UNDERPIN_SNAPSHOT_RUNS ?? (name === 'memory' ? 200 : 30))
    const since = performance.now()
    let compared = 0
    const stores = [await open(), name === 'memory' ? await open() : await open()]
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('append' as const),
          by: fc.integer(),
          count: fc.integer({ min: 1, max: 4 }),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant('state' as const), events: fc.integer({ min: 1, max: 6 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('compact' as const), keep: fc.integer({ min: 1, max: 4 }) }),
      },
    )
    let stream = 0
    const property = fc.asyncProperty(
      fc.array(fc.array(step, { maxLength: 12 }), { minLength: 2, maxLength: 3 }),
      async (scripts) => {
        const name = `s-${stream++}`
        const all = new Map<number, Moved['data']>()
        const states: { seq: number; state: Account }[] = []
        await Promise.all(
          scripts.map(async (script, i) => {
            const bank = stores[i % 2] as (typeof stores)[0]
            for (const action of script) {
              if (action.kind === 'append') {
                const batch = Array.from({ length: action.count }, (_, k) => moved(action.by + k))
                const { seqs } = await bank.log.append(name, batch)
                for (const [k, seq] of seqs.entries()) all.set(seq, batch[k]?.data as Moved['data'])
              } else if (action.kind === 'state') {
                states.push(await bank.state(account, name, { snapshot: { events: action.events } }))
              } else {
                // Others that do the same may be in each other's way for longer than it tries.
                await bank.compact(name, account, { archive: false, keep: action.keep }).catch((error) => {
                  if (!isUnderpinError(error, 'conflict')) throw error
                })
              }
            }
          }),
        )
        for (const bank of stores) states.push(await bank.state(account, name))
        const history = [...all].sort(([a], [b]) => a - b).map(([, data]) => ({ data }))
        for (const { seq, state } of states) {
          compared++
          expect(state).toEqual(replayed(history.slice(0, seq)))
        }
        expect(states.at(-1)?.seq).toBe(history.length)
      },
    )
    await fc.assert(property, { numRuns: runs, seed })
    const seconds = (performance.now() - since) / 1_000
    append({
      promise: 'snapshot and tail equal a full replay',
      backend: name,
      tried: compared,
      failed: 0,
      unknown: 0,
      seed,
      seconds,
    })
    console.log(`${name}: ${compared} states equal to a full replay, of ${runs} histories (seed ${seed})`)
  }, 60_000)
})
