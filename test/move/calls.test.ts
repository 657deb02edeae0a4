/** Calls of an application while authority goes from one backend to another. */
import { setTimeout as pause } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import { type Backend, openStore, systemClock, UnderpinError } from '../../src/index.ts'
import { cutover, reopen, start } from '../../src/move/cutover.ts'
import { type Sides, turned } from '../../src/move/sides.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { randomOf } from '../crash/random.ts'
import { placePairs } from '../places.ts'
import { type BothSides, bothSides, catchUp, moveAndComplete, moveOver, sidesOf, step } from './both-sides.ts'

const domains = { app: { collections: { things: {} } } } as const

describe.each(placePairs)('calls through a cutover from $name', (pair) => {
  let places: BothSides
  beforeEach((context) => {
    places = bothSides(context, pair)
  })

  it('reach the new authority in the order in which one caller made them, though it awaits none of them', async () => {
    const seed = Number(process.env.UNDERPIN_SEED ?? 1 + Math.floor(Math.random() * 1e9))
    const random = randomOf(seed)
    const store = await places.open(domains)
    const { log } = store.domain('app')
    const sides = sidesOf(store)
    await start(sides)
    await catchUp(sides)
    let isOver = false
    const called: number[] = [0, 0, 0]
    const callers = called.map(async (_, caller) => {
      const pending: Promise<unknown>[] = []
      while (!isOver) {
        for (let burst = Math.floor(random() * 8); burst >= 0; burst--)
          pending.push(log.append(`s${caller}`, { type: 'E', data: (called[caller] as number)++ }))
        if (random() < 0.3) await Promise.all(pending.splice(0))
        else await pause(random() * 3)
      }
      await Promise.all(pending)
    })
    let side: Sides = sides
    for (let round = 0; round < 6; round++) {
      await pause(20)
      await catchUpRoughly(side)
      await cutover(side, { maxPauseMs: 10_000 })
      side = turned(side)
    }
    isOver = true
    await Promise.all(callers)
    for (const [caller, count] of called.entries()) {
      const found: unknown[] = []
      for await (const { data } of log.events(`s${caller}`)) found.push(data)
      expect(found, `seed ${seed}`).toEqual(Array.from({ length: count }, (_, i) => i))
    }
    console.log(
      `${called.reduce((sum, n) => sum + n)} commits of 3 callers, 6 cutovers, in order (seed ${seed})`,
    )
  }, 60_000)

  it('are held while the domain is sealed, and reads are served', async () => {
    const store = await places.open(domains)
    const app = store.domain('app')
    const sides = sidesOf(store)
    await app.log.append('s', { type: 'E', data: 0 })
    await app.documents('things').put('x', { n: 1 })
    await start(sides)
    await catchUp(sides)
    await step(sides, 'seal')
    let isDone = false
    const appending = app.log.append('s', { type: 'E', data: 1 }).finally(() => (isDone = true))
    expect((await app.log.read('s')).events).toHaveLength(1)
    expect((await app.documents('things').get('x'))?.value).toEqual({ n: 1 })
    await pause(30)
    expect(isDone).toBe(false)
    await step(sides, 'decide')
    expect((await app.log.read('s')).events.length).toBeLessThanOrEqual(2)
    expect((await appending).seqs).toEqual([2])
    expect((await sides.target.fence('app')).role).toBe('authority')
  })

  it('go on where the domain is now, in a process that knew only the old side', async () => {
    const store = await places.open(domains)
    const idle = await places.open(domains)
    await idle.domain('app').documents('things').put('x', { n: 1 })
    await moveAndComplete(sidesOf(store))
    // The old side is emptied: a copy that has no collection but those of every domain.
    await step(sidesOf(store, 'app', ['b', 'a']), 'prepare')
    expect((await idle.domain('app').documents('things').get('x'))?.value).toEqual({ n: 1 })
    expect((await idle.domain('app').documents('things').list()).documents).toHaveLength(1)
    await idle.domain('app').documents('things').put('y', { n: 2 })
    expect((await store.domain('app').documents('things').get('y'))?.value).toEqual({ n: 2 })
  })

  it('declare collections though authority changes in the middle', async () => {
    const store = await places.open(domains)
    const sides = sidesOf(store)
    await start(sides)
    await catchUp(sides)
    await step(sides, 'seal')
    const opening = places.open({ app: { collections: { more: {}, things: {} } } })
    await pause(20)
    await step(sides, 'decide')
    const opened = await opening
    await opened.domain('app').documents('more').put('x', 1)
    expect((await opened.domain('app').documents('more').get('x'))?.value).toBe(1)
    expect((await sides.target.fence('app')).role).toBe('authority')
  })

  it('follow the feed without a position missing or doubled', async () => {
    const store = await places.open(domains)
    const watcher = await places.open(domains)
    const sides = sidesOf(store)
    const { log } = store.domain('app')
    const ending = new AbortController()
    const seen: number[] = []
    const events: unknown[] = []
    const following = (async () => {
      for await (const item of watcher.domain('app').follow({ signal: ending.signal })) {
        seen.push(item.position)
        if (item.kind === 'event') events.push(item.data)
      }
    })()
    let appended = 0
    const append = async (count: number) => {
      for (let i = 0; i < count; i++) await log.append('s', { type: 'E', data: appended++ })
      await expect.poll(() => events.length).toBe(appended)
    }
    await append(5)
    await moveAndComplete(sides)
    // Nothing moves on the old side any more, so nothing there tells a watcher that it was left.
    await append(5)
    await moveOver(turned(sides))
    await append(1)
    await catchUp(sides)
    await cutover(sides)
    await append(1)
    ending.abort()
    await following
    expect(events).toEqual(Array.from({ length: appended }, (_, i) => i))
    expect(seen).toEqual([...new Set(seen)].sort((x, y) => x - y))
  })
})

