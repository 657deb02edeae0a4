import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import {
  type Backend,
  collection,
  type Move,
  openStore,
  type Progress,
  type Store,
  systemClock,
  UnderpinError,
} from '../../src/index.ts'
import { cutover, start } from '../../src/move/cutover.ts'
import { Mover } from '../../src/move/mover.ts'
import { lookFromLead, type Sides } from '../../src/move/sides.ts'
import { compareSides } from '../../src/move/verify.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { randomOf } from '../crash/random.ts'
import { fastClock } from '../fast-clock.ts'
import { placePairs } from '../places.ts'
import { append } from '../proof.ts'
import { bothSides, sidesOf } from './both-sides.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)

const domains = {
  app: {
    collections: {
      things: {},
      users: collection<{ email: string; n: number }>({
        fields: { email: 'string' },
        indexes: { by_email: { fields: ['email'], unique: true } },
      }),
    },
  },
} as const
type App = Store<typeof domains>

/** A mover, and what it said last. */
function move(
  run: (options: { signal: AbortSignal; onProgress(progress: Progress): void }) => Promise<void>,
) {
  const ending = new AbortController()
  const said: Progress[] = []
  const onProgress = (progress: Progress) => void said.push(progress)
  const ended = run({ signal: ending.signal, onProgress })
  void Promise.allSettled([ended])
  return {
    said,
    ended,
    /** Waits until it said something of the kind, from now on. */
    async until(is: (progress: Progress) => boolean, ms = 20_000) {
      const deadline = performance.now() + ms
      for (let at = said.length; ; ) {
        for (; at < said.length; at++) if (is(said[at] as Progress)) return said[at] as Progress
        if (performance.now() > deadline) throw new Error(`never said; last: ${JSON.stringify(said.at(-1))}`)
        await pause(5)
      }
    },
    async end() {
      ending.abort()
      await ended
    },
  }
}

/** Writes of every kind: events, superseded documents, deletions, emails that pass from one user to another. */
async function writeSome(store: App, random: () => number, count: number) {
  const app = store.domain('app')
  for (let i = 0; i < count; i++) {
    const n = Math.floor(random() * 20)
    const kind = random()
    if (kind < 0.5) await app.log.append(`s-${n}`, { type: 'T', data: { i, text: 'ü'.repeat(n) } })
    else if (kind < 0.75) await app.documents('things').put(`t-${n}`, { i })
    else if (kind < 0.85) await app.documents('things').delete(`t-${n}`)
    else
      await app
        .transaction((t) => {
          t.delete('users', `u-${n}`)
          t.put('users', `u-${(n + 1) % 20}`, { email: `e-${n}`, n: i })
        })
        .catch((error: UnderpinError) => {
          // Somebody else has the email: the application's own affair.
          if (error.code !== 'conflict') throw error
        })
  }
}

describe.each(placePairs)('a mover from $name', (pair) => {
  let store: App
  let sides: Sides
  let moving: Move
  beforeEach(async (context) => {
    store = await bothSides(context, pair).open(domains)
    sides = sidesOf(store)
    moving = await store.move('app', { to: 'b' })
  })

  it('copies what is there and what comes, in pages that any mover goes on with, and turns with the cutover', async () => {
    const random = randomOf(seed)
    await writeSome(store, random, 150)
    await moving.start()
    await moving.set({ pageItems: 40 })
    let total = 0
    for (let turn = 0; turn < 3; turn++) {
      const mover = move((options) => moving.run(options))
      const writing = writeSome(store, random, 30)
      const { records } = await mover.until(({ records }) => records > 0)
      total += records
      // In the middle of whatever it does.
      await mover.end()
      await writing
    }
    const mover = move((options) => moving.run(options))
    await mover.until(({ state, lag }) => state === 'waiting' && lag.positions === 0)
    expect(total).toBeGreaterThan(0)
    expect(await compareSides(sides)).toMatchObject({ differences: [], isEqual: true })
    await moving.cutover({ force: true } as never)
    await writeSome(store, random, 30)
    const { head } = await sides.target.fence('app')
    await mover.until(({ position }) => position >= head)
    expect(await compareSides((await lookFromLead(sides)).sides)).toMatchObject({ differences: [] })
    await moving.rollback({ force: true } as never)
    await writeSome(store, random, 20)
    const { head: last } = await sides.source.fence('app')
    await mover.until(({ position }) => position >= last)
    await moving.cancel()
    await mover.ended
  }, 60_000)
})

