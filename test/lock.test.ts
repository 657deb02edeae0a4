import { setTimeout as pause } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { collection, openBackend, openStore, UnderpinError } from '../src/index.ts'
import { Route } from '../src/route.ts'
import { Forward } from '../src/wrapper/forward.ts'
import { gate, hold } from './gate.ts'
import { placeKinds } from './places.ts'

const domains = { app: { collections: { things: collection<{ by: string }>() } } }

describe.each(placeKinds)('a lock on $name', ({ make, missing }) => {
  beforeEach(({ skip }) => skip(missing !== '', missing))
  const processes = async () => {
    const place = make()
    const stores = [await place.open(domains), await place.open(domains)] as const
    return [stores[0].domain('app'), stores[1].domain('app'), stores] as const
  }

  it('gives the result of the work, and a higher token each time', async () => {
    const [here, there] = await processes()
    const tokens: number[] = []
    for (const domain of [here, there, here, here])
      expect(await domain.withLock('k', ({ token }) => tokens.push(token))).toBe(tokens.length)
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b))
  })

  it('has one holder at a time among the callers of two processes, and serves those of one in order', async () => {
    const [here, there] = await processes()
    let inside = 0
    let most = 0
    const served: string[] = []
    const tokens: number[] = []
    const work = (name: string) => async (lock: { token: number }) => {
      most = Math.max(most, ++inside)
      served.push(name)
      tokens.push(lock.token)
      await pause(1)
      inside--
    }
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => [
        here.withLock('k', work(`here ${i}`), { waitMs: 20_000 }),
        there.withLock('k', work(`there ${i}`), { waitMs: 20_000 }),
      ]).flat(),
    )
    expect(most).toBe(1)
    expect(served).toHaveLength(40)
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b))
    for (const of of ['here', 'there'])
      expect(served.filter((name) => name.startsWith(of))).toEqual(
        Array.from({ length: 20 }, (_, i) => `${of} ${i}`),
      )
  })

  it('is given to another process though one has waiters of its own without end', async () => {
    const [here, there] = await processes()
    let isOver = false
    let turns = 0
    const greedy = Array.from({ length: 4 }, async () => {
      while (!isOver) await here.withLock('k', () => turns++, { waitMs: 20_000 })
    })
    while (turns === 0) await pause(1)
    for (let i = 0; i < 3; i++) await there.withLock('k', () => undefined, { waitMs: 10_000 })
    isOver = true
    await Promise.all(greedy)
  })

  it('keeps different keys apart, whatever characters they have', async () => {
    const [here, there] = await processes()
    const keys = ['a', 'a/b', 'lock/a', 'ü %2F \u{1f512}', ' ']
    const nest = (at: number): Promise<number> =>
      at === keys.length
        ? Promise.resolve(at)
        : (at % 2 === 0 ? here : there).withLock(keys[at] as string, () => nest(at + 1), { waitMs: 0 })
    expect(await nest(0)).toBe(keys.length)
  })

  it('that is not had in time fails with locked and names the holder, in this process and in another', async () => {
    const [here, there] = await processes()
    const { holding, open } = await hold(here, 'k')
    for (const waitMs of [0, 60])
      for (const domain of [here, there])
        await expect(domain.withLock('k', () => 'never', { waitMs })).rejects.toMatchObject({
          code: 'locked',
          details: { key: 'k', holder: expect.stringContaining(`process ${process.pid}`) },
        })
    open()
    await holding
    expect(await there.withLock('k', () => 'had', { waitMs: 0 })).toBe('had')
  })

  it('ends the waiting of those whose signal aborts, and they miss no turn of others', async () => {
    const [here, there] = await processes()
    const { holding, open } = await hold(here, 'k')
    const abort = new AbortController()
    const waiting = [here, there].map((domain) =>
      domain.withLock('k', () => 'never', { signal: abort.signal }),
    )
    const last = here.withLock('k', () => 'last')
    const refused = waiting.map((one) => expect(one).rejects.toMatchObject({ code: 'aborted' }))
    await pause(20)
    abort.abort()
    await Promise.all(refused)
    await expect(here.withLock('k', () => 0, { signal: abort.signal })).rejects.toMatchObject({
      code: 'aborted',
    })
    open()
    await holding
    expect(await last).toBe('last')
  })

  it('fails with the error of the work, and is free again', async () => {
    const [here, there] = await processes()
    await expect(
      here.withLock('k', () => {
        throw new RangeError('own')
      }),
    ).rejects.toThrow(new RangeError('own'))
    expect(await there.withLock('k', () => 'had', { waitMs: 0 })).toBe('had')
  })

  it('refuses the commits of work that goes on after it', async () => {
    const [here] = await processes()
    const kept = await here.withLock('k', ({ domain }) => domain)
    for (const next of [() => undefined, ({ domain }: { domain: typeof here }) => domain.head()]) {
      const put = () => kept.documents('things').put('late', { by: 'k' })
      await expect(put()).rejects.toMatchObject({
        code: 'lost-lease',
        message: expect.stringContaining('its work has ended'),
        hint: expect.stringContaining('Await everything'),
      })
      await here.withLock('k', async (lock) => {
        await expect(put()).rejects.toMatchObject({ code: 'lost-lease' })
        await next(lock)
      })
    }
    expect(await here.documents('things').get('late')).toBeUndefined()
  })

  it('taken again within its own work is a TypeError; another key, or later, is not', async () => {
    const [here] = await processes()
    await here.withLock('k', async ({ domain }) => {
      await expect(here.withLock('k', () => 0)).rejects.toThrow(TypeError)
      await expect(domain.withLock('k', () => 0)).rejects.toThrow(TypeError)
      expect(await domain.withLock('other', () => 'nested')).toBe('nested')
      await expect(here.withLock('other', () => here.withLock('k', () => 0))).rejects.toThrow(TypeError)
    })
    let later: Promise<string> | undefined
    await here.withLock('k', () => {
      later = pause(20).then(() => here.withLock('k', () => 'later'))
    })
    expect(await later).toBe('later')
  })

  it('within another one depends on both', async () => {
    const [here, there] = await processes()
    const { open, opened } = gate()
    await here.withLock('outer', async ({ domain }) => {
      const stray = await domain.withLock('inner', (inner) => inner.domain)
      await expect(stray.documents('things').put('a', { by: '' })).rejects.toMatchObject({
        code: 'lost-lease',
      })
      await domain.withLock('inner', async (inner) => {
        await inner.domain.documents('things').put('b', { by: '' })
      })
      open()
    })
    await opened
    expect((await there.documents('things').get('b'))?.id).toBe('b')
  })

  it('ends when the store is closed: the work is told, and whoever waits is refused', async () => {
    const [here, , [store]] = await processes()
    const { open, opened } = gate()
    const holding = here.withLock(
      'k',
      async ({ signal }) => {
        open()
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      },
      { ttlMs: 150 },
    )
    const ended = expect(holding).rejects.toMatchObject({ code: 'closed' })
    await opened
    const waiting = expect(here.withLock('k', () => 0)).rejects.toMatchObject({ code: 'closed' })
    await store.close()
    await Promise.all([ended, waiting])
  })

  it.each([
    [{ ttlMs: 0 }, TypeError],
    [{ ttlMs: Number.NaN }, TypeError],
    [{ waitMs: -1 }, TypeError],
    [{ waitMs: Number.POSITIVE_INFINITY }, TypeError],
  ])('refuses %o', async (options, error) => {
    const [here] = await processes()
    await expect(here.withLock('k', () => 0, options)).rejects.toThrow(error)
  })

  it.each([
    ['', 'invalid'],
    ['\0', 'invalid'],
    ['\ud800', 'invalid'],
    ['x'.repeat(508), 'too-large'],
  ])('refuses the key %j', async (key, code) => {
    const [here] = await processes()
    await expect(here.withLock(key, () => 0)).rejects.toMatchObject({ code })
    expect(await here.withLock('x'.repeat(507), () => 0)).toBe(0)
  })

  it('that is lost aborts the signal, refuses the commits, and fails though the work returned', async () => {
    const [here, there] = await processes()
    const { commit } = Route.prototype
    const held = gate()
    let isDeaf = false
    // No sign of life arrives, as if the process were stopped.
    Route.prototype.commit = function (this: Route, ...call) {
      const isBeat = call[0].writes.some((write) => 'collection' in write && write.collection === '$beats')
      if (!isDeaf || !isBeat) return commit.apply(this, call)
      return new Promise((_, reject) =>
        call[1]?.signal?.addEventListener('abort', () => reject(new UnderpinError('unknown', 'deaf'))),
      )
    }
    try {
      const holding = here.withLock(
        'k',
        async ({ domain, signal }) => {
          isDeaf = true
          held.open()
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          await pause(200)
          await expect(domain.documents('things').put('late', { by: 'here' })).rejects.toMatchObject({
            code: 'lost-lease',
          })
          return 'returned'
        },
        { ttlMs: 100 },
      )
      const lost = expect(holding).rejects.toMatchObject({ code: 'lost-lease' })
      await held.opened
      const taken = there.withLock('k', async ({ domain }) => {
        await domain.documents('things').put('taken', { by: 'there' })
        isDeaf = false
      })
      await Promise.all([taken, lost])
      expect(await there.documents('things').get('late')).toBeUndefined()
      expect((await there.documents('things').get('taken'))?.value.by).toBe('there')
    } finally {
      Route.prototype.commit = commit
    }
  })
})

