import { beforeEach, describe, expect, it } from 'vitest'
import type { Domain, FeedItem, SubscriptionOptions } from '../src/index.ts'
import { account, domains, type Moved, moved } from './compaction/account.ts'
import { type Place, placeKinds } from './places.ts'

type Bank = Domain<Moved>
type Options = SubscriptionOptions<Moved, Record<never, never>>

const many = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => moved(from + i))
const seqOf = (item: FeedItem<Moved>) => (item.kind === 'event' ? `${item.stream}${item.seq}` : item.kind)

async function until(holds: () => unknown): Promise<void> {
  const since = performance.now()
  while (!(await holds())) {
    if (performance.now() - since > 10_000) throw new Error(`Waited for ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
}

describe.each(placeKinds)('a subscription to what is compacted on $name', ({ make, missing }) => {
  let place: Place
  let bank: Bank
  let seen: string[]
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    place = make()
    bank = (await place.open(domains)).domain('bank') as unknown as Bank
    seen = []
  })

  const subscribe = (options: Partial<Options> = {}) =>
    bank.subscription({
      name: 'sub',
      filter: { types: ['moved'] },
      handle: (item: FeedItem<Moved>) => seen.push(seqOf(item)),
      ...options,
    } as Options)

  /** Runs until so many were seen in all. */
  async function runUntil(count: number, options: Partial<Options> = {}) {
    const ending = new AbortController()
    const running = subscribe(options).run({ signal: ending.signal })
    await Promise.race([running, until(() => seen.length >= count)])
    ending.abort()
    await running
  }

  /** Removes all but the last events, whoever has not seen them. */
  const force = async (stream: string, keep = 1) =>
    bank.compact(stream, account, { archive: false, keep, protect: await bank.head() })

  it('stops with what is missing, and says so, until it is told to go on without it', async () => {
    await bank.log.append('a', many(1, 3))
    await runUntil(3)
    const more = await bank.log.append('a', many(4, 10))
    await force('a', 2)
    const { partitions } = await subscribe().status()
    const details = {
      stream: 'a',
      first: 9,
      archive: null,
      position: partitions[0]?.position,
      last: more.positions[4],
    }
    await expect(subscribe().run()).rejects.toMatchObject({ code: 'truncated', details })
    expect(seen).toEqual(['a1', 'a2', 'a3'])
    const { why } = await subscribe().status()
    expect(why.code).toBe('truncated')
    expect(why.text).toMatch(/stream "a" before seq 9, up to position \d+, were truncated and not archived/)
    await runUntil(5, { compacted: 'skip' })
    expect(seen.slice(3)).toEqual(['a9', 'a10'])
    expect((await subscribe().status()).why.code).toBe('no-consumer')
    await expect(subscribe({ name: 'new' }).run()).rejects.toMatchObject({ code: 'truncated' })
    await subscribe().reset({ to: details.position as number })
    await expect(subscribe().run()).rejects.toMatchObject({ code: 'truncated', details })
    await subscribe().reset({ to: details.last as number })
    await runUntil(7)
  })

  it('goes on where only what it has seen was removed, also of a stream that has nothing left before its place', async () => {
    await bank.log.append('a', many(1, 10))
    await runUntil(10, { batch: 3 })
    await bank.log.append('a', many(11, 11))
    expect(await bank.compact('a', account, { archive: false })).toMatchObject({ before: 11 })
    expect((await subscribe().status()).why.code).toBe('no-consumer')
    await bank.log.append('b', many(1, 10))
    await bank.log.append('a', many(12, 12))
    await runUntil(22, { batch: 3 })
    expect(seen.slice(10)).toEqual(['a11', ...many(1, 10).map((_, i) => `b${i + 1}`), 'a12'])
    await bank.compact('b', account, { archive: false })
    await bank.log.append('b', many(11, 11))
    await runUntil(23)
  })

  it('stops also where the stream goes on many pages later only', async () => {
    await bank.log.append('a', many(1, 1))
    await runUntil(1)
    await bank.log.append('a', many(2, 5))
    for (let i = 1; i <= 20; i++) await bank.log.append('b', moved(i))
    await bank.log.append('a', many(6, 6))
    await force('a')
    await expect(subscribe({ batch: 2 }).run()).rejects.toMatchObject({ code: 'truncated' })
    expect(seen).toEqual(['a1'])
  })

  it('finishes the page that it has, and stops before the next one, if it is compacted while it is at work', async () => {
    for (let i = 1; i <= 12; i++) await bank.log.append('a', moved(i))
    const run = subscribe({
      batch: 3,
      async handle(item: FeedItem<Moved>) {
        seen.push(seqOf(item))
        if (seen.length === 5) await force('a', 2)
      },
    } as Partial<Options>).run()
    await expect(run).rejects.toMatchObject({ code: 'truncated', details: { first: 11 } })
    expect(seen).toEqual(['a1', 'a2', 'a3', 'a4', 'a5', 'a6'])
    await runUntil(8, { compacted: 'skip' })
    expect(seen.slice(6)).toEqual(['a11', 'a12'])
  })

  it('notices it when it is caught up and another stream is compacted away under its eyes', async () => {
    const ending = new AbortController()
    const running = subscribe({
      async handle(item: FeedItem<Moved>) {
        seen.push(seqOf(item))
        if (seen.length > 1) return
        await bank.log.append('b', many(1, 5))
        await force('b')
      },
    } as Partial<Options>).run({ signal: ending.signal })
    const failed = expect(running).rejects.toMatchObject({ code: 'truncated', details: { stream: 'b' } })
    await bank.log.append('a', many(1, 1))
    await failed
    expect(seen).toEqual(['a1'])
  })

  it('is not concerned by streams that it does not want, and only in the partition of the stream', async () => {
    await bank.log.append('a', many(1, 5))
    await bank.log.append('b', many(1, 5))
    await force('a')
    await runUntil(5, { filter: { streams: 'b' } })
    const documents = subscribe({ name: 'documents', filter: { collections: ['things'] } })
    const ending = new AbortController()
    const running = documents.run({ signal: ending.signal })
    await until(async () => (await documents.status()).why.code === 'caught-up')
    ending.abort()
    await running
    const group = subscribe({ name: 'group', partitions: 4 })
    await expect(group.run()).rejects.toMatchObject({ code: 'truncated' })
    const { why, partitions } = await group.status()
    expect(why.code).toBe('truncated')
    expect(partitions.filter((each) => each.why.code === 'truncated')).toHaveLength(1)
  })

  it('is told live, too: by an error, or as what it missed', async () => {
    await bank.log.append('a', many(1, 5))
    await force('a')
    await expect(bank.live({ after: 0 }).next()).rejects.toMatchObject({ code: 'truncated' })
    const live = bank.live({ after: 0, slow: 'skip' })
    const head = await bank.head()
    expect((await live.next()).value).toEqual({ kind: 'missed', after: 0, upTo: head })
    const next = live.next()
    await bank.log.append('a', many(6, 6))
    expect((await next).value).toMatchObject({ seq: 6 })
    await live.return(undefined)
  })
})