/** A backend that fails as told, before or after it has done what it was asked for. */
class Faulty extends Forward {
  before: (verb: string) => UnderpinError | undefined = () => undefined
  after: (verb: string) => UnderpinError | undefined = () => undefined
  readonly calls: string[] = []

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#run('fence', () => this.inner.fence(...call))
  }
  override changes(...call: Parameters<Backend['changes']>) {
    return this.#run('changes', () => this.inner.changes(...call))
  }
  override apply(...call: Parameters<Backend['apply']>) {
    return this.#run('apply', () => this.inner.apply(...call))
  }
  override get(...call: Parameters<Backend['get']>) {
    return this.#run('get', () => this.inner.get(...call))
  }

  async #run<T>(verb: string, call: () => Promise<T>): Promise<T> {
    this.calls.push(verb)
    const before = this.before(verb)
    if (before !== undefined) throw before
    const result = await call()
    const after = this.after(verb)
    if (after !== undefined) throw after
    return result
  }

  count(verb: string): number {
    return this.calls.filter((call) => call === verb).length
  }
}

const failure = (code: 'unavailable' | 'unknown' | 'timeout' | 'fenced' | 'too-large') =>
  new UnderpinError(code, `planted: ${code}`)

describe('a mover between stores that fail', () => {
  let store: App
  let source: Faulty
  let target: Faulty
  let sides: Sides
  beforeEach(async () => {
    source = new Faulty(memory())
    target = new Faulty(memory())
    store = await openStore({ a: source, b: target }, { domains })
    sides = { domain: 'app', source, target, clock: systemClock }
    await start(sides)
  })
  afterEach(async () => {
    source.before = source.after = target.before = target.after = () => undefined
    await store.close()
  })

  it('leaves out nothing and copies nothing twice, whatever call fails, before or after it took effect', async () => {
    const random = randomOf(seed)
    const since = performance.now()
    const rounds = 30
    // The waits after failures are long by design.
    const fast = { ...sides, clock: fastClock(50) }
    let failed = 0
    let faults = 0
    for (let round = 0; round < rounds; round++) {
      const codes = ['unavailable', 'unknown', 'timeout'] as const
      let left = 6
      const fail = () => {
        if (left === 0 || random() > 0.6) return undefined
        left--
        faults++
        return failure(codes[Math.floor(random() * 3)] ?? 'unknown')
      }
      await writeSome(store, random, 40)
      target.before = target.after = fail
      // What else the source is asked, writers ask as well.
      source.before = (verb) => (verb === 'changes' ? fail() : undefined)
      const mover = move((options) => new Mover(fast, options).run())
      await writeSome(store, random, 20)
      const { head } = await source.fence('app')
      await mover.until(({ position }) => position >= head)
      await mover.end()
      source.before = target.before = target.after = () => undefined
      const { isEqual, lag } = await compareSides(sides)
      if (!isEqual || lag > 0) failed++
    }
    const seconds = (performance.now() - since) / 1_000
    console.log(
      `seed ${seed}: ${faults} faults in ${rounds} rounds, ${failed} copies that differ (${seconds.toFixed(1)} s)`,
    )
    append({
      promise: 'a copy misses nothing, whatever call of its mover fails',
      backend: 'memory',
      tried: faults,
      failed,
      unknown: 0,
      seed,
      seconds,
    })
    expect(failed).toBe(0)
  }, 60_000)

  it('waits out a store that is away, ever longer, and says so', async () => {
    await writeSome(store, randomOf(seed), 50)
    target.before = (verb) => (verb === 'apply' ? failure('unavailable') : undefined)
    const mover = move((options) => new Mover(sides, options).run())
    await mover.until(({ trouble }) => trouble?.code === 'unavailable')
    await pause(1_500)
    // 100 + 200 + 400 + 800 ms: four tries, or some more by jitter, and not hundreds.
    expect(target.count('apply')).toBeLessThanOrEqual(8)
    target.before = () => undefined
    await mover.until(({ state, trouble }) => state === 'waiting' && trouble === undefined)
    await mover.end()
  })

  it('stands still before what the target refuses, says which, and goes on when it is gone', async () => {
    const app = store.domain('app')
    const moving = await store.move('app', { to: 'b' })
    await moving.start()
    await writeSome(store, randomOf(seed), 100)
    await app.documents('things').put('large', { text: 'x' })
    const { head: revision } = await source.fence('app')
    await app.log.append('behind', { type: 'T', data: 1 })
    const apply = target.apply.bind(target)
    target.apply = async (...call) => {
      const { items } = call[2]
      if (items.some((item) => item.kind === 'document' && item.id === 'large')) throw failure('too-large')
      return apply(...call)
    }
    const mover = move((options) => moving.run(options))
    const { gap, position } = await mover.until(({ state }) => state === 'gap')
    expect({ gap, position }).toMatchObject({
      gap: { position: revision, code: 'too-large', message: 'planted: too-large' },
      position: revision - 1,
    })
    const noted = async () => (await moving.status()).record?.gap
    expect(await noted()).toMatchObject({ position: revision, code: 'too-large' })
    const since = (await noted())?.since
    await mover.until(({ state }) => state === 'gap')
    expect((await noted())?.since).toBe(since)
    await expect(moving.catchUp()).rejects.toMatchObject({
      code: 'gate',
      details: { gap: { position: revision } },
    })
    await app.documents('things').delete('large')
    await mover.until(({ state, gap }) => state === 'waiting' && gap === undefined)
    while ((await noted()) !== null) await pause(20)
    await mover.end()
    expect(await compareSides(sides)).toMatchObject({ differences: [] })
  })

  it('stands still before a record that the source holds damaged', async () => {
    await writeSome(store, randomOf(seed), 30)
    await store.domain('app').log.append('bad', { type: 'T', data: 1 })
    const { head: position } = await source.fence('app')
    await writeSome(store, randomOf(seed + 1), 30)
    const inner = (source as unknown as { inner: ReturnType<typeof memory> }).inner
    const found = (await inner.changes('app', position - 1, 1)).items[0]
    if (found?.kind !== 'event') throw new Error('no event there')
    inner.sync.plant('app', { ...found, data: '2' as never })
    const mover = move((options) => new Mover(sides, options).run())
    const said = await mover.until(({ state }) => state === 'gap')
    expect(said.gap).toMatchObject({ code: 'damaged', position })
    // The next record is the damaged one; positions of superseded states may lie between.
    await expect(source.changes('app', said.position, 1)).rejects.toMatchObject({ details: { position } })
    inner.sync.plant('app', found)
    await mover.until(({ state }) => state === 'waiting')
    await mover.end()
  })

  it('asks seldom while there is nothing to copy', async () => {
    const moving = await store.move('app', { to: 'b' })
    await moving.start()
    const mover = move((options) => moving.run(options))
    await mover.until(({ state }) => state === 'waiting')
    const before = source.calls.length + target.calls.length
    await pause(3_000)
    const calls = source.calls.length + target.calls.length - before
    await mover.end()
    // Each second: a page, both fences, the record.
    expect(calls).toBeLessThanOrEqual(30)
  })

  it('stops for a pause and changes its pace within about a second, while it works', async () => {
    const moving = await store.move('app', { to: 'b' })
    await moving.start({ settings: { pageItems: 5, maxRate: 100 } })
    for (let i = 0; i < 20; i++)
      await store.domain('app').log.append(
        'many',
        Array.from({ length: 100 }, (_, n) => ({ type: 'T', data: n })),
      )
    const mover = move((options) => moving.run(options))
    await mover.until(({ records }) => records > 0)
    await moving.pause()
    await mover.until(({ state }) => state === 'paused', 1_500)
    const { head } = await target.fence('app')
    await pause(300)
    expect((await target.fence('app')).head).toBe(head)
    await expect(moving.catchUp()).rejects.toMatchObject({ code: 'gate' })
    await moving.resume()
    await mover.until(({ state }) => state === 'copying', 1_500)
    expect(mover.said.at(-1)?.throttle).toContainEqual(expect.objectContaining({ cause: 'rate' }))
    await moving.set({ maxRate: null })
    await mover.until(({ state }) => state === 'waiting', 2_500)
    await mover.end()
  })

  it('steps back where another one is at work, and takes over when that one is gone', async () => {
    const moving = await store.move('app', { to: 'b' })
    await moving.start({ settings: { pageItems: 10, maxRate: 400 } })
    for (let i = 0; i < 30; i++)
      await store.domain('app').log.append(
        `s-${i}`,
        Array.from({ length: 100 }, (_, n) => ({ type: 'T', data: n })),
      )
    const movers = [1, 2].map(() => move((options) => moving.run(options)))
    await Promise.race(movers.map((mover) => mover.until(({ state }) => state === 'beside')))
    const [idle, busy] = movers[0]?.said.at(-1)?.state === 'beside' ? movers : [...movers].reverse()
    const applied = target.count('apply')
    const before = busy?.said.length ?? 0
    await pause(1_000)
    // One mover's pages alone.
    const pages = busy?.said.slice(before).filter(({ state }) => state === 'copying').length ?? 0
    expect(target.count('apply') - applied).toBeLessThanOrEqual(pages + 1)
    await busy?.end()
    await idle?.until(({ state }) => state === 'copying')
    await moving.set({ maxRate: null })
    await idle?.until(({ state }) => state === 'waiting')
    await idle?.end()
    expect(await compareSides(sides)).toMatchObject({ differences: [] })
  })

  it('finishes a cutover that was decided, and whose coordinator is gone', async () => {
    await writeSome(store, randomOf(seed), 20)
    const mover = move((options) => new Mover(sides, options).run())
    await mover.until(({ state }) => state === 'waiting')
    const transition = target.transition.bind(target)
    target.transition = async () => {
      throw failure('unavailable')
    }
    await expect(cutover(sides)).rejects.toMatchObject({ code: 'unavailable' })
    expect((await lookFromLead(sides)).stage).toBe('decided')
    target.transition = transition
    while ((await lookFromLead(sides)).stage !== 'mirroring') await pause(20)
    expect(await lookFromLead(sides)).toMatchObject({ isTurned: true })
    await mover.end()
  })

  it('refuses a domain that is in no move, and ends with the move', async () => {
    const moving = await store.move('app', { to: 'b' })
    await moving.start()
    const mover = move((options) => moving.run(options))
    await mover.until(({ state }) => state === 'waiting')
    await moving.cancel()
    await mover.ended
    await expect(moving.run({ signal: new AbortController().signal })).rejects.toMatchObject({ code: 'gate' })
  })

  it('settles when its store is closed', async () => {
    const mover = move((options) => new Mover(sides, options).run())
    await mover.until(({ state }) => state === 'waiting')
    await store.close()
    await expect(mover.ended).rejects.toMatchObject({ code: 'closed' })
  })
})

describe('a standing copy', () => {
  it('is kept up by follow, in whatever process, until it is given up', async () => {
    const store = await openStore({ a: memory(), b: memory() }, { domains })
    await writeSome(store, randomOf(seed), 50)
    const follower = move((options) => store.follow('app', { to: 'b', by: 'ann', ...options }))
    await follower.until(({ state }) => state === 'waiting')
    await follower.end()
    await writeSome(store, randomOf(seed + 1), 50)
    const again = move((options) => store.follow('app', { to: 'b', ...options }))
    const { records } = await again.until(({ state }) => state === 'waiting')
    expect(records).toBeLessThan(150)
    const copy = await store.move('app', { to: 'b' })
    expect(await copy.verify()).toMatchObject({ isEqual: true })
    expect((await copy.status()).record?.by).toBe('ann')
    await copy.cancel()
    await again.ended
    await store.close()
  })
})