/** A backend that does not answer the commit of a grant, which is made, before it may. */
class Slow extends Forward {
  readonly granted = gate()
  readonly answer = gate()

  override async commit(...call: Parameters<Backend['commit']>): ReturnType<Backend['commit']> {
    const outcomes = await this.inner.commit(...call)
    const isGrant = call[2].some(({ writes }) =>
      writes.some((write) => write.kind === 'put' && write.collection === '$leases'),
    )
    if (isGrant) {
      this.granted.open()
      await this.answer.opened
    }
    return outcomes
  }
}

describe.each(placeKinds)('a lock that is granted to a caller who leaves meanwhile, on $name', (kind) => {
  beforeEach(({ skip }) => skip(kind.missing !== '', kind.missing))

  it('is given back at once, and the caller is told that the waiting was aborted', async () => {
    const slow = new Slow(await openBackend(kind.make().url ?? 'memory:'))
    const store = await openStore(slow, { domains })
    const app = store.domain('app')
    const gone = new AbortController()
    const work = () => Promise.reject(new TypeError('nobody is there to work for'))
    const leaving = app.withLock('k', work, { signal: gone.signal })
    await slow.granted.opened
    gone.abort()
    slow.answer.open()
    await expect(leaving).rejects.toMatchObject({ code: 'aborted' })
    expect(await app.withLock('k', () => 'free', { waitMs: 0 })).toBe('free')
    await store.close()
  })
})
