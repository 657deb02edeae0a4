import { beforeEach, describe, expect, it } from 'vitest'
import {
  collection,
  type Domain,
  type FeedItem,
  type NewEvent,
  type Subscription,
  type SubscriptionOptions,
} from '../src/index.ts'
import { type Place, placeKinds } from './places.ts'

const domains = {
  app: { collections: { counts: collection<number>(), notes: collection<string>() } },
} as const
type App = Domain<NewEvent, { counts: number; notes: string }>
type Options = SubscriptionOptions<NewEvent, { counts: number; notes: string }>

/** Resolves when a condition holds; fails after 20 s with what was seen instead. */
async function until(holds: () => unknown, what: () => unknown = () => ''): Promise<void> {
  const since = performance.now()
  while (!(await holds())) {
    if (performance.now() - since > 20_000)
      throw new Error(`Waited for ${holds}: ${JSON.stringify(await what())}`)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
}

/** Deletes the grant of a lease, as whoever takes it over replaces it. */
async function seize(place: Place, id: string): Promise<void> {
  const store = await place.open({ app: { collections: {} } })
  const backend = store.backends.get('main')
  const { epoch } = (await backend?.fence('app')) ?? { epoch: 0 }
  const write = { kind: 'delete', collection: '$leases', id } as const
  await backend?.commit('app', epoch, [{ at: Date.now(), writes: [write], checks: [] }])
}

const data = (item: FeedItem) => (item.kind === 'event' ? item.data : item.kind)

describe.each(placeKinds)('a subscription on $name', ({ make, missing }) => {
  let place: Place
  let app: App
  const stops: (() => Promise<void>)[] = []
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    place = make()
    app = (await place.open(domains)).domain('app')
    return async () => {
      for (const stop of stops.splice(0)) await stop()
    }
  })

  /** Runs it until the test ends, or is stopped. */
  function start(subscription: Pick<Subscription, 'run'>) {
    const ending = new AbortController()
    const running = subscription.run({ signal: ending.signal })
    // A test that expects it to fail awaits it; the others hear of a failure when it is stopped.
    void Promise.allSettled([running])
    const stop = async () => {
      ending.abort()
      await running
    }
    stops.push(stop)
    return { stop, running }
  }

  const say = (n: unknown, stream = 's') => app.log.append(stream, { type: 'said', data: n as never })

  it('delivers what was there, then what comes, in order, and goes on where it was stopped', async () => {
    const seen: unknown[] = []
    const options: Options = {
      name: 'all',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    }
    for (let i = 0; i < 20; i++) await say(i)
    const first = start(app.subscription(options))
    await until(() => seen.length === 20)
    for (let i = 20; i < 30; i++) await say(i)
    await until(() => seen.length === 30)
    await first.stop()
    for (let i = 30; i < 40; i++) await say(i)
    start(app.subscription(options))
    await until(() => seen.length >= 40)
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i))
  })

  it('may be one of many that run with one signal: the process is not warned', async () => {
    const warned: string[] = []
    const onWarning = ({ name }: Error) => warned.push(name)
    process.on('warning', onWarning)
    const ending = new AbortController()
    let seen = 0
    const running = Array.from({ length: 12 }, (_, i) =>
      app
        .subscription({ name: `n${i}`, filter: { types: ['said'] }, handle: () => ++seen })
        .run({ signal: ending.signal }),
    )
    await say(1)
    await until(() => seen === 12)
    ending.abort()
    await Promise.all(running)
    await new Promise(setImmediate)
    process.off('warning', onWarning)
    expect(warned).toEqual([])
  })

  it('exactly once, writes of the handler stand together with its checkpoint', async () => {
    for (let i = 0; i < 5; i++) await say(i)
    const subscription = app.subscription({
      name: 'count',
      mode: 'exactly-once',
      filter: { streams: 's' },
      async handle(_item, { tx }) {
        const found = await tx.get('counts', 'said')
        tx.put('counts', 'said', (found?.value ?? 0) + 1)
      },
    })
    start(subscription)
    const counts = app.documents('counts')
    await until(async () => (await counts.get('said'))?.value === 5)
    await Promise.all([say(5), say(6), say(7)])
    await until(async () => (await counts.get('said'))?.value === 8)
    await until(async () => (await subscription.status()).why.code === 'caught-up')
  })

  it('gives whole batches to handleBatch, with one transaction for each', async () => {
    for (let i = 0; i < 7; i++)
      await app.log.append('s', [
        { type: 'said', data: 1 },
        { type: 'said', data: 2 },
      ])
    const sizes: number[] = []
    start(
      app.subscription({
        name: 'sum',
        mode: 'exactly-once',
        filter: { types: ['said'] },
        batch: 5,
        async handleBatch(items, { tx }) {
          sizes.push(items.length)
          const found = await tx.get('counts', 'sum')
          tx.put(
            'counts',
            'sum',
            items.reduce((sum, item) => sum + Number(data(item)), found?.value ?? 0),
          )
        },
      }),
    )
    await until(async () => (await app.documents('counts').get('sum'))?.value === 21)
    expect(sizes.every((size) => size % 2 === 0)).toBe(true)
  })

  it('has one consumer at a time; another takes over when it is stopped', async () => {
    const by: string[] = []
    const of = (who: string): Options => ({
      name: 'one',
      filter: { types: ['said'] },
      ttlMs: 10_000,
      handle: () => by.push(who),
    })
    const other = (await place.open(domains)).domain('app') as App
    const first = start(app.subscription(of('a')))
    await say(1)
    await until(() => by.length === 1)
    start(other.subscription(of('b')))
    await say(2)
    await until(() => by.length === 2)
    await first.stop()
    await say(3)
    await until(() => by.length === 3)
    expect(by).toEqual(['a', 'a', 'b'])
  })

  it('tries again what failed, then parks it with the reason, and goes on', async () => {
    const seen: string[] = []
    let isMended = false
    const subscription = app.subscription({
      name: 'poison',
      filter: { types: ['said'] },
      retry: { attempts: 3, firstMs: 1, lastMs: 2 },
      handle(item, { attempt, isReplay }) {
        if (data(item) === 'bad' && !isMended) throw new Error(`no ${attempt}`)
        seen.push(`${data(item)}${isReplay ? ' again' : ''}`)
      },
    })
    await say('a')
    const bad = await say('bad')
    await say('b')
    start(subscription)
    await until(() => seen.length === 2)
    const [parked, ...others] = await subscription.parked()
    expect(others).toEqual([])
    expect(parked).toMatchObject({
      position: bad.position,
      change: { kind: 'event', stream: 's', seq: 2, type: 'said' },
      attempts: 3,
      error: 'Error: no 3',
    })
    await subscription.replay(parked?.id)
    await until(async () => (await subscription.parked())[0]?.attempts === 4)
    isMended = true
    await subscription.replay()
    await until(async () => (await subscription.parked()).length === 0)
    expect(seen).toEqual(['a', 'b', 'bad again'])
    await expect(subscription.replay('nothing')).rejects.toMatchObject({ code: 'invalid' })
  })

  it('exactly once, nothing of a failed attempt is written, and a replay takes effect once', async () => {
    let isMended = false
    const subscription = app.subscription({
      name: 'poison',
      mode: 'exactly-once',
      filter: { types: ['said'] },
      retry: { attempts: 2, firstMs: 1 },
      handle(item, { tx }) {
        tx.append('out', { type: 'heard', data: data(item) as never })
        if (data(item) === 'bad' && !isMended) throw new Error('no')
      },
    })
    await app.log.append(
      's',
      ['a', 'bad', 'b'].map((word) => ({ type: 'said', data: word })),
    )
    start(subscription)
    const heard = async () => (await app.log.read('out')).events.map((event) => event.data)
    await until(async () => (await heard()).length === 2, heard)
    isMended = true
    await subscription.replay()
    await until(async () => (await subscription.parked()).length === 0)
    expect(await heard()).toEqual(['a', 'b', 'bad'])
  })

  it('blocks the key of a parked change if asked to: those behind it are parked too, and replayed in order', async () => {
    const seen: unknown[] = []
    let isMended = false
    const subscription = app.subscription({
      name: 'keys',
      filter: { types: ['said'] },
      retry: { attempts: 1 },
      parkedKey: 'block',
      handle(item) {
        if (data(item) === 'a1' && !isMended) throw new Error('no')
        seen.push(data(item))
      },
    })
    for (const [key, n] of ['a1', 'b1', 'a2', 'b2'].map((word) => [word[0], word])) await say(n, key)
    const { stop } = start(subscription)
    await until(() => seen.length === 2)
    await say('a3', 'a')
    await until(async () => (await subscription.parked()).length === 3)
    await stop()
    start(subscription)
    isMended = true
    const [first] = await subscription.parked()
    await subscription.replay(first?.id)
    await until(async () => (await subscription.parked()).length === 0)
    await say('a4', 'a')
    await until(() => seen.includes('a4'))
    expect(seen).toEqual(['b1', 'b2', 'a1', 'a2', 'a3', 'a4'])
  })

  it('with poison "retry", waits at what it cannot handle, and says so', async () => {
    let isMended = false
    const seen: unknown[] = []
    const subscription = app.subscription({
      name: 'stubborn',
      filter: { types: ['said'] },
      poison: 'retry',
      retry: { attempts: 1, firstMs: 20, lastMs: 40 },
      handle(item) {
        if (!isMended) throw new Error('the mailer is down')
        seen.push(data(item))
      },
    })
    await say(1)
    await say(2)
    start(subscription)
    await until(async () => (await subscription.status()).why.code === 'retrying')
    await until(
      async () => (await subscription.status()).why.text.includes('attempt 3'),
      () => subscription.status(),
    )
    expect((await subscription.status()).why.text).toContain('the mailer is down')
    expect((await subscription.status()).lag.positions).toBeGreaterThan(1)
    isMended = true
    await until(() => seen.length === 2)
  })

  it('delivers documents too, when they are asked for, and never its own', async () => {
    const seen: string[] = []
    start(
      app.subscription({
        name: 'notes',
        filter: { collections: ['notes'] },
        handle: (item) =>
          seen.push(item.kind === 'event' ? 'event' : `${item.kind} ${item.collection}/${item.id}`),
      }),
    )
    const every: string[] = []
    start(
      app.subscription({
        name: 'every',
        handle: (item) => every.push(item.kind === 'event' ? 'event' : item.collection),
      }),
    )
    await app.documents('notes').put('a', 'x')
    await app.documents('counts').put('a', 1)
    await say(1)
    await until(() => seen.length === 1 && every.length === 3)
    await app.documents('notes').delete('a')
    await until(() => seen.length === 2)
    expect(seen).toEqual(['document notes/a', 'tombstone notes/a'])
    expect(every.filter((what) => what.startsWith('$'))).toEqual([])
  })

  it('comes to rest in an idle domain, several of them together', async () => {
    const seen: unknown[] = []
    for (const name of ['x', 'y', 'z'])
      start(
        app.subscription({ name, ttlMs: 60_000, saveEveryMs: 5, handle: (item) => seen.push(data(item)) }),
      )
    await say(1)
    await until(() => seen.length === 3)
    let head = -1
    await until(async () => {
      const before = head
      head = await app.head()
      await new Promise((resolve) => setTimeout(resolve, 60))
      return before === head
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await app.head()).toBe(head)
  })

  it('is paused and resumed by any process', async () => {
    const seen: unknown[] = []
    const subscription = app.subscription({
      name: 'p',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    })
    const other = ((await place.open(domains)).domain('app') as App).subscription({
      name: 'p',
      handle: () => {},
    })
    start(subscription)
    await say(1)
    await until(() => seen.length === 1)
    await other.pause()
    await until(async () => (await subscription.status()).why.code === 'paused')
    await new Promise((resolve) => setTimeout(resolve, 60))
    await say(2)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(seen).toEqual([1])
    await other.resume()
    await until(() => seen.length === 2)
    expect(seen).toEqual([1, 2])
  })

  it('is reset to the start, to a position, to a time and to now while it runs', async () => {
    const seen: unknown[] = []
    const subscription = app.subscription({
      name: 'r',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    })
    start(subscription)
    await say(1)
    const { position } = await say(2)
    await new Promise((resolve) => setTimeout(resolve, 5))
    const time = Date.now()
    await new Promise((resolve) => setTimeout(resolve, 5))
    await say(3)
    await until(() => seen.length === 3)
    await subscription.reset({ to: 'start' })
    await until(() => seen.length === 6)
    await subscription.reset({ to: position })
    await until(() => seen.length === 7)
    await subscription.reset({ to: { time } })
    await until(() => seen.length === 8)
    await subscription.pause()
    await say(4)
    await subscription.reset({ to: 'now' })
    await subscription.resume()
    await say(5)
    await until(() => seen.length === 9)
    expect(seen).toEqual([1, 2, 3, 1, 2, 3, 3, 3, 5])
    await expect(subscription.reset({ to: 1e9 })).rejects.toMatchObject({ code: 'invalid' })
  })

  it('begins now, or at a position', async () => {
    const { position } = await say(1)
    await say(2)
    const [now, after]: unknown[][] = [[], []]
    start(app.subscription({ name: 'now', from: 'now', handle: (item) => now?.push(data(item)) }))
    start(
      app.subscription({
        name: 'after',
        from: position,
        filter: { types: ['said'] },
        handle: (item) => after?.push(data(item)),
      }),
    )
    await until(() => after?.length === 1)
    await until(
      async () => (await app.subscription({ name: 'now', handle() {} }).status()).why.code === 'caught-up',
    )
    await say(3)
    await until(() => now?.length === 1 && after?.length === 2)
    expect([now, after]).toEqual([[3], [2, 3]])
  })

  it('handles several keys at a time, each in order', async () => {
    const seen = new Map<string, unknown[]>()
    let [running, most] = [0, 0]
    for (let i = 0; i < 60; i++) await say(i, `s${i % 6}`)
    start(
      app.subscription({
        name: 'wide',
        filter: { types: ['said'] },
        parallel: 3,
        async handle(item) {
          most = Math.max(most, ++running)
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 4))
          running--
          const stream = item.kind === 'event' ? item.stream : ''
          seen.set(stream, [...(seen.get(stream) ?? []), data(item)])
        },
      }),
    )
    await until(() => [...seen.values()].flat().length === 60)
    expect(most).toBe(3)
    for (const [stream, found] of seen)
      expect(found).toEqual(Array.from({ length: 10 }, (_, i) => 6 * i + Number(stream.slice(1))))
  })

  it('divides partitions fairly among those who run it, and again when one comes or goes', async () => {
    const seen: unknown[] = []
    const options: Options = {
      name: 'group',
      filter: { types: ['said'] },
      partitions: 6,
      ttlMs: 3_000,
      handle: (item) => seen.push(data(item)),
    }
    const views = [
      app,
      (await place.open(domains)).domain('app') as App,
      (await place.open(domains)).domain('app') as App,
    ]
    const shares = async () => {
      const { partitions } = await app.subscription(options).status()
      const held = new Map<string, number>()
      for (const { holder } of partitions)
        if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1)
      return [...held.values()].sort().join(' ')
    }
    const runs = [start(views[0]?.subscription(options) as Subscription)]
    await until(async () => (await shares()) === '6', shares)
    runs.push(start(views[1]?.subscription(options) as Subscription))
    await until(async () => (await shares()) === '3 3', shares)
    runs.push(start(views[2]?.subscription(options) as Subscription))
    await until(async () => (await shares()) === '2 2 2', shares)
    for (let i = 0; i < 40; i++) await say(i, `s${i}`)
    await until(() => new Set(seen).size === 40)
    await runs[0]?.stop()
    await until(async () => (await shares()) === '3 3', shares)
    for (let i = 40; i < 60; i++) await say(i, `s${i}`)
    await until(() => new Set(seen).size === 60)
    await expect(app.subscription({ ...options, partitions: 5 }).run()).rejects.toMatchObject({
      code: 'mismatch',
    })
  })

  it('says why it waits', async () => {
    const subscription = app.subscription({ name: 'why', filter: { types: ['said'] }, handle: () => {} })
    expect((await subscription.status()).why.code).toBe('not-started')
    const { stop } = start(subscription)
    await until(async () => (await subscription.status()).why.code === 'caught-up')
    expect((await subscription.status()).why.text).toContain(`held by process ${process.pid} on `)
    await stop()
    await say(1)
    const status = await subscription.status()
    expect(status.why.code).toBe('no-consumer')
    expect(status.lag.positions).toBe(1)
    expect(status.lag.seconds).toBeLessThan(5)
  })

  it('ends when the store is closed', async () => {
    const store = await place.open(domains)
    const running = store
      .domain('app')
      .subscription({ name: 'end', handle: () => {} })
      .run()
    await say(1)
    await store.close()
    await running
  })

  it('gives up a handler that never returns, and one that does not end when it is stopped', async () => {
    let calls = 0
    const subscription = app.subscription({
      name: 'stuck',
      filter: { types: ['said'] },
      handlerMs: 30,
      retry: { attempts: 2, firstMs: 1 },
      handle: (item) => (data(item) === 'stuck' ? new Promise(() => {}) : calls++),
    })
    await say('stuck')
    await say(2)
    start(subscription)
    await until(() => calls === 1)
    expect((await subscription.parked())[0]?.error).toContain('longer than 30 ms')
  })

  it('refuses what cannot be meant, before anything is written', async () => {
    const bad = (options: object, code: string | typeof TypeError) => {
      const make = () => app.subscription({ name: 'bad', handle() {}, ...options } as Options)
      if (typeof code === 'string') expect(make).toThrow(expect.objectContaining({ code }))
      else expect(make).toThrow(code)
    }
    const head = await app.head()
    bad({ name: 'Not a name' }, 'invalid')
    bad({ partitions: 0 }, 'invalid')
    bad({ from: -1 }, 'invalid')
    bad({ filter: { collections: ['$leases'] } }, 'invalid')
    bad({ filter: { types: [] } }, 'invalid')
    bad({ filter: { types: 'said' } }, TypeError)
    bad({ mode: 'twice' }, TypeError)
    bad({ handleBatch() {} }, TypeError)
    bad({ handle: undefined }, TypeError)
    bad({ mode: 'exactly-once', parallel: 2 }, TypeError)
    const subscription = app.subscription({ name: 'bad', handle() {} })
    await expect(subscription.run(AbortSignal.abort() as never)).rejects.toThrow('run({ signal })')
    expect(await app.head()).toBe(head)
  })

  it.each(['at-least-once', 'exactly-once'] as const)(
    '%s, overlooks no replay and no pause that came while it was at work',
    async (mode) => {
      const seen: unknown[] = []
      let isMended = false
      const handle = async (item: FeedItem) => {
        if (data(item) === 'bad' && !isMended) throw new Error('no')
        seen.push(data(item))
        if (data(item) === 'ask') {
          isMended = true
          await subscription.replay()
        }
        if (data(item) === 'pause') await subscription.pause()
      }
      const common = { name: 'busy', filter: { types: ['said'] }, retry: { attempts: 1 }, handle }
      const subscription = app.subscription(
        mode === 'exactly-once' ? { ...common, mode } : { ...common, mode, saveEveryMs: 0 },
      )
      start(subscription)
      await say('bad')
      await until(async () => (await subscription.parked()).length === 1)
      await say('ask')
      await until(async () => (await subscription.parked()).length === 0)
      await say('pause')
      await until(async () => (await subscription.status()).why.code === 'paused')
      await say('late')
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(seen).toEqual(['ask', 'bad', 'pause'])
      await subscription.resume()
      await until(() => seen.at(-1) === 'late')
    },
  )

  it('exactly once, refuses the writes of a handler whose lease was taken over, and lets the other go on', async () => {
    const other = (await place.open(domains)).domain('app') as App
    let isHolding = true
    const of = (domain: App, who: string) =>
      domain.subscription({
        name: 'zombie',
        mode: 'exactly-once',
        filter: { types: ['said'] },
        ttlMs: 60_000,
        async handle(_item, { tx }) {
          if (who === 'old') await until(() => !isHolding)
          tx.append('out', { type: 'heard', data: who })
        },
      })
    const old = start(of(app, 'old'))
    await say(1)
    await until(async () => (await of(app, 'old').status()).why.code === 'behind')
    // As a process that saw no sign of life for the whole time would.
    await seize(place, 'consumer:zombie/0')
    start(of(other, 'new'))
    await until(async () => (await app.log.seq('out')) === 1)
    isHolding = false
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await app.log.read('out')).events.map((event) => event.data)).toEqual(['new'])
    await old.stop()
  })

  it('shows changes live, and tells a slow reader what it missed', async () => {
    const ending = new AbortController()
    const every = app.live({ filter: { types: ['said'] }, after: await app.head(), signal: ending.signal })
    const newest = app.live({
      filter: { types: ['said'] },
      after: await app.head(),
      slow: 'skip',
      behind: 10,
      signal: ending.signal,
    })
    await say(0)
    expect((await every.next()).value).toMatchObject({ data: 0 })
    expect((await newest.next()).value).toMatchObject({ data: 0 })
    const after = await app.head()
    for (let i = 1; i <= 300; i++) await say(i)
    const seen: unknown[] = []
    for (let i = 1; i <= 300; i++) seen.push(data((await every.next()).value as FeedItem))
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    expect((await newest.next()).value).toEqual({ kind: 'missed', after, upTo: await app.head() })
    await say('after')
    expect((await newest.next()).value).toMatchObject({ data: 'after' })
    ending.abort()
  })
})
