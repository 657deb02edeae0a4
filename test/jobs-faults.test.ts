import { expect, it, onTestFinished } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { systemClock } from '../src/clock.ts'
import { defineJobs, job, openStore, UnderpinError, type Worker } from '../src/index.ts'
import { Forward } from '../src/wrapper/forward.ts'

const definitions = defineJobs({ add: job<unknown, unknown>({ retry: { attempts: 3, delayMs: 10 } }) })

/** One process's way to a memory that several share. */
class Way extends Forward {
  commits = 0
  isDead = false
  /** A commit that writes this fails once with `unknown`; `written` or not. */
  fault: { readonly text: string; readonly written: boolean } | undefined

  override async commit(...call: Parameters<Backend['commit']>) {
    this.commits++
    if (this.isDead) throw new UnderpinError('unavailable', 'This process is dead')
    const { fault } = this
    const isMeant = (text: string) =>
      call[2].some(({ writes }) => writes.some((write) => write.kind === 'put' && write.data.includes(text)))
    if (fault === undefined || !isMeant(fault.text)) return this.inner.commit(...call)
    this.fault = undefined
    if (fault.written) await this.inner.commit(...call)
    throw new UnderpinError('unknown', 'Nobody answered')
  }

  override close() {
    return Promise.resolve()
  }
}

async function open(shared = memory(), clock = systemClock) {
  const way = new Way(shared)
  const store = await openStore(way, { domains: { app: {}, other: {} }, deadlineMs: 3_000, clock })
  const domain = store.domain('app')
  const jobs = domain.jobs(definitions)
  const work = async (
    handlers: Parameters<typeof jobs.work>[0],
    options: Parameters<typeof jobs.work>[1],
  ) => {
    const worker = await jobs.work(handlers, { stopMs: 50, graceMs: 50, leaseMs: 600, ...options })
    onTestFinished(() => worker.stop())
    return worker
  }
  const finished = (id: string) => jobs.finished(id, { signal: AbortSignal.timeout(20_000) })
  return { shared, way, store, domain, jobs, work, finished }
}

it('a note of any text is kept as far as it goes', async () => {
  const { jobs, work, finished } = await open()
  await work({ add: (_, { progress }) => progress(1, `${'n'.repeat(999)}😀\0${'n'.repeat(2_000_000)}`) }, {})
  const { id } = await jobs.enqueue('add', 1)
  expect(await finished(id)).toMatchObject({
    state: 'completed',
    progress: { note: `${'n'.repeat(999)}\ufffd` },
  })
})

it('an error of any text ends an attempt', async () => {
  const { jobs, work, finished } = await open()
  const fail = () => {
    throw new Error(`${'e'.repeat(3_999)}😀`)
  }
  await work({ add: fail }, {})
  const { id } = await jobs.enqueue('add', 1)
  expect(await finished(id)).toMatchObject({ state: 'dead', attempt: 3 })
})

it('jobs that do not fit into one commit are taken one after another', async () => {
  const { jobs, work, finished } = await open()
  const ids = await Promise.all(
    Array.from({ length: 10 }, async () => (await jobs.enqueue('add', 'x'.repeat(900_000))).id),
  )
  await work({ add: () => 1 }, {})
  for (const id of ids) expect(await finished(id)).toMatchObject({ state: 'completed' })
})

it('a job is refused at once if what becomes of it would not fit', async () => {
  const { jobs, work, finished } = await open()
  await expect(jobs.enqueue('add', 'x'.repeat(1_000_000))).rejects.toMatchObject({ code: 'too-large' })
  const { id } = await jobs.enqueue('add', 'x'.repeat(982_000))
  const fail = () => {
    throw new Error('\u001b'.repeat(5_000))
  }
  await work({ add: fail }, {})
  expect(await finished(id)).toMatchObject({ state: 'dead' })
})

it('a worker that stops before it heard of a job it took leaves it to others', async () => {
  const { shared, way, jobs, work } = await open()
  const { id } = await jobs.enqueue('add', 1)
  way.fault = { text: '"state":"running"', written: true }
  let worker: Worker | undefined
  await new Promise<void>((resolve) => {
    const onError = () => {
      void worker?.stop()
      resolve()
    }
    void work({ add: () => 1 }, { onError }).then((started) => {
      worker = started
    })
  })
  await worker?.stop()
  expect(await jobs.get(id)).toMatchObject({ state: 'running' })
  const other = await open(shared)
  await other.work({ add: () => 2 }, {})
  expect(await other.finished(id)).toMatchObject({ state: 'completed', result: 2 })
})

