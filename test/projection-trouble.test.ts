/** Projections where something goes wrong around them: processes die, histories are cut, events change their shape. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { beforeEach, describe, expect, inject, it } from 'vitest'
import { switchOn } from '../src/facet/projection/switch-on.ts'
import {
  becomes,
  defineEvents,
  event,
  events,
  openStore,
  type Projection,
  projection,
  retired,
} from '../src/index.ts'
import type { Commit } from '../src/model/commit.ts'
import { faultyMemory } from '../src/testing/testing.ts'
import { DyingPort } from './dying-port.ts'
import { fastClock } from './fast-clock.ts'
import { type Place, placeKinds } from './places.ts'
import { type Booked, sums } from './projection/ledger.ts'

const booked = (account: string, n: number): Booked => ({ type: 'booked', data: { account, n } })
type Sums = ReturnType<typeof sums>
const never = new AbortController().signal

const isDraining = ({ writes }: Commit) =>
  writes.some((write) => write.kind === 'put' && write.data.includes('"draining"'))

describe.each(placeKinds)('an inline projection on $name', ({ make, missing }) => {
  let place: Place
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
  })
  const open = async (inline: readonly Sums[], deadlineMs = 30_000) => {
    const domains = { ledger: { events: events<Booked>(), projections: { inline } } }
    return (await place.open(domains, { deadlineMs, clock: fastClock() })).domain('ledger')
  }

  /** A process that declares these dies when it has begun to switch the last of them on. */
  async function dieDraining(declared: readonly Sums[]): Promise<void> {
    const store = await place.open({ ledger: { events: events<Booked>() } }, { clock: fastClock() })
    const port = new DyingPort(store.domain('ledger'), isDraining)
    void switchOn(port, declared.at(-1) as Projection<never>, declared as never, never)
    await port.died
  }

  it('that a process was switching on when it died is switched on by the next one that opens', async () => {
    const [one, two] = [sums('s', 1), sums('s', 2)]
    const ledger = await open([one])
    await ledger.log.append('x', booked('a', 1))
    await dieDraining([one, two])
    const next = await open([one, two])
    await next.log.append('x', booked('a', 1))
    for (const each of [one, two])
      expect(await next.projection(each).verify()).toMatchObject({ ok: true, keys: 2 })
    expect((await next.projection(two).get('a'))?.value.sum).toBe(4)
  })

  it('that a process was switching on when it died holds up nobody for long who does not declare it', async () => {
    const [one, two] = [sums('s', 1), sums('s', 2)]
    const ledger = await open([one], 2_000)
    await ledger.log.append('x', booked('a', 1))
    await dieDraining([one, two])
    // Its deadline is shorter than the lease of the dead.
    const append = () =>
      ledger.log.append('x', booked('a', 1)).then(
        () => 'appended',
        (error: { code: string }) => error.code,
      )
    expect(['appended', 'unavailable']).toContain(await append())
    await expect.poll(append).toBe('appended')
    expect(await ledger.projection(one).verify()).toMatchObject({ ok: true })
    const next = await open([one, two])
    expect(await next.projection(two).verify()).toMatchObject({ ok: true, keys: 2 })
  })

  it('folds what an upcaster makes of an older event, however many that are, as every replay does', async () => {
    type Spent = { account: string; n: number }
    const old = defineEvents({ moved: event<{ from: string; to: string; n: number }>() })
    const now = defineEvents({
      moved: retired({
        1: ({ from, to, n }: { from: string; to: string; n: number }) =>
          becomes({ type: 'spent', data: { account: from, n } }, { type: 'got', data: { account: to, n } }),
      }),
      spent: event<Spent>(),
      got: event<Spent>(),
    })
    const balance = projection<number, { type: 'spent' | 'got'; data: Spent }>({
      name: 'balance',
      version: 1,
      seed: 0,
      key: ({ data }) => data.account,
      step: (sum, { type, data }) => (type === 'got' ? sum + data.n : sum - data.n),
    })
    const before = (await place.open({ bank: { events: old } })).domain('bank')
    await before.log.append('x', { type: 'moved', data: { from: 'a', to: 'b', n: 3 } })
    const domains = { bank: { events: now, projections: { inline: [balance] } } }
    const bank = (await place.open(domains)).domain('bank')
    await bank.log.append('x', [
      { type: 'got', data: { account: 'a', n: 10 } },
      { type: 'spent', data: { account: 'b', n: 1 } },
    ])
    const { documents } = await bank.projection(balance as never).list()
    expect(documents.map(({ id, value }) => [id, value])).toEqual([
      ['a', 7],
      ['b', 2],
    ])
    expect(await bank.projection(balance as never).verify()).toMatchObject({ ok: true, keys: 2, events: 3 })
  })

  it('goes on where events were truncated, and nothing is folded from the first one on', async () => {
    const ledger = await open([sums('s')])
    await ledger.log.append('x', [booked('a', 1), booked('a', 2), booked('a', 3)])
    const [kept, later] = [ledger.projection(sums('s')), ledger.projection(sums('later'))]
    const stop = new AbortController()
    const running = later.run({ signal: stop.signal })
    await later.waitFor(await ledger.head())
    const count = { name: 'count', version: 1, seed: 0, step: (n: number) => n + 1 }
    expect(await ledger.compact('x', count, { archive: false })).toMatchObject({ removed: 2 })
    await later.waitFor((await ledger.log.append('x', booked('a', 4))).position)
    const truncated = { code: 'truncated', details: { stream: 'x' } }
    const { signal } = stop
    await expect(kept.verify()).rejects.toMatchObject(truncated)
    await expect(kept.replay()).rejects.toMatchObject(truncated)
    await expect(later.rebuild()).rejects.toMatchObject(truncated)
    await expect(ledger.projection(sums('new')).run({ signal })).rejects.toMatchObject(truncated)
    await expect(ledger.projection(sums('new')).live({ signal })).rejects.toMatchObject(truncated)
    await later.waitFor((await ledger.log.append('x', booked('a', 5))).position)
    for (const each of [kept, later]) expect((await each.get('a'))?.value).toEqual({ sum: 15, count: 5 })
    stop.abort()
    await running
    // Last, because a store that cannot be opened closes its backend.
    await expect(open([sums('s', 1), sums('s', 2)])).rejects.toMatchObject(truncated)
  })
})

