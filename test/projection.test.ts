import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { portOf } from '../src/facet/domain.ts'
import {
  describeVerification,
  events,
  openStore,
  type Projection,
  projection,
  tableProjection,
} from '../src/index.ts'
import { encodeValue } from '../src/model/value.ts'
import { openStoreSync } from '../src/sync.ts'
import { type Place, placeKinds } from './places.ts'
import { type Booked, sums } from './projection/ledger.ts'

const booked = (account: string, n: number): Booked => ({ type: 'booked', data: { account, n } })
/** As much of pg and of node:sqlite as is used here. */
interface Client {
  exec(text: string): void
  prepare(text: string): { get(): unknown }
  query(text: string): Promise<{ rows: unknown[] }>
}
const types = { events: events<Booked>() }

describe.each(placeKinds)('a projection on $name', ({ make, missing }) => {
  let place: Place
  let abort: AbortController
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
    abort = new AbortController()
  })
  const open = (inline: readonly Projection<{ sum: number; count: number }, Booked>[] = []) =>
    place.open({ ledger: { ...types, projections: { inline } } }, { deadlineMs: 3_000 })
  const openPlain = () => place.open({ ledger: types }, { deadlineMs: 3_000 })

  it('lets the caller see its own checks, positions and replays only', async () => {
    const ledger = (await open([sums('s')])).domain('ledger')
    const first = await ledger.log.append('x', [booked('a', 1), booked('b', 2)], { id: 'once' })
    expect(first).toMatchObject({ seqs: [1, 2], isReplay: false })
    expect(first.positions).toHaveLength(2)
    const again = await ledger.log.append('x', [booked('a', 1), booked('b', 2)], { id: 'once' })
    expect(again).toEqual({ ...first, isReplay: true })
    await expect(ledger.log.append('x', booked('a', 1), { expect: 'none' })).rejects.toMatchObject({
      code: 'conflict',
      details: { failed: [{ kind: 'stream', stream: 'x' }] },
    })
    expect((await ledger.projection(sums('s')).get('all'))?.value).toEqual({ sum: 3, count: 2 })
  })

  it('is kept by transactions, and undone with them', async () => {
    const ledger = (await open([sums('s')])).domain('ledger')
    await ledger.transaction((tx) => tx.append('x', booked('a', 5)))
    await expect(
      ledger.transaction((tx) => {
        tx.append('x', booked('a', 5))
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect((await ledger.projection(sums('s')).get('a'))?.value).toEqual({ sum: 5, count: 1 })
  })

  it('that is inline takes appends of many callers and processes to one key', async () => {
    const [one, two] = [await open([sums('s')]), await open([sums('s')])]
    const domains = [one.domain('ledger'), two.domain('ledger')] as const
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => domains[i % 2]?.log.append(`x${i}`, booked('a', 1))),
    )
    expect((await domains[0].projection(sums('s')).get('all'))?.value).toEqual({ sum: 40, count: 40 })
  })

  it('that is added inline to a domain with events is built first, while others append', async () => {
    const plain = (await openPlain()).domain('ledger')
    for (let i = 0; i < 5; i++) await plain.log.append('x', [booked('a', 1), booked('b', 1)])
    const first = (await open([sums('s', 1)])).domain('ledger')
    expect((await first.projection(sums('s')).get('all'))?.value).toEqual({ sum: 10, count: 10 })
    // A process that declares both versions goes on appending while another one switches the second on.
    const both = (await open([sums('s', 1), sums('s', 2)])).domain('ledger')
    let written = 10
    let isDone = false
    const writing = (async () => {
      while (!isDone) {
        await both.log.append('y', booked('c', 1))
        written++
      }
    })()
    const second = (await open([sums('s', 1), sums('s', 2), sums('t', 3)])).domain('ledger')
    isDone = true
    await writing
    expect(await both.projection(sums('s', 2)).get('all')).toMatchObject({
      version: 2,
      value: { sum: 2 * written },
    })
    for (const each of [sums('s', 1), sums('s', 2)])
      expect(await second.projection(each).verify()).toMatchObject({ ok: true, keys: 4 })
  })

  it('that is inline has the appends refused of a process that does not declare it', async () => {
    const old = (await open([sums('s', 1)])).domain('ledger')
    await old.log.append('x', booked('a', 1))
    await expect((await openPlain()).domain('ledger').log.append('x', booked('a', 1))).rejects.toMatchObject({
      code: 'mismatch',
    })
    const next = (await open([sums('s', 2)])).domain('ledger')
    await expect(old.log.append('x', booked('a', 1))).rejects.toMatchObject({ code: 'mismatch' })
    await next.log.append('x', booked('a', 1))
    expect((await next.projection(sums('s', 2)).get('a'))?.value.sum).toBe(4)
    expect(await next.projection(sums('s', 2)).verify()).toMatchObject({ ok: true, differing: 0 })
    // Last, because a store that cannot be opened closes its backend.
    await expect(open([sums('s', 1)])).rejects.toMatchObject({ code: 'mismatch' })
  })

  it('that fails inline refuses the append, and nothing is written', async () => {
    const failing = projection<number, Booked>({
      name: 'fails',
      version: 1,
      seed: 0,
      step: (sum, { data }) => {
        if (data.n < 0) throw new Error('negative')
        return sum + data.n
      },
    })
    const ledger = (await place.open({ ledger: { ...types, projections: { inline: [failing] } } })).domain(
      'ledger',
    )
    await ledger.log.append('x', booked('a', 1))
    const head = await ledger.head()
    await expect(ledger.log.append('x', booked('a', -1))).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('negative'),
    })
    expect(await ledger.head()).toBe(head)
  })

  it('has one runner at a time, and the other takes over', async () => {
    const [one, two] = [(await openPlain()).domain('ledger'), (await openPlain()).domain('ledger')]
    const first = one.projection(sums('s')).run({ signal: abort.signal, leaseMs: 1_000 })
    const last = new AbortController()
    const second = two.projection(sums('s')).run({ signal: last.signal, leaseMs: 1_000 })
    await one.projection(sums('s')).waitFor((await one.log.append('x', booked('a', 1))).position)
    abort.abort()
    await first
    await two.projection(sums('s')).waitFor((await one.log.append('x', booked('a', 1))).position)
    last.abort()
    await second
    expect((await two.projection(sums('s')).get('a'))?.value).toEqual({ sum: 2, count: 2 })
  })

  it('is built anew beside the version that is read, swapped, rolled back and retired', async () => {
    const ledger = (await openPlain()).domain('ledger')
    const [v1, v2] = [ledger.projection(sums('s', 1)), ledger.projection({ ...sums('s', 2), swap: 'manual' })]
    await expect(v1.get('a')).rejects.toMatchObject({ code: 'unavailable' })
    const running = [v1.run({ signal: abort.signal, batch: 2 })]
    await v1.waitFor((await ledger.log.append('x', booked('a', 1))).position)
    running.push(v2.run({ signal: abort.signal, batch: 2 }))
    for (let i = 0; i < 10; i++) await ledger.log.append('x', booked('a', 1))
    expect(await v2.get('a')).toMatchObject({ version: 1 })
    await expect
      .poll(async () => (await v2.status()).builds.map(({ state }) => state))
      .toEqual(['active', 'ready'])
    await v2.swap()
    await v1.waitFor(await ledger.head())
    expect(await v1.get('a')).toMatchObject({ version: 2, value: { sum: 22 } })
    await v1.rollback()
    await v1.waitFor((await ledger.log.append('x', booked('a', 1))).position)
    expect(await v2.get('a')).toMatchObject({ version: 1, value: { sum: 12 } })
    await expect(v1.retire()).rejects.toMatchObject({ code: 'invalid' })
    await v2.swap()
    const ended = expect(running[0]).rejects.toMatchObject({ code: 'aborted' })
    await v1.retire()
    await ended
    expect((await v1.status()).builds.map(({ state }) => state)).toEqual(['retired', 'active'])
    await expect(v1.rollback()).rejects.toMatchObject({ code: 'invalid' })
    abort.abort()
    await running[1]
  })

  it('can be paused, resumed, rebuilt and cancelled', async () => {
    const ledger = (await openPlain()).domain('ledger')
    const p = ledger.projection({ ...sums('s'), swap: 'manual' })
    const running = p.run({ signal: abort.signal })
    await p.waitFor((await ledger.log.append('x', booked('a', 1))).position)
    await p.pause()
    const { position } = await ledger.log.append('x', booked('a', 1))
    await expect(p.waitFor(position, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('paused'),
    })
    expect((await p.status()).builds).toMatchObject([{ state: 'paused', mode: 'asynchronous' }])
    await p.resume()
    await p.waitFor(position)
    await p.rebuild()
    await expect
      .poll(async () => (await p.status()).builds.map(({ build, state }) => [build, state]))
      .toEqual([
        ['1', 'active'],
        ['1_b', 'ready'],
      ])
    await p.swap()
    expect((await p.get('a'))?.value.count).toBe(2)
    expect(await p.verify()).toMatchObject({ ok: true })
    await p.rollback()
    await p.retire()
    expect((await p.status()).builds.map(({ state }) => state)).toEqual(['active', 'retired'])
    await p.pause()
    await p.rebuild()
    await p.cancel().catch(() => undefined) // It may have caught up already.
    abort.abort()
    await running
  })

  it('stops at a step that fails, says where, and goes on when it is resumed', async () => {
    let isBroken = true
    const fragile = projection<number, Booked>({
      name: 'fragile',
      version: 1,
      seed: 0,
      step: (sum, { data }) => {
        if (isBroken && data.n === 3) throw new Error('three')
        return sum + data.n
      },
    })
    const ledger = (await openPlain()).domain('ledger')
    await ledger.log.append('x', [booked('a', 1), booked('a', 3), booked('a', 5)])
    const p = ledger.projection(fragile)
    await expect(p.run({ signal: abort.signal })).rejects.toMatchObject({
      code: 'invalid',
      details: { stream: 'x', seq: 2 },
    })
    expect((await p.status()).builds).toMatchObject([
      { state: 'paused', error: expect.stringContaining('three') },
    ])
    isBroken = false
    await p.resume()
    const running = p.run({ signal: abort.signal })
    await p.waitFor(await ledger.head())
    expect((await p.get('x'))?.value).toBe(9)
    abort.abort()
    await running
  })

  it('is verified: planted clocks, randomness, changed events, changed documents are found and named', async () => {
    let calls = 0
    const steps: Record<string, (state: unknown, event: { data: { n: number } }) => unknown> = {
      clock: () => ({ at: new Date().toISOString() }),
      random: (state, { data }) => (data.n === 2 && Math.random() < 2 ? 1 : state),
      counter: () => calls++,
      mutates: (state, event) => {
        ;(event.data as { n: number }).n++
        return state
      },
      pure: (_, { data }) => ({ on: new Date(data.n).toISOString() }),
    }
    const ledger = (await openPlain()).domain('ledger')
    await ledger.log.append('x', [booked('a', 1), booked('b', 2)])
    for (const [name, step] of Object.entries(steps)) {
      const stop = new AbortController()
      const p = ledger.projection(
        projection<unknown, Booked>({ name, version: 1, seed: 0, step: step as never }),
      )
      const running = p.run({ signal: stop.signal })
      await p.waitFor(await ledger.head())
      stop.abort()
      await running
      const verified = await p.verify()
      expect([name, verified.ok]).toEqual([name, name === 'pure'])
      if (name === 'clock')
        expect(verified).toMatchObject({
          differing: 1,
          differences: [{ key: 'x' }],
          impurities: [
            { what: 'reads new Date()', stream: 'x', seq: 1 },
            { what: expect.stringContaining('another state') },
          ],
        })
      if (name === 'random')
        expect(verified.impurities).toMatchObject([{ what: 'reads Math.random', seq: 2 }])
      if (name === 'mutates')
        expect(verified.impurities).toContainEqual(expect.objectContaining({ what: 'changes its event' }))
      if (name !== 'pure') expect(describeVerification(verified).length).toBeGreaterThan(0)
    }
    const damaged = (await place.open({ ledger: types })).domain('ledger')
    const put = { kind: 'put', collection: '$p_pure_1', id: 'x', data: encodeValue({ on: 'never' }) } as const
    await portOf(damaged).commit({ at: 0, writes: [{ ...put, expiresAt: null }], checks: [] })
    const found = await damaged
      .projection(
        projection<unknown, Booked>({ name: 'pure', version: 1, seed: 0, step: steps.pure as never }),
      )
      .verify()
    expect(found).toMatchObject({ ok: false, differences: [{ key: 'x', at: 7 }], impurities: [] })
  })

  it('is kept in memory: what is stored first, then what comes', async () => {
    const ledger = (await open([sums('s')])).domain('ledger')
    await ledger.log.append('x', [booked('a', 1), booked('b', 2)])
    const live = await ledger.projection(sums('s')).live({ signal: abort.signal })
    expect([live.get('all')?.sum, live.size]).toEqual([3, 3])
    const changes = live.changes()
    const next = changes.next()
    await live.waitFor((await ledger.log.append('x', booked('b', 5))).position)
    expect(live.get('b')).toEqual({ sum: 7, count: 2 })
    expect((await next).value).toMatchObject({ key: 'all', state: { sum: 8 } })
    expect((await changes.next()).value).toMatchObject({ key: 'b' })
    const copy = live.get('b') as { sum: number }
    copy.sum = 0
    expect(live.get('b')?.sum).toBe(7)
    abort.abort()
    expect(await changes.next()).toMatchObject({ done: true })
  })

  it('lists by its index', async () => {
    const indexed = {
      ...sums('s'),
      fields: { sum: 'number' },
      indexes: { by_sum: { fields: ['sum'] } },
    } as const
    const own = projection<{ sum: number; count: number }, Booked>({ ...sums('s'), ...indexed })
    const ledger = (await open([own])).domain('ledger')
    await ledger.log.append('x', [booked('a', 9), booked('b', 2)])
    const { documents } = await ledger.projection(own).list({ index: 'by_sum', below: 10 })
    expect(documents.map(({ id }) => id)).toEqual(['b', 'a'])
  })

  it('into tables keeps them with its place, or is refused where there are none', async () => {
    const ledger = (await openPlain()).domain('ledger')
    await ledger.log.append('x', [booked('a', 1), booked('b', 2)])
    const isServer = place.url?.startsWith('postgres') === true
    const table = `projected_${randomBytes(4).toString('hex')}`
    const execute = (client: Client, text: string) =>
      isServer ? client.query(text).then(() => undefined) : client.exec(text)
    const tables = tableProjection<Booked, Client>({
      name: 'tables',
      version: 1,
      clear: (client) =>
        execute(client, `CREATE TABLE IF NOT EXISTS ${table} (n integer); DELETE FROM ${table}`),
      tables: (client, all) =>
        execute(client, `INSERT INTO ${table} VALUES ${all.map(({ data }) => `(${data.n})`).join(', ')}`),
    })
    const p = ledger.projection(tables)
    if (place.url === undefined) {
      await expect(p.run({ signal: abort.signal })).rejects.toMatchObject({ code: 'unsupported' })
      return
    }
    const running = p.run({ signal: abort.signal })
    await p.waitFor((await ledger.log.append('x', booked('a', 4))).position)
    const query = `SELECT CAST(sum(n) AS integer) AS sum FROM ${table}`
    const found: unknown[] = []
    const look = () =>
      ledger.transaction((tx) => {
        tx.append('y', { ...booked('z', 0) })
        tx.tables((client: Client) => {
          if (!isServer) found.push(client.prepare(query).get())
          else return client.query(query).then(({ rows }) => void found.push(rows[0]))
        })
      })
    await look()
    await p.rebuild()
    await p.waitFor(await ledger.head())
    abort.abort()
    await running
    await look()
    expect(found).toMatchObject([{ sum: 7 }, { sum: 7 }])
    await ledger.transaction((tx) => {
      tx.append('y', booked('z', 0))
      tx.tables((client: Client) => execute(client, `DROP TABLE ${table}`) as Promise<void>)
    })
  })
})

