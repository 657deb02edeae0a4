/**
 * The proof of jobs: real processes work on them and are killed at random moments; nothing is lost and no effect is
 * doubled. 10,000 jobs with UNDERPIN_JOBS=10000; UNDERPIN_SEED repeats the moments.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { randomOf } from './crash/random.ts'
import { effects, groupOf, openApp } from './job/app.ts'
import { type History, judge } from './job/judge.ts'
import { type Place, placeKinds } from './places.ts'
import { append } from './proof.ts'

const count = Number(process.env.UNDERPIN_JOBS ?? 300)
const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
/** How many processes are killed. */
const kills = Math.min(100, Math.ceil(count / 50))
const leaseMs = 700
const processes = 2

/** Who is killed when: together the processes are killed so many times, then they may finish. */
interface Killing {
  readonly random: () => number
  readonly done: Promise<'over'>
  left: number
  killed: number
}

/** Keeps one process working, and kills it again and again. */
async function workAndKill(url: string, killing: Killing): Promise<void> {
  for (let isOver = false; !isOver; ) {
    const child = start(url)
    const ended = once(child, 'exit').then(() => 'ended')
    const begun = await Promise.race([once(child, 'message'), ended, killing.done])
    if (begun === 'ended') throw new Error('A worker ended by itself')
    const isSpared = killing.left-- <= 0
    const moment = isSpared ? ended : pause(50 + killing.random() * 400)
    isOver = (await Promise.race([moment, killing.done])) === 'over'
    if (!isOver) killing.killed++
    child.kill('SIGKILL')
    await ended
  }
}

function start(url: string): ChildProcess {
  const script = fileURLToPath(new URL('./job/child.ts', import.meta.url))
  return fork(script, [JSON.stringify({ url, leaseMs })], { execArgv: ['--import', 'tsx'] })
}

type App = Awaited<ReturnType<typeof openApp>>

async function enqueueAll({ jobs }: App): Promise<Map<number, string>> {
  const numbers = Array.from({ length: count }, (_, n) => n)
  const all = await Promise.all(
    numbers.map((n) => {
      const group = groupOf(n)
      if (group !== undefined) return jobs.enqueue('effect', { n }, { group })
      return jobs.enqueue(n % 3 === 1 ? 'effect' : 'limited', { n })
    }),
  )
  return new Map(all.map(({ id }, n) => [n, id]))
}

async function isFinished({ jobs }: App): Promise<boolean> {
  for (const state of ['waiting', 'delayed', 'lined', 'running'] as const)
    if ((await jobs.list({ state, limit: 1 })).jobs.length > 0) return false
  return true
}

async function historyOf({ jobs, domain }: App, enqueued: Map<number, string>): Promise<History> {
  const all: History['jobs'][number][] = []
  for (let cursor: string | undefined, isOver = false; !isOver; ) {
    const page = await jobs.list({ limit: 1_000, ...(cursor && { cursor }) })
    all.push(...page.jobs)
    cursor = page.cursor
    isOver = cursor === undefined
  }
  const done: number[] = []
  for (let after = 0, isOver = false; !isOver; ) {
    const { items, next, head } = await domain.changes({ after })
    for (const item of items)
      if (item.kind === 'event' && item.stream === effects) done.push((item.data as { n: number }).n)
    after = next
    isOver = next >= head
  }
  return { enqueued, effects: done, jobs: all }
}