/** Under traffic the copy never holds everything. */
async function catchUpRoughly(sides: Sides): Promise<void> {
  const { head } = await sides.source.fence(sides.domain)
  const until = async () => (await sides.target.fence(sides.domain)).head >= head
  while (!(await until())) await catchUp(sides).catch(() => pause(1))
}

describe('calls while nobody holds authority', () => {
  class Counted extends Forward {
    looks = 0
    hold: Promise<void> | undefined
    override async fence(...call: Parameters<Backend['fence']>) {
      this.looks++
      await this.hold
      return this.inner.fence(...call)
    }
  }

  async function sealed(deadlineMs = 10_000) {
    const [a, b] = [new Counted(memory()), new Counted(memory())]
    const store = await openStore({ a, b }, { domains, deadlineMs, attendEveryMs: 1_000_000 })
    const sides: Sides = { domain: 'app', source: a, target: b, clock: systemClock }
    await start(sides)
    await catchUp(sides)
    await step(sides, 'seal')
    return { store, app: store.domain('app'), sides, a, b }
  }

  it('look together, ever more seldom, however many they are', async () => {
    const { store, app, sides, a, b } = await sealed()
    ;[a.looks, b.looks] = [0, 0]
    const since = performance.now()
    const calls = Array.from({ length: 2_000 }, (_, i) => app.log.append(`s${i % 9}`, { type: 'E', data: i }))
    await pause(300)
    const [looks, ms] = [a.looks + b.looks, performance.now() - since]
    await step(sides, 'decide')
    await step(sides, 'open')
    await Promise.all(calls)
    console.log(`2000 commits waited ${Math.round(ms)} ms: ${looks} looks at two fences`)
    expect(looks).toBeLessThan(120)
    await store.close()
  })

  it('fail as fenced when their deadline is over, and as aborted by their signal; nothing is written', async () => {
    const { store, app, sides } = await sealed(1_000)
    const aborting = new AbortController()
    const since = performance.now()
    const late = app.log.append('s', { type: 'E', data: 0 })
    const given = app.log.append('s', { type: 'E', data: 1 }, { signal: aborting.signal })
    aborting.abort()
    await expect(given).rejects.toMatchObject({ code: 'aborted' })
    await expect(late).rejects.toMatchObject({ code: 'fenced', message: expect.stringContaining('sealed') })
    expect(performance.now() - since).toBeLessThan(4_000)
    await reopen(sides)
    expect((await app.log.read('s')).events).toEqual([])
    await app.log.append('s', { type: 'E', data: 2 })
    await store.close()
  })

  it('end with the store', async () => {
    const { store, app } = await sealed()
    const call = app.log.append('s', { type: 'E', data: 0 })
    await Promise.all([store.close(), expect(call).rejects.toMatchObject({ code: 'closed' })])
  })

  it('are served though the other backend does not answer', async () => {
    const { store, app, sides, a } = await sealed()
    await step(sides, 'decide')
    await step(sides, 'open')
    let answer = () => {}
    a.hold = new Promise((resolve) => (answer = resolve))
    const { positions } = await app.log.append('s', { type: 'E', data: 0 })
    expect(positions).toHaveLength(1)
    answer()
    await store.close()
  })

  it('find the new side though the old one, where a process knew the domain, cannot be reached any more', async () => {
    const { store, sides, a, b } = await sealed()
    await reopen(sides)
    const idle = await openStore({ a, b }, { domains, deadlineMs: 1_000, attendEveryMs: 1_000_000 })
    await idle.domain('app').log.append('s', { type: 'E', data: 0 })
    await catchUp(sides)
    await cutover(sides)
    const gone = async () => {
      throw new UnderpinError('unavailable', 'no route to a')
    }
    Object.assign(a, { fence: gone, commit: gone, read: gone })
    const append = () => idle.domain('app').log.append('s', { type: 'E', data: 1 })
    await expect(append()).rejects.toMatchObject({ code: 'unavailable' })
    expect((await append()).seqs).toEqual([2])
    await store.close()
  })

  it('are not refused, where they share a group with a declaration that was sealed in the middle', async () => {
    const { store, app, sides } = await sealed()
    await reopen(sides)
    const inner = (sides.source as unknown as { inner: Backend }).inner
    // Between the parts of a group somebody seals: what is behind the first part is refused by itself.
    const commit = inner.commit.bind(inner)
    inner.commit = async (...call) => {
      inner.commit = commit
      await step(sides, 'seal')
      const error = await inner.commit(...call).catch((thrown: unknown) => thrown)
      return call[2].map(() => ({ kind: 'refused', error }) as never)
    }
    const appending = app.log.append('s', { type: 'E', data: 0 })
    await pause(20)
    await reopen(sides)
    expect((await appending).seqs).toEqual([1])
    await store.close()
  })
})