describe('a declaration', () => {
  const step = () => 1
  it.each([
    ['a name that is too long', { name: 'n'.repeat(25), version: 1, seed: 0, step }],
    ['a name that is none', { name: 'A', version: 1, seed: 0, step }],
    ['a version that is none', { name: 'a', version: 0, seed: 0, step }],
    ['no seed', { name: 'a', version: 1, step }],
    ['a seed that is no JSON', { name: 'a', version: 1, seed: new Date(), step }],
    [
      'a unique index',
      {
        name: 'a',
        version: 1,
        seed: 0,
        step,
        fields: { x: 'string' },
        indexes: { i: { fields: ['x'], unique: true } },
      },
    ],
  ] as const)('with %s is refused', (_, options) => {
    expect(() => projection(options as never)).toThrow(expect.objectContaining({ code: 'invalid' }))
  })

  it('is run and kept in memory until a signal that is given by name', async () => {
    const store = await openStore('memory:', { domains: { a: {} } })
    const sum = store.domain('a').projection(projection({ name: 'a', version: 1, seed: 0, step }))
    for (const wrong of [undefined, {}, AbortSignal.abort()]) {
      await expect(sum.run(wrong as never)).rejects.toThrow('run({ signal })')
      await expect(sum.live(wrong as never)).rejects.toThrow('live({ signal })')
    }
    await store.close()
  })

  it('with inline projections is refused by openStoreSync', () => {
    const options = {
      domains: { a: { projections: { inline: [projection({ name: 'a', version: 1, seed: 0, step })] } } },
    }
    expect(() => openStoreSync('memory:', options)).toThrow(expect.objectContaining({ code: 'unsupported' }))
  })
})