describe('a projection on a store that fails', () => {
  const open = async (inline: readonly Sums[], seed: number) => {
    const backend = faultyMemory({ seed, unavailable: 0.15, unknown: 0.15, delays: 0.2, delayMs: 2 })
    backend.isQuiet = true
    const domains = { ledger: { events: events<Booked>(), projections: { inline } } }
    const store = await openStore(backend, { domains, clock: fastClock() })
    return { backend, store, ledger: store.domain('ledger') }
  }

  it('goes on when the store is back, and takes each event once', async () => {
    const { backend, store, ledger } = await open([], 7)
    const later = ledger.projection(sums('later'))
    const stop = new AbortController()
    const running = later.run({ signal: stop.signal, batch: 3 })
    await later.waitFor((await ledger.log.append('x', booked('a', 1))).position)
    backend.crash()
    await new Promise((resolve) => setTimeout(resolve, 100))
    backend.restart()
    for (let i = 0; i < 30; i++) await ledger.log.append('x', booked('a', 1))
    await later.waitFor(await ledger.head())
    // One that starts while the store is away waits for it, too.
    stop.abort()
    await running
    backend.crash()
    const again = new AbortController()
    const rerun = later.run({ signal: again.signal, batch: 3 })
    await new Promise((resolve) => setTimeout(resolve, 50))
    backend.restart()
    await later.waitFor((await ledger.log.append('x', booked('a', 1))).position)
    expect((await later.get('a'))?.value).toEqual({ sum: 32, count: 32 })
    expect(await later.verify()).toMatchObject({ ok: true })
    again.abort()
    await rerun
    await store.close()
  })

  it.each([1, 2, 3])('misses and doubles nothing by answers that are lost, seed %i', async (seed) => {
    const { backend, store, ledger } = await open([sums('s')], seed)
    const stop = new AbortController()
    const later = ledger.projection(sums('later'))
    const running = later.run({ signal: stop.signal, batch: 2 })
    backend.isQuiet = false
    let written = 0
    for (let i = 0; i < 60; i++) {
      const append = () => ledger.log.append(`x${i % 3}`, booked('a', 1), { id: `n${i}` })
      // With an id, an append may be made again until it is acknowledged.
      for (let isIn = false; !isIn; )
        isIn = await append().then(
          () => true,
          () => false,
        )
      written++
    }
    backend.isQuiet = true
    await later.waitFor(await ledger.head())
    for (const each of [sums('s'), sums('later')]) {
      expect((await ledger.projection(each).get('all'))?.value).toEqual({ sum: written, count: written })
      expect(await ledger.projection(each).verify()).toMatchObject({ ok: true })
    }
    expect(backend.injected.unknown).toBeGreaterThan(0)
    stop.abort()
    await running
    await store.close()
  })
})