it('jobs that name a worker without a lease are found', async () => {
  const { jobs, work, domain, finished } = await open()
  let isHeld = true
  const worker = await work({ add: () => (isHeld ? new Promise(() => {}) : 1) }, {})
  const { id } = await jobs.enqueue('add', 1)
  while ((await jobs.get(id))?.state !== 'running') await new Promise((resolve) => setTimeout(resolve, 5))
  isHeld = false
  const { portOf } = await import('../src/facet/domain.ts')
  const port = portOf(domain)
  const { items } = await port.scan({
    collection: '$leases',
    by: 'id',
    prefix: 'jobs/',
    backwards: false,
    limit: 10,
    after: null,
  })
  await port.commit({
    at: Date.now(),
    writes: items.map(({ id }) => ({ kind: 'delete', collection: '$leases', id })),
    checks: [],
  })
  void worker.stop()
  await work({ add: () => 2 }, {})
  expect(await finished(id)).toMatchObject({ state: 'completed' })
})

it('who fails to give back the jobs of a dead worker lets others do it, or does it later', async () => {
  const dead = await open()
  const { id } = await dead.jobs.enqueue('add', 1)
  await dead.work({ add: () => new Promise(() => {}) }, {})
  while ((await dead.jobs.get(id))?.state !== 'running')
    await new Promise((resolve) => setTimeout(resolve, 5))
  dead.way.isDead = true
  const heir = await open(dead.shared)
  heir.way.fault = { text: 'gave no sign of life', written: false }
  await heir.work({ add: () => 2 }, {})
  expect(await heir.finished(id)).toMatchObject({ state: 'completed', result: 2 })
  expect(heir.way.fault).toBeUndefined()
})

it('a cancelled job stays cancelled when its worker is being stopped', async () => {
  const { jobs, work, finished } = await open()
  const handler = async (
    _: unknown,
    { id, signal }: { readonly id: string; readonly signal: AbortSignal },
  ) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    expect(await jobs.cancel(id)).toBe(true)
    throw new Error('stopped')
  }
  const worker = await work({ add: handler }, { stopMs: 0, graceMs: 1_000 })
  const { id } = await jobs.enqueue('add', 1)
  while (worker.running === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await worker.stop()
  expect(await finished(id)).toMatchObject({ state: 'cancelled' })
})

it('a progress of unknown outcome does not make the job somebody else’s', async () => {
  const { way, jobs, work, finished } = await open()
  way.fault = { text: '"progress":', written: true }
  const { id } = await jobs.enqueue('add', 1)
  await work(
    {
      add: async (_, { progress, transaction }) => {
        progress(1)
        while (way.fault !== undefined) await new Promise((resolve) => setTimeout(resolve, 5))
        return transaction((tx) => {
          tx.append('log', { type: 'added', data: null })
          return 3
        })
      },
    },
    {},
  )
  expect(await finished(id)).toMatchObject({ state: 'completed', attempt: 1, result: 3 })
})

it('a job of a group that comes before the running one is not reached for again and again', async () => {
  const { shared, way, jobs, work, finished } = await open()
  const late = { ...systemClock, now: () => systemClock.now() - 60_000 }
  const other = await open(shared, late)
  const first = await jobs.enqueue('add', 1, { group: 'g' })
  await work({ add: () => new Promise((resolve) => setTimeout(resolve, 300)) }, { stopMs: 1_000 })
  while ((await jobs.get(first.id))?.state !== 'running')
    await new Promise((resolve) => setTimeout(resolve, 5))
  const second = await other.jobs.enqueue('add', 2, { group: 'g' })
  const before = way.commits
  await finished(first.id)
  expect(way.commits - before).toBeLessThan(100)
  expect(await finished(second.id)).toMatchObject({ state: 'completed' })
})

it('one transaction that enqueues a dedupe key twice enqueues one job', async () => {
  const { jobs, domain } = await open()
  const { value } = await domain.transaction((tx) =>
    Promise.all([1, 2].map((n) => tx.enqueue(jobs, 'add', n, { dedupe: 'k' }))),
  )
  expect(value?.map(({ isDuplicate }) => isDuplicate)).toEqual([false, true])
  expect((await jobs.list()).jobs).toHaveLength(1)
})

it('a transaction of another domain refuses to enqueue a job', async () => {
  const { jobs, store } = await open()
  await expect(store.domain('other').transaction((tx) => tx.enqueue(jobs, 'add', 1))).rejects.toThrow(
    'Jobs of app cannot be enqueued in a transaction of other',
  )
})
