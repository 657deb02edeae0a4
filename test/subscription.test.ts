/** What a subscription delivers, and how. */
import { describe, expect, it } from 'vitest'
import type { FeedItem } from '../src/index.ts'
import { placeKinds } from './places.ts'
import { data, type Options, Rig, until } from './subscription/rig.ts'

describe.each(placeKinds)('a subscription on $name', (kind) => {
  const rig = new Rig(kind)

  it('delivers what was there, then what comes, in order, and goes on where it was stopped', async () => {
    const seen: unknown[] = []
    const options: Options = {
      name: 'all',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    }
    for (let i = 0; i < 20; i++) await rig.say(i)
    const first = rig.start(rig.app.subscription(options))
    await until(() => seen.length === 20)
    for (let i = 20; i < 30; i++) await rig.say(i)
    await until(() => seen.length === 30)
    await first.stop()
    for (let i = 30; i < 40; i++) await rig.say(i)
    rig.start(rig.app.subscription(options))
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
      rig.app
        .subscription({ name: `n${i}`, filter: { types: ['said'] }, handle: () => ++seen })
        .run({ signal: ending.signal }),
    )
    await rig.say(1)
    await until(() => seen === 12)
    ending.abort()
    await Promise.all(running)
    await new Promise(setImmediate)
    process.off('warning', onWarning)
    expect(warned).toEqual([])
  })

  it('exactly once, writes of the handler stand together with its checkpoint', async () => {
    for (let i = 0; i < 5; i++) await rig.say(i)
    const subscription = rig.app.subscription({
      name: 'count',
      mode: 'exactly-once',
      filter: { streams: 's' },
      async handle(_item, { tx }) {
        const found = await tx.get('counts', 'said')
        tx.put('counts', 'said', (found?.value ?? 0) + 1)
      },
    })
    rig.start(subscription)
    const counts = rig.app.documents('counts')
    await until(async () => (await counts.get('said'))?.value === 5)
    await Promise.all([rig.say(5), rig.say(6), rig.say(7)])
    await until(async () => (await counts.get('said'))?.value === 8)
    await until(async () => (await subscription.status()).why.code === 'caught-up')
  })

  it('gives whole batches to handleBatch, with one transaction for each', async () => {
    for (let i = 0; i < 7; i++)
      await rig.app.log.append('s', [
        { type: 'said', data: 1 },
        { type: 'said', data: 2 },
      ])
    const sizes: number[] = []
    rig.start(
      rig.app.subscription({
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
    await until(async () => (await rig.app.documents('counts').get('sum'))?.value === 21)
    expect(sizes.every((size) => size % 2 === 0)).toBe(true)
  })

  it('tries again what failed, then parks it with the reason, and goes on', async () => {
    const seen: string[] = []
    let isMended = false
    const subscription = rig.app.subscription({
      name: 'poison',
      filter: { types: ['said'] },
      retry: { attempts: 3, firstMs: 1, lastMs: 2 },
      handle(item, { attempt, isReplay }) {
        if (data(item) === 'bad' && !isMended) throw new Error(`no ${attempt}`)
        seen.push(`${data(item)}${isReplay ? ' again' : ''}`)
      },
    })
    await rig.say('a')
    const bad = await rig.say('bad')
    await rig.say('b')
    rig.start(subscription)
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
    const subscription = rig.app.subscription({
      name: 'poison',
      mode: 'exactly-once',
      filter: { types: ['said'] },
      retry: { attempts: 2, firstMs: 1 },
      handle(item, { tx }) {
        tx.append('out', { type: 'heard', data: data(item) as never })
        if (data(item) === 'bad' && !isMended) throw new Error('no')
      },
    })
    await rig.app.log.append(
      's',
      ['a', 'bad', 'b'].map((word) => ({ type: 'said', data: word })),
    )
    rig.start(subscription)
    const heard = async () => (await rig.app.log.read('out')).events.map((event) => event.data)
    await until(async () => (await heard()).length === 2, heard)
    isMended = true
    await subscription.replay()
    await until(async () => (await subscription.parked()).length === 0)
    expect(await heard()).toEqual(['a', 'b', 'bad'])
  })

  it('blocks the key of a parked change if asked to: those behind it are parked too, and replayed in order', async () => {
    const seen: unknown[] = []
    let isMended = false
    const subscription = rig.app.subscription({
      name: 'keys',
      filter: { types: ['said'] },
      retry: { attempts: 1 },
      parkedKey: 'block',
      handle(item) {
        if (data(item) === 'a1' && !isMended) throw new Error('no')
        seen.push(data(item))
      },
    })
    for (const [key, n] of ['a1', 'b1', 'a2', 'b2'].map((word) => [word[0], word])) await rig.say(n, key)
    const { stop } = rig.start(subscription)
    await until(() => seen.length === 2)
    await rig.say('a3', 'a')
    await until(async () => (await subscription.parked()).length === 3)
    await stop()
    rig.start(subscription)
    isMended = true
    const [first] = await subscription.parked()
    await subscription.replay(first?.id)
    await until(async () => (await subscription.parked()).length === 0)
    await rig.say('a4', 'a')
    await until(() => seen.includes('a4'))
    expect(seen).toEqual(['b1', 'b2', 'a1', 'a2', 'a3', 'a4'])
  })

  it('with poison "retry", waits at what it cannot handle, and says so', async () => {
    let isMended = false
    const seen: unknown[] = []
    const subscription = rig.app.subscription({
      name: 'stubborn',
      filter: { types: ['said'] },
      poison: 'retry',
      retry: { attempts: 1, firstMs: 20, lastMs: 40 },
      handle(item) {
        if (!isMended) throw new Error('the mailer is down')
        seen.push(data(item))
      },
    })
    await rig.say(1)
    await rig.say(2)
    rig.start(subscription)
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
    rig.start(
      rig.app.subscription({
        name: 'notes',
        filter: { collections: ['notes'] },
        handle: (item) =>
          seen.push(item.kind === 'event' ? 'event' : `${item.kind} ${item.collection}/${item.id}`),
      }),
    )
    const every: string[] = []
    rig.start(
      rig.app.subscription({
        name: 'every',
        handle: (item) => every.push(item.kind === 'event' ? 'event' : item.collection),
      }),
    )
    await rig.app.documents('notes').put('a', 'x')
    await rig.app.documents('counts').put('a', 1)
    await rig.say(1)
    await until(() => seen.length === 1 && every.length === 3)
    await rig.app.documents('notes').delete('a')
    await until(() => seen.length === 2)
    expect(seen).toEqual(['document notes/a', 'tombstone notes/a'])
    expect(every.filter((what) => what.startsWith('$'))).toEqual([])
  })

  it('begins now, or at a position', async () => {
    const { position } = await rig.say(1)
    await rig.say(2)
    const [now, after]: unknown[][] = [[], []]
    rig.start(rig.app.subscription({ name: 'now', from: 'now', handle: (item) => now?.push(data(item)) }))
    rig.start(
      rig.app.subscription({
        name: 'after',
        from: position,
        filter: { types: ['said'] },
        handle: (item) => after?.push(data(item)),
      }),
    )
    await until(() => after?.length === 1)
    await until(
      async () =>
        (await rig.app.subscription({ name: 'now', handle() {} }).status()).why.code === 'caught-up',
    )
    await rig.say(3)
    await until(() => now?.length === 1 && after?.length === 2)
    expect([now, after]).toEqual([[3], [2, 3]])
  })

  it('handles several keys at a time, each in order', async () => {
    const seen = new Map<string, unknown[]>()
    let [running, most] = [0, 0]
    for (let i = 0; i < 60; i++) await rig.say(i, `s${i % 6}`)
    rig.start(
      rig.app.subscription({
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

  it('gives up a handler that never returns, and one that does not end when it is stopped', async () => {
    let calls = 0
    const subscription = rig.app.subscription({
      name: 'stuck',
      filter: { types: ['said'] },
      handlerMs: 30,
      retry: { attempts: 2, firstMs: 1 },
      handle: (item) => (data(item) === 'stuck' ? new Promise(() => {}) : calls++),
    })
    await rig.say('stuck')
    await rig.say(2)
    rig.start(subscription)
    await until(() => calls === 1)
    expect((await subscription.parked())[0]?.error).toContain('longer than 30 ms')
  })

  it('refuses what cannot be meant, before anything is written', async () => {
    const bad = (options: object, code: string | typeof TypeError) => {
      const make = () => rig.app.subscription({ name: 'bad', handle() {}, ...options } as Options)
      if (typeof code === 'string') expect(make).toThrow(expect.objectContaining({ code }))
      else expect(make).toThrow(code)
    }
    const head = await rig.app.head()
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
    const subscription = rig.app.subscription({ name: 'bad', handle() {} })
    await expect(subscription.run(AbortSignal.abort() as never)).rejects.toThrow('run({ signal })')
    expect(await rig.app.head()).toBe(head)
  })

  it('shows changes live, and tells a slow reader what it missed', async () => {
    const ending = new AbortController()
    const every = rig.app.live({
      filter: { types: ['said'] },
      after: await rig.app.head(),
      signal: ending.signal,
    })
    const newest = rig.app.live({
      filter: { types: ['said'] },
      after: await rig.app.head(),
      slow: 'skip',
      behind: 10,
      signal: ending.signal,
    })
    await rig.say(0)
    expect((await every.next()).value).toMatchObject({ data: 0 })
    expect((await newest.next()).value).toMatchObject({ data: 0 })
    const after = await rig.app.head()
    for (let i = 1; i <= 300; i++) await rig.say(i)
    const seen: unknown[] = []
    for (let i = 1; i <= 300; i++) seen.push(data((await every.next()).value as FeedItem))
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    expect((await newest.next()).value).toEqual({ kind: 'missed', after, upTo: await rig.app.head() })
    await rig.say('after')
    expect((await newest.next()).value).toMatchObject({ data: 'after' })
    ending.abort()
  })
})
