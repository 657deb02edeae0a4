/** Who runs a subscription, and what becomes of one that is run. */
import { describe, expect, it } from 'vitest'
import type { FeedItem, Subscription } from '../src/index.ts'
import { type Place, placeKinds } from './places.ts'
import { type App, data, domains, type Options, Rig, until } from './subscription/rig.ts'

/** Deletes the grant of a lease, as whoever takes it over replaces it. */
async function seize(place: Place, id: string): Promise<void> {
  const store = await place.open({ app: { collections: {} } })
  const backend = store.backends.get('main')
  const { epoch } = (await backend?.fence('app')) ?? { epoch: 0 }
  const write = { kind: 'delete', collection: '$leases', id } as const
  await backend?.commit('app', epoch, [{ at: Date.now(), writes: [write], checks: [] }])
}

describe.each(placeKinds)('a subscription that is run on $name', (kind) => {
  const rig = new Rig(kind)

  it('has one consumer at a time; another takes over when it is stopped', async () => {
    const by: string[] = []
    const of = (who: string): Options => ({
      name: 'one',
      filter: { types: ['said'] },
      ttlMs: 10_000,
      handle: () => by.push(who),
    })
    const other = await rig.openApp()
    const first = rig.start(rig.app.subscription(of('a')))
    await rig.say(1)
    await until(() => by.length === 1)
    rig.start(other.subscription(of('b')))
    await rig.say(2)
    await until(() => by.length === 2)
    await first.stop()
    await rig.say(3)
    await until(() => by.length === 3)
    expect(by).toEqual(['a', 'a', 'b'])
  })

  it('comes to rest in an idle domain, several of them together', async () => {
    const seen: unknown[] = []
    for (const name of ['x', 'y', 'z'])
      rig.start(
        rig.app.subscription({
          name,
          ttlMs: 60_000,
          saveEveryMs: 5,
          handle: (item) => seen.push(data(item)),
        }),
      )
    await rig.say(1)
    await until(() => seen.length === 3)
    let head = -1
    await until(async () => {
      const before = head
      head = await rig.app.head()
      await new Promise((resolve) => setTimeout(resolve, 60))
      return before === head
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await rig.app.head()).toBe(head)
  })

  it('is paused and resumed by any process', async () => {
    const seen: unknown[] = []
    const subscription = rig.app.subscription({
      name: 'p',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    })
    const other = (await rig.openApp()).subscription({
      name: 'p',
      handle: () => {},
    })
    rig.start(subscription)
    await rig.say(1)
    await until(() => seen.length === 1)
    await other.pause()
    await until(async () => (await subscription.status()).why.code === 'paused')
    await new Promise((resolve) => setTimeout(resolve, 60))
    await rig.say(2)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(seen).toEqual([1])
    await other.resume()
    await until(() => seen.length === 2)
    expect(seen).toEqual([1, 2])
  })

  it('is reset to the start, to a position, to a time and to now while it runs', async () => {
    const seen: unknown[] = []
    const subscription = rig.app.subscription({
      name: 'r',
      filter: { types: ['said'] },
      handle: (item) => seen.push(data(item)),
    })
    rig.start(subscription)
    await rig.say(1)
    const { position } = await rig.say(2)
    await new Promise((resolve) => setTimeout(resolve, 5))
    const time = Date.now()
    await new Promise((resolve) => setTimeout(resolve, 5))
    await rig.say(3)
    await until(() => seen.length === 3)
    await subscription.reset({ to: 'start' })
    await until(() => seen.length === 6)
    await subscription.reset({ to: position })
    await until(() => seen.length === 7)
    await subscription.reset({ to: { time } })
    await until(() => seen.length === 8)
    await subscription.pause()
    await rig.say(4)
    await subscription.reset({ to: 'now' })
    await subscription.resume()
    await rig.say(5)
    await until(() => seen.length === 9)
    expect(seen).toEqual([1, 2, 3, 1, 2, 3, 3, 3, 5])
    await expect(subscription.reset({ to: 1e9 })).rejects.toMatchObject({ code: 'invalid' })
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
    const views = [rig.app, await rig.openApp(), await rig.openApp()]
    const shares = async () => {
      const { partitions } = await rig.app.subscription(options).status()
      const held = new Map<string, number>()
      for (const { holder } of partitions)
        if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1)
      return [...held.values()].sort().join(' ')
    }
    const runs = [rig.start(views[0]?.subscription(options) as Subscription)]
    await until(async () => (await shares()) === '6', shares)
    runs.push(rig.start(views[1]?.subscription(options) as Subscription))
    await until(async () => (await shares()) === '3 3', shares)
    runs.push(rig.start(views[2]?.subscription(options) as Subscription))
    await until(async () => (await shares()) === '2 2 2', shares)
    for (let i = 0; i < 40; i++) await rig.say(i, `s${i}`)
    await until(() => new Set(seen).size === 40)
    await runs[0]?.stop()
    await until(async () => (await shares()) === '3 3', shares)
    for (let i = 40; i < 60; i++) await rig.say(i, `s${i}`)
    await until(() => new Set(seen).size === 60)
    await expect(rig.app.subscription({ ...options, partitions: 5 }).run()).rejects.toMatchObject({
      code: 'mismatch',
    })
  })

  it('says why it waits', async () => {
    const subscription = rig.app.subscription({ name: 'why', filter: { types: ['said'] }, handle: () => {} })
    expect((await subscription.status()).why.code).toBe('not-started')
    const { stop } = rig.start(subscription)
    await until(async () => (await subscription.status()).why.code === 'caught-up')
    expect((await subscription.status()).why.text).toContain(`held by process ${process.pid} on `)
    await stop()
    await rig.say(1)
    const status = await subscription.status()
    expect(status.why.code).toBe('no-consumer')
    expect(status.lag.positions).toBe(1)
    expect(status.lag.seconds).toBeLessThan(5)
  })

  it('ends when the store is closed', async () => {
    const store = await rig.place.open(domains)
    const running = store
      .domain('app')
      .subscription({ name: 'end', handle: () => {} })
      .run()
    await rig.say(1)
    await store.close()
    await running
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
      const subscription = rig.app.subscription(
        mode === 'exactly-once' ? { ...common, mode } : { ...common, mode, saveEveryMs: 0 },
      )
      rig.start(subscription)
      await rig.say('bad')
      await until(async () => (await subscription.parked()).length === 1)
      await rig.say('ask')
      await until(async () => (await subscription.parked()).length === 0)
      await rig.say('pause')
      await until(async () => (await subscription.status()).why.code === 'paused')
      await rig.say('late')
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(seen).toEqual(['ask', 'bad', 'pause'])
      await subscription.resume()
      await until(() => seen.at(-1) === 'late')
    },
  )

  it('exactly once, refuses the writes of a handler whose lease was taken over, and lets the other go on', async () => {
    const other = await rig.openApp()
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
    const old = rig.start(of(rig.app, 'old'))
    await rig.say(1)
    await until(async () => (await of(rig.app, 'old').status()).why.code === 'behind')
    // As a process that saw no sign of life for the whole time would.
    await seize(rig.place, 'consumer:zombie/0')
    rig.start(of(other, 'new'))
    await until(async () => (await rig.app.log.seq('out')) === 1)
    isHolding = false
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await rig.app.log.read('out')).events.map((event) => event.data)).toEqual(['new'])
    await old.stop()
  })
})