async function prove(place: Place, name: string): Promise<void> {
  const url = place.url as string
  const app = await openApp(url)
  try {
    const since = performance.now()
    const enqueued = await enqueueAll(app)
    let end = () => {}
    const done = new Promise<'over'>((resolve) => (end = () => resolve('over')))
    const killing: Killing = { random: randomOf(seed), done, left: kills, killed: 0 }
    const working = Array.from({ length: processes }, () => workAndKill(url, killing))
    const all = Promise.all(working)
    // A worker that ends by itself must not leave us waiting.
    const failed = all.then(() => new Promise<never>(() => {}))
    while (!(await isFinished(app))) await Promise.race([pause(100), failed])
    end()
    await all
    const { killed } = killing
    const verdict = judge(await historyOf(app, enqueued))
    const seconds = (performance.now() - since) / 1_000
    console.log(
      `jobs on ${name}: ${count} jobs, ${killed} processes killed at work, ${JSON.stringify(verdict)}, ${seconds.toFixed(1)} s, seed ${seed}`,
    )
    const broken = Object.values(verdict).reduce((sum, n) => sum + n, 0)
    append({
      promise: 'a job is done once, whichever worker is killed',
      backend: name,
      tried: count,
      failed: broken,
      unknown: 0,
      seed,
      seconds,
    })
    expect(verdict).toEqual({ lost: 0, missing: 0, doubled: 0, foreign: 0, disordered: 0 })
    expect(killed).toBeGreaterThan(0)
  } finally {
    await app.store.close()
  }
}

describe.each(placeKinds)('jobs on $name', ({ name, make, missing }) => {
  it(
    'are done once each, whichever worker is killed',
    async ({ skip }) => {
      skip(missing !== '', missing)
      const place = make()
      skip(place.url === undefined, 'only one process can open the memory of a process')
      // Opened once through the place too, so that what it made is removed.
      await place.open({ app: {} })
      await prove(place, name)
    },
    Math.max(120_000, count * 200),
  )
})

describe('the judge of jobs', () => {
  const good: History = {
    enqueued: new Map([
      [0, 'a'],
      [1, 'b'],
    ]),
    effects: [1, 0],
    jobs: [
      { id: 'a', state: 'completed', result: 0 },
      { id: 'b', state: 'completed', result: 1 },
    ],
  }
  const none = { lost: 0, missing: 0, doubled: 0, foreign: 0, disordered: 0 }

  it.each([
    ['nothing, where nothing is wrong', {}, none],
    ['a job that is gone', { jobs: good.jobs.slice(1) }, { ...none, lost: 1 }],
    [
      'a job that stands still',
      { jobs: [{ id: 'a', state: 'lined', result: undefined }, ...good.jobs.slice(1)] },
      { ...none, lost: 1 },
    ],
    ['an effect that is missing', { effects: [0] }, { ...none, missing: 1 }],
    ['an effect that is doubled', { effects: [0, 1, 0] }, { ...none, doubled: 1 }],
    [
      'effects of a group in another order',
      { effects: [1, 0, 24, 12, 4, 3, 36, 27] },
      { ...none, foreign: 6, disordered: 1 },
    ],
    ['an effect of nobody', { effects: [0, 1, 2] }, { ...none, foreign: 1 }],
    [
      'a result of another job',
      { jobs: [{ id: 'a', state: 'completed', result: 1 }, ...good.jobs.slice(1)] },
      { ...none, foreign: 1 },
    ],
  ] as const)('finds %s', (_, planted, verdict) => {
    expect(judge({ ...good, ...planted } as History)).toEqual(verdict)
  })

  it('finds what a handler doubles that commits its effect apart from its completion', async () => {
    const place = placeKinds[0]?.make() as Place
    const store = await place.open({ app: {} })
    const domain = store.domain('app')
    const jobs = domain.jobs((await import('./job/app.ts')).definitions)
    const worker = await jobs.work({
      effect: async ({ n }, { attempt }) => {
        await domain.log.append(effects, { type: 'done', data: { n } })
        if (attempt === 1) throw new Error('Died behind its effect')
        return n
      },
    })
    const { id } = await jobs.enqueue('effect', { n: 0 })
    await jobs.finished(id)
    await worker.stop()
    const history = await historyOf({ store, domain, jobs } as unknown as App, new Map([[0, id]]))
    expect(judge(history)).toEqual({ ...none, doubled: 1 })
  })
})