const server = inject('postgres')

describe('an inline projection within a transaction of the caller', () => {
  const missing = 'reason' in server ? server.reason : ''
  const url = 'url' in server ? server.url : ''
  let schema: string
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    schema = `inline_${randomBytes(4).toString('hex')}`
  })

  it('is seen there, stands or falls with it, and is right for those outside', async () => {
    const domains = { ledger: { events: events<Booked>(), projections: { inline: [sums('s')] } } }
    const store = await openStore(`${url}?schema=${schema}`, { domains })
    const ledger = store.domain('ledger')
    const client = new pg.Client(url)
    await client.connect()
    const sum = async (domain: typeof ledger) => (await domain.projection(sums('s')).get('a'))?.value.sum
    try {
      await ledger.log.append('x', booked('a', 1))
      for (const end of ['ROLLBACK', 'COMMIT']) {
        await client.query('BEGIN')
        const within = ledger.within(client)
        await within.log.append('x', booked('a', 10))
        await within.transaction((tx) => tx.append('y', booked('a', 10)))
        expect([await sum(within), await sum(ledger)]).toEqual([21, 1])
        const outside = ledger.log.append('z', booked('b', 1))
        await client.query(end)
        await outside
        if (end === 'ROLLBACK') expect(await sum(ledger)).toBe(1)
      }
      await ledger.log.append('x', booked('a', 1))
      expect(await sum(ledger)).toBe(22)
      expect(await ledger.projection(sums('s')).verify()).toMatchObject({ ok: true, events: 6 })
    } finally {
      await store.close()
      await client.query(`DROP SCHEMA ${schema} CASCADE`)
      await client.end()
    }
  })

  it('has its appends refused there while it is switched on, until that is over or taken back', async () => {
    const [one, two] = [sums('s', 1), sums('s', 2)]
    const domains = { ledger: { events: events<Booked>(), projections: { inline: [one] } } }
    const store = await openStore(`${url}?schema=${schema}`, { domains, clock: fastClock() })
    const ledger = store.domain('ledger')
    const client = new pg.Client(url)
    await client.connect()
    const append = async () => {
      await client.query('BEGIN')
      try {
        await ledger.within(client).log.append('x', booked('a', 1))
        await client.query('COMMIT')
        return 'appended'
      } catch (error) {
        await client.query('ROLLBACK')
        return (error as { code: string }).code
      }
    }
    try {
      expect(await append()).toBe('appended')
      const port = new DyingPort(ledger, isDraining)
      void switchOn(port, two as unknown as Projection, [one, two] as never, never)
      await port.died
      expect(await append()).toBe('unavailable')
      await expect.poll(append).toBe('appended')
      expect(await ledger.projection(one).verify()).toMatchObject({ ok: true, events: 2 })
    } finally {
      await store.close()
      await client.query(`DROP SCHEMA ${schema} CASCADE`)
      await client.end()
    }
  })
})
