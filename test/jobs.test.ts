import { beforeEach, describe, expect, it } from 'vitest'
import {
  collection,
  defineJobs,
  isUnderpinError,
  type JobContext,
  type JobInfo,
  type Jobs,
  job,
  type Store,
  type Worker,
} from '../src/index.ts'
import { gate } from './gate.ts'
import { type Place, placeKinds } from './places.ts'

const domains = {
  app: { collections: { things: collection<{ n: number }>() } },
} as const

const definitions = defineJobs({
  add: job<{ n: number }, number>({ retry: { attempts: 3, delayMs: 10 } }),
  slow: job<{ n: number }>({ timeoutMs: 100, retry: { attempts: 1 } }),
  narrow: job<{ n: number }>({ concurrency: 2 }),
})

describe.each(placeKinds)('jobs on $name', ({ make, missing }) => {
  let place: Place
  let store: Store<typeof domains>
  let jobs: Jobs<typeof definitions, never, { things: { n: number } }>
  const workers: Worker[] = []

  beforeEach(async ({ skip, onTestFinished }) => {
    skip(missing !== '', missing)
    place = make()
    ;({ store, jobs } = await open())
    onTestFinished(async () => {
      for (const worker of workers.splice(0)) await worker.stop()
    })
  })

  /** The same place once more, as another process would open it. */
  async function open() {
    const store = await place.open(domains)
    const domain = store.domain('app')
    return { store, domain, jobs: domain.jobs(definitions) as unknown as typeof jobs }
  }

  async function work(
    handlers: Parameters<typeof jobs.work>[0],
    options: Parameters<typeof jobs.work>[1] = {},
    on = jobs,
  ): Promise<Worker> {
    const worker = await on.work(handlers, { stopMs: 200, graceMs: 200, ...options })
    workers.push(worker)
    return worker
  }

  const finished = (id: string) => jobs.finished(id, { signal: AbortSignal.timeout(20_000) })

  it('run, and keep what their handlers return', async () => {
    await work({ add: ({ n }) => n + 1 })
    const { id } = await jobs.enqueue('add', { n: 41 })
    expect(await finished(id)).toMatchObject({ name: 'add', state: 'completed', attempt: 1, result: 42 })
  })

  it('wait for a worker, and survive the store being closed meanwhile', async () => {
    const { id } = await jobs.enqueue('add', { n: 1 })
    expect(await jobs.get(id)).toMatchObject({ state: 'waiting' })
    const other = await open()
    await work({ add: ({ n }) => n }, {}, other.jobs)
    expect(await finished(id)).toMatchObject({ state: 'completed' })
  })

  it('are not enqueued in a transaction of another domain', async () => {
    const other = (await place.open({ other: {} })).domain('other')
    const enqueue = other.transaction((tx) => tx.enqueue(jobs, 'add', { n: 1 }))
    await expect(enqueue).rejects.toThrow(TypeError)
  })

  it('are enqueued in the commit of a transaction, or not at all', async () => {
    const domain = store.domain('app')
    const enqueue = (n: number, fails: boolean) =>
      domain.transaction(async (tx) => {
        tx.put('things', 'a', { n }, fails ? { expect: 'absent' } : {})
        return tx.enqueue(jobs, 'add', { n })
      })
    const { value } = await enqueue(1, false)
    await expect(enqueue(2, true)).rejects.toMatchObject({ code: 'conflict' })
    const { jobs: all } = await jobs.list()
    expect(all.map(({ id }) => id)).toEqual([value.id])
  })

  it('that fail are tried again, and end in the dead letter, from which they are replayed', async () => {
    let isBroken = true
    const attempts: number[] = []
    await work({
      add: ({ n }, { attempt }) => {
        attempts.push(attempt)
        if (isBroken) throw new RangeError('no luck')
        return n
      },
    })
    const { id } = await jobs.enqueue('add', { n: 7 })
    expect(await finished(id)).toMatchObject({
      state: 'dead',
      attempt: 3,
      error: { message: 'no luck', attempt: 3 },
    })
    expect((await jobs.list({ state: 'dead' })).jobs).toHaveLength(1)
    isBroken = false
    expect(await jobs.replay(id)).toBe(true)
    expect(await finished(id)).toMatchObject({ state: 'completed', result: 7, attempt: 1 })
    expect(attempts).toEqual([1, 2, 3, 1])
  })

  it('of higher priority come first, those of one in order', async () => {
    const order: number[] = []
    for (const [n, priority] of [1, 2, 3, 4].entries())
      await jobs.enqueue('add', { n }, { priority: priority > 2 ? 5 : 0 })
    const { id } = await jobs.enqueue('add', { n: 9 }, { priority: -1 })
    await work({ add: ({ n }) => order.push(n) }, { concurrency: 1 })
    await finished(id)
    expect(order).toEqual([2, 3, 0, 1, 9])
  })

  it('with a delay do not run before it', async () => {
    await work({ add: () => Date.now() })
    const { id } = await jobs.enqueue('add', { n: 1 }, { delayMs: 150 })
    expect(await jobs.get(id)).toMatchObject({ state: 'delayed' })
    const done = (await finished(id)) as JobInfo<unknown, number>
    expect(done.result).toBeGreaterThanOrEqual(done.runAt)
    expect((done.result ?? 0) - done.runAt).toBeLessThan(1_000)
  })

  it('of one group run one at a time and in order, over several workers', async () => {
    const ids: string[] = []
    for (let n = 0; n < 12; n++)
      ids.push((await jobs.enqueue('add', { n }, { group: n % 2 === 0 ? 'even' : 'odd' })).id)
    const order: number[] = []
    const running = new Set<number>()
    let together = 0
    const add = async ({ n }: { n: number }) => {
      if (running.has(n % 2)) together++
      running.add(n % 2)
      order.push(n)
      await new Promise((resolve) => setTimeout(resolve, 3))
      running.delete(n % 2)
      return n
    }
    const other = await open()
    await work({ add })
    await work({ add }, {}, other.jobs)
    await Promise.all(ids.map(finished))
    expect(together).toBe(0)
    expect(order.filter((n) => n % 2 === 0)).toEqual([0, 2, 4, 6, 8, 10])
    expect(order.filter((n) => n % 2 === 1)).toEqual([1, 3, 5, 7, 9, 11])
  })

  it('of a kind with limited concurrency are never more at once, over several workers', async () => {
    let [now, most] = [0, 0]
    const narrow = async () => {
      most = Math.max(most, ++now)
      await new Promise((resolve) => setTimeout(resolve, 5))
      now--
    }
    const other = await open()
    await work({ narrow })
    await work({ narrow }, {}, other.jobs)
    const all = await Promise.all(Array.from({ length: 12 }, (_, n) => jobs.enqueue('narrow', { n })))
    await Promise.all(all.map(({ id }) => finished(id)))
    expect(most).toBe(2)
  })

  it('with a dedupe key are there once while unfinished, in transactions too', async () => {
    const enqueue = () => jobs.enqueue('add', { n: 1 }, { dedupe: 'k' })
    const all = await Promise.all([enqueue(), enqueue(), enqueue()])
    expect(new Set(all.map(({ id }) => id)).size).toBe(1)
    expect(all.filter(({ isDuplicate }) => !isDuplicate)).toHaveLength(1)
    const inTransaction = await store
      .domain('app')
      .transaction((tx) => tx.enqueue(jobs, 'add', { n: 2 }, { dedupe: 'k' }))
    expect(inTransaction.value).toEqual({ id: all[0]?.id, isDuplicate: true })
    await work({ add: ({ n }) => n })
    await finished(all[0]?.id as string)
    expect(await enqueue()).toMatchObject({ isDuplicate: false })
  })

  it('say how far they are, and are cancelled while they run', async () => {
    const other = await open()
    const begun = gate()
    let reason: unknown
    await work({
      add: async (_, { signal, progress }) => {
        progress(0.5, 'half way')
        begun.open()
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        reason = signal.reason
        throw reason
      },
    })
    const { id } = await jobs.enqueue('add', { n: 1 })
    await begun.opened
    await expect
      .poll(async () => (await other.jobs.get(id))?.progress)
      .toEqual({ value: 0.5, note: 'half way' })
    expect(await other.jobs.cancel(id)).toBe(true)
    expect(await finished(id)).toMatchObject({ state: 'cancelled', attempt: 1 })
    expect(isUnderpinError(reason, 'aborted')).toBe(true)
    expect(await other.jobs.cancel(id)).toBe(false)
  })

  it('that wait are cancelled at once', async () => {
    const { id } = await jobs.enqueue('add', { n: 1 })
    expect(await jobs.cancel(id)).toBe(true)
    expect(await jobs.get(id)).toMatchObject({ state: 'cancelled' })
  })

  it('that take too long are aborted and fail, also when their handler never returns', async () => {
    await work({ slow: () => new Promise(() => {}) }, { graceMs: 10 })
    const { id } = await jobs.enqueue('slow', { n: 1 })
    expect(await finished(id)).toMatchObject({ state: 'dead', error: { code: 'timeout' } })
  })

  it('commit their effects with their completion', async () => {
    await work({
      add: ({ n }, context) =>
        context.transaction(async (tx) => {
          const before = await tx.get('things', 'sum')
          tx.put('things', 'sum', { n: (before?.value.n ?? 0) + n })
          return n
        }),
    })
    const all = await Promise.all(Array.from({ length: 20 }, (_, n) => jobs.enqueue('add', { n })))
    const done = await Promise.all(all.map(({ id }) => finished(id)))
    expect(done.map((info) => info?.result)).toEqual(Array.from({ length: 20 }, (_, n) => n))
    expect((await store.domain('app').documents('things').get('sum'))?.value.n).toBe(190)
  })

  it('that were cancelled commit nothing any more', async () => {
    const [begun, go] = [gate(), gate()]
    await work({
      add: async (_, context) => {
        begun.open()
        await go.opened
        return context.transaction((tx) => {
          tx.put('things', 'late', { n: 1 })
          return 1
        })
      },
    })
    const { id } = await jobs.enqueue('add', { n: 1 })
    await begun.opened
    await (await open()).jobs.cancel(id)
    go.open()
    expect(await finished(id)).toMatchObject({ state: 'cancelled' })
    expect(await store.domain('app').documents('things').get('late')).toBeUndefined()
  })

  it('are given back by a worker that is stopped before they end, which is no attempt', async () => {
    const begun = gate()
    const first = await jobs.work(
      {
        add: (_, { signal }: JobContext) => {
          begun.open()
          return new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => reject(signal.reason)),
          )
        },
      },
      { stopMs: 20, graceMs: 20 },
    )
    const { id } = await jobs.enqueue('add', { n: 5 })
    await begun.opened
    await first.stop()
    expect(await jobs.get(id)).toMatchObject({ state: 'waiting', attempt: 0 })
    await work({ add: ({ n }) => n })
    expect(await finished(id)).toMatchObject({ state: 'completed', attempt: 1, result: 5 })
  })

  it('of a worker whose store is closed are done by another one after its lease', async ({ skip }) => {
    skip(place.url === undefined, 'closing the memory backend ends it for everybody')
    const begun = gate()
    const other = await open()
    const first = await other.jobs.work(
      { add: () => new Promise(() => begun.open()) },
      { leaseMs: 300, graceMs: 10 },
    )
    const { id } = await jobs.enqueue('add', { n: 5 })
    await begun.opened
    await other.store.close()
    await first.done
    await work({ add: ({ n }) => n }, { leaseMs: 3_000 })
    expect(await finished(id)).toMatchObject({ state: 'completed', attempt: 2 })
  })

  it('are counted by name and state', async () => {
    await jobs.enqueue('add', { n: 1 })
    await jobs.enqueue('add', { n: 1 }, { delayMs: 60_000 })
    expect(await jobs.stats()).toMatchObject({ add: { waiting: 1, delayed: 1, dead: 0 } })
  })

  it('refuse what is not declared, and what makes no sense', async () => {
    await expect(jobs.enqueue('nothing' as 'add', { n: 1 })).rejects.toMatchObject({ code: 'invalid' })
    await expect(jobs.enqueue('add', { n: 1 }, { runAt: 1, delayMs: 1 })).rejects.toMatchObject({
      code: 'invalid',
    })
    expect(() => defineJobs({ bad: job({ concurrency: 0 }) })).toThrow(/concurrency/)
    await expect(jobs.list({ state: 'failed' as 'dead' })).rejects.toMatchObject({ code: 'invalid' })
    await expect(jobs.work({ add: 'handler' as never })).rejects.toThrow('The handler of job "add"')
    expect((await jobs.list()).jobs).toEqual([])
  })

  it('that a transaction does not wait for are not left out of it: it is refused', async () => {
    const domain = store.domain('app')
    const late: Promise<unknown>[] = []
    const cut = domain.transaction((tx) => {
      tx.put('things', 'cut', { n: 1 })
      late.push(tx.enqueue(jobs, 'add', { n: 1 }).catch((error: unknown) => error))
    })
    await expect(cut).rejects.toThrow('Await transaction.enqueue')
    expect(await Promise.all(late)).toEqual([expect.any(TypeError)])
    expect(await domain.documents('things').get('cut')).toBeUndefined()
    expect((await jobs.list()).jobs).toEqual([])
  })

  it('are checked by the compiler where they are enqueued', async () => {
    await store.domain('app').transaction(async (tx) => {
      const add = await tx.enqueue(jobs, 'add', { n: 1 })
      expect(add.isDuplicate).toBe(false)
      // @ts-expect-error: a number is wanted.
      await tx.enqueue(jobs, 'add', { n: 'one' })
      // @ts-expect-error: it is not declared.
      await expect(tx.enqueue(jobs, 'nothing', { n: 1 })).rejects.toMatchObject({ code: 'invalid' })
    })
  })
})
