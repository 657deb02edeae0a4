import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Backend,
  type Clock,
  type Move,
  openStore,
  systemClock,
  UnderpinError,
} from '../../src/index.ts'
import { placePairs } from '../places.ts'
import { openTwo, type TwoPlaces } from './two-places.ts'

const domains = { app: { collections: { things: {} } } } as const

/** How many times as long as a second or more lasts: on a busy machine only a follower that is held up is too slow. */
let patience = 20
const clock: Clock = {
  ...systemClock,
  timer: (ms, run, isIdle) => systemClock.timer(ms < 900 ? ms : ms * patience, run, isIdle),
}

/** How often the feed of a domain is read meanwhile, anywhere in this process. */
async function feedReadsDuring(domain: string, run: () => Promise<unknown>): Promise<number> {
  let reads = 0
  const count = (call: unknown) => {
    const { verb, domain: found } = call as { verb: string; domain: string }
    if (verb === 'changes' && found === domain) reads++
  }
  subscribe('underpin:call', count)
  await run()
  unsubscribe('underpin:call', count)
  return reads
}

describe.each(placePairs)('acknowledgements that wait for the copy, $name', ({ a, b, missing }) => {
  let two: TwoPlaces<typeof domains>
  let move: Move
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    patience = 20
    two = await openTwo(a, b, domains, { clock })
    move = await two.store.move('app', { to: 'new' })
    await move.start({ settings: { mirror: 'await' } })
    await move.catchUp()
    await waiting()
  })
  afterEach(() => two?.store.close())

  const report = () => two.store.attendance('app')?.await
  const waiting = () => expect.poll(() => report()?.isDegraded, { interval: 5 }).toBe(false)
  const headOf = async (name: string) => (await (two.store.backends.get(name) as Backend).fence('app')).head
  const append = (n: number) => two.store.domain('app').log.append(`s${n % 4}`, { type: 'T', data: n })

  it('come when the copy holds the commit, of one caller and of many at once', async () => {
    for (let i = 0; i < 5; i++) {
      await append(i)
      expect(await headOf('new')).toBe(await headOf('old'))
    }
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const { position } = await append(i)
        expect(await headOf('new')).toBeGreaterThanOrEqual(position)
      }),
    )
    expect(report()).toMatchObject({ awaited: 45, unawaited: 0, timeouts: 0 })
  })

  it('come without reading the feed: what was committed here is handed on as it is', async () => {
    const reads = await feedReadsDuring('app', async () => {
      for (let i = 0; i < 20; i++) await append(i)
      await Promise.all(Array.from({ length: 40 }, (_, i) => append(i)))
      await two.store.domain('app').documents('things').put('a', { n: 1 })
      await two.store.domain('app').documents('things').delete('a')
    })
    // What the process notes of itself is a commit that nobody hands on.
    expect(reads).toBeLessThan(10)
    expect(report()).toMatchObject({ awaited: 62, unawaited: 0 })
    expect(await move.verify()).toMatchObject({ differences: [], isEqual: true })
  })

  it('come by the feed when what was handed on is refused', async () => {
    let isRead = false
    let refusals = 0
    const onCall = (call: unknown) => {
      const { verb, domain } = call as { verb: string; domain: string }
      if (verb === 'changes' && domain === 'app') isRead = true
    }
    subscribe('underpin:call', onCall)
    two.faults.before = (verb) => {
      if (verb !== 'apply' || isRead) return
      refusals++
      throw new UnderpinError('damaged', 'It is not what was written')
    }
    // Behind what the process notes of itself nothing is handed on.
    for (; refusals === 0; await append(1)) isRead = false
    unsubscribe('underpin:call', onCall)
    expect(refusals).toBe(1)
    expect(report()).toMatchObject({ unawaited: 0, timeouts: 0 })
  })

  it('come for what another process committed in between, which is read from the feed', async ({ skip }) => {
    const [from] = two.urls
    skip(from === undefined, 'a memory store has no second process')
    const other = await openStore(from as string, { domains })
    for (let i = 0; i < 5; i++) {
      await other.domain('app').log.append('theirs', { type: 'T', data: i })
      const { position } = await append(i)
      expect(await headOf('new')).toBeGreaterThanOrEqual(position)
    }
    await other.close()
    expect(report()).toMatchObject({ awaited: 5, unawaited: 0 })
    expect(await move.verify()).toMatchObject({ differences: [], isEqual: true })
  })

  it('do no harm to a mover, nor it to them', async () => {
    const stop = new AbortController()
    const running = move.run({ signal: stop.signal })
    await Promise.all(
      Array.from({ length: 8 }, async (_, w) => {
        for (let i = 0; i < 10; i++) {
          const { position } = await append(w)
          expect(await headOf('new')).toBeGreaterThanOrEqual(position)
        }
      }),
    )
    stop.abort()
    await running
    expect(report()).toMatchObject({ awaited: 80, unawaited: 0 })
    expect(await move.verify()).toMatchObject({ differences: [], isEqual: true })
  })

  it('come without it when it does not answer in time, and wait again when it has caught up', async () => {
    patience = 1
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    two.faults.before = (verb) => (verb === 'apply' ? held : undefined)
    await Promise.all([append(1), append(2)])
    expect(report()).toMatchObject({ isDegraded: true, unawaited: 2, timeouts: 1 })
    await append(3)
    expect(report()).toMatchObject({ isDegraded: true, unawaited: 3, timeouts: 1 })
    patience = 20
    two.faults.before = undefined
    release()
    await waiting()
    const { position } = await append(4)
    expect(await headOf('new')).toBeGreaterThanOrEqual(position)
  })

  it('come at once to a caller who does not want to wait any more, without an error: the commit happened', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    // The outcome of the commit is known when it is pushed.
    const pushed = new Promise<void>((resolve) => {
      two.faults.before = (verb) => {
        if (verb !== 'apply') return
        resolve()
        return held
      }
    })
    const leaving = new AbortController()
    const appending = two.store
      .domain('app')
      .log.append('s', { type: 'T', data: 1 }, { signal: leaving.signal })
    await pushed
    leaving.abort()
    expect((await appending).position).toBeLessThanOrEqual(await headOf('old'))
    release()
  })

  it('wait for the old side behind a cutover, and nobody hears of it', async () => {
    const stop = new AbortController()
    let count = 0
    const writers = Array.from({ length: 8 }, async (_, w) => {
      while (!stop.signal.aborted) {
        await append(w)
        count++
      }
    })
    for (const there of [true, false, true]) {
      // Under traffic for a while, on either side.
      await pause(80)
      if (there) await move.cutover({ force: true })
      else await move.rollback({ force: true })
    }
    await waiting()
    await pause(80)
    stop.abort()
    await Promise.all(writers)
    const { position } = await append(0)
    expect(await headOf('old')).toBeGreaterThanOrEqual(position)
    expect(count).toBeGreaterThan(8)
    expect(report()).toMatchObject({ isDegraded: false })
    expect(await move.verify()).toMatchObject({ differences: [], isEqual: true })
  })

  it('wait for nobody when the move is over', async () => {
    await append(1)
    await move.cancel()
    await append(2)
    await expect.poll(report).toBeUndefined()
    await append(3)
  })
})
