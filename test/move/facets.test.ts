/** Whatever an application has running goes on at the same place on the other side: there, back, and there again. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DirectoryBlobs } from '../../src/blob.ts'
import { Exports, exportKind } from '../../src/export.ts'
import {
  archiveFolder,
  collection,
  type Domain,
  type Domains,
  defineJobs,
  events,
  type Fold,
  idempotencyToken,
  job,
  projection,
  type Store,
} from '../../src/index.ts'
import { cutover, start } from '../../src/move/cutover.ts'
import { Mover } from '../../src/move/mover.ts'
import { type Sides, turned } from '../../src/move/sides.ts'
import { compareSides } from '../../src/move/verify.ts'
import { placePairs } from '../places.ts'
import { append as appendProof } from '../proof.ts'
import { type BothSides, bothSides, catchUp, sidesOf } from './both-sides.ts'

type Placed = { type: 'placed'; data: { i: number } }

const sum = { seed: { count: 0, total: 0 }, version: 1 }
const step = ({ count, total }: { count: number; total: number }, { data }: { data: { i: number } }) => ({
  count: count + 1,
  total: total + data.i,
})
const inline = projection<typeof sum.seed, Placed>({ ...sum, name: 'inline', step })
const later = projection<typeof sum.seed, Placed>({ ...sum, name: 'later', step })
const fold: Fold<typeof sum.seed, Placed> = { ...sum, name: 'balance', step }
const domains = {
  app: {
    events: events<Placed>(),
    collections: { totals: collection<number>(), held: collection<number>() },
    projections: { inline: [inline] },
  },
} as const
type App = Store<typeof domains> extends { domain(name: 'app'): infer D } ? D : Domain
const definitions = defineJobs({ count: job<{ n: number }>() })

/** Milliseconds under traffic before each cutover. */
const betweenMs = Number(process.env.UNDERPIN_FACETS_MS ?? 250)

describe.each(placePairs)('under traffic, from $name and back and there again', (pair) => {
  let places: BothSides
  let folder: string
  beforeEach((context) => {
    places = bothSides(context, pair)
    folder = mkdtempSync(join(tmpdir(), 'underpin-facets-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it('every facet goes on at the same position, and no caller sees an error', async () => {
    const since = performance.now()
    const one = await places.open(domains)
    const two = await places.open(domains)
    const [app, other] = [one.domain('app'), two.domain('app')]
    const running = new AbortController()
    const writing = new AbortController()
    const { signal } = running
    const done: Promise<unknown>[] = []
    const while_ = async (work: (round: number) => Promise<unknown>, restMs = 10) => {
      for (let round = 0; !writing.signal.aborted; round++) {
        await work(round)
        await pause(restMs)
      }
    }

    // Delivery: at least once by a group of two, exactly once, live, and the feed itself.
    const seen = { least: new Set<number>(), live: [] as number[], feed: [] as number[] }
    const filter = { types: ['placed'] } as const
    for (const each of [app, other]) {
      const least = each.subscription({
        ...{ name: 'least', partitions: 2, filter },
        handle: (item) => void (item.kind === 'event' && seen.least.add(item.data.i)),
      })
      const once = each.subscription({
        name: 'once',
        mode: 'exactly-once',
        filter,
        async handle(item, { tx }) {
          if (item.kind !== 'event') return
          const before = await tx.get('totals', 'once')
          tx.put('totals', 'once', (before?.value ?? 0) + item.data.i)
        },
      })
      done.push(least.run({ signal }), once.run({ signal }))
    }
    done.push(collect(app.live({ after: 0, filter, signal }), seen.live))
    done.push(collect(other.follow({ signal }), seen.feed))

    // Projections.
    done.push(other.projection(later).run({ signal }))
    const live = await app.projection(later).live({ signal })

    // Work: a lock that is held all the time, operations done once, jobs, an export.
    const worker = await other.jobs(definitions).work({
      count: ({ n }, { transaction }) => transaction((tx) => void tx.put('totals', `job-${n}`, n)),
    })
    const exports = new Exports(app, {
      blobs: await DirectoryBlobs.open(join(folder, 'blobs')),
      keys: [{ id: '1', secret: randomBytes(32) }],
      kinds: {
        totals: exportKind({
          source: () => ({ of: 'documents', collection: 'totals' }),
          columns: ['id'],
          row: (item) => (item.kind === 'document' ? { id: item.id } : undefined),
        }),
      },
    })
    done.push(exports.work({ signal, pollMs: 20 }))

    // Callers.
    const counts = { placed: 0, increments: 0, once: 0, jobs: 0 }
    const tokens: number[] = []
    const traffic = [
      while_(async () => {
        const i = counts.placed++
        await app.log.append(`order-${i % 3}`, { type: 'placed', data: { i } })
      }),
      ...[app, other].map((each) =>
        while_(async () => {
          await each.transaction(async (tx) => {
            const before = await tx.get('totals', 'counter')
            tx.put('totals', 'counter', (before?.value ?? 0) + 1)
          }, patient)
          counts.increments++
        }),
      ),
      while_(async (n) => {
        const token = idempotencyToken('app', String(n))
        const work = (each: App) => each.once(token, n, (tx) => void tx.put('totals', `once-${n}`, n))
        const results = await Promise.all([work(app), work(other)])
        expect(results.filter(({ isReplay }) => !isReplay)).toHaveLength(1)
        counts.once++
      }, 30),
      while_(async (n) => {
        await app.jobs(definitions).enqueue('count', { n })
        counts.jobs++
      }, 30),
      while_(async () => {
        // Longer than a pause, so that most cutovers meet one that holds it.
        await other.withLock('door', async (lock) => {
          tokens.push(lock.token)
          await lock.domain.documents('held').put('door', lock.token)
          await pause(60)
          await lock.domain.documents('held').put('door', lock.token)
        })
      }),
      while_(async () => {
        await app.state(fold, 'order-0', { snapshot: { events: 5 } })
      }, 40),
    ]
    const known = { type: 'placed', data: { i: counts.placed++ } } as const
    const first = await app.log.append('ids', known, { id: 'known' })
    const { id: exportId } = await exports.request('acme', {
      kind: 'totals',
      format: 'csv',
      requestedBy: 'ada',
    })

    // There, back, and there.
    let sides: Sides = sidesOf(one as unknown as Store<Domains>)
    await start(sides)
    const pauses: number[] = []
    for (let round = 0; round < 3; round++) {
      const ending = new AbortController()
      const mirroring = new Mover(sides, { signal: ending.signal }).run()
      await pause(betweenMs)
      ending.abort()
      await mirroring
      pauses.push(Math.round((await cutover(sides, { maxPauseMs: 10_000 })).pauseMs))
      sides = turned(sides)
      const again = await other.log.append('ids', known, { id: 'known' })
      expect(again).toMatchObject({ isReplay: true, positions: first.positions, seqs: first.seqs })
    }
    await pause(50)
    writing.abort()
    await Promise.all(traffic)

    const placed = Array.from({ length: counts.placed }, (_, i) => i)
    const total = placed.reduce((x, y) => x + y, 0)
    const value = async (id: string) => (await app.documents('totals').get(id))?.value
    const polling = { interval: 20 }
    await expect.poll(() => value('once'), polling).toBe(total)
    await expect.poll(() => seen.least.size, polling).toBe(counts.placed)
    await expect.poll(() => seen.live.length, polling).toBe(counts.placed)
    expect([...seen.live].sort((x, y) => x - y)).toEqual(placed)
    await expect.poll(() => seen.feed.length, polling).toBe(counts.placed)
    expect(seen.feed).toEqual(seen.live)
    expect(await value('counter')).toBe(counts.increments)
    expect(tokens).toEqual([...new Set(tokens)].sort((x, y) => x - y))
    expect((await app.documents('held').get('door'))?.value).toBe(tokens.at(-1))
    for (let n = 0; n < counts.once; n++) expect(await value(`once-${n}`)).toBe(n)
    await expect.poll(() => value(`job-${counts.jobs - 1}`), polling).toBe(counts.jobs - 1)
    for (let n = 0; n < counts.jobs; n++) await expect.poll(() => value(`job-${n}`), polling).toBe(n)
    await expect.poll(async () => (await exports.get('acme', exportId))?.state, polling).toBe('ready')
    const head = await app.head()
    await app.projection(later).waitFor(head)
    await live.waitFor(head)
    for (const stream of ['order-0', 'order-1', 'order-2']) {
      const state = { ...(await app.projection(inline).get(stream))?.value }
      expect((await app.projection(later).get(stream))?.value).toEqual(state)
      expect(live.get(stream)).toEqual(state)
      expect((await other.state(fold, stream)).state).toEqual(state)
      expect(state.count).toBe(await other.log.seq(stream))
    }

    // Compaction is carried along, too: on one side, then read on the other.
    const archive = archiveFolder(join(folder, 'archives'))
    const { removed } = await other.compact('order-0', fold, { archive, keep: 2 })
    expect(removed).toBeGreaterThan(0)
    running.abort()
    await Promise.all([...done, worker.stop()])
    const state = await other.state(fold, 'order-0')
    await catchUp(sides)
    // What processes note of the move may come behind it: lag, and no difference.
    expect(await compareSides(sides)).toMatchObject({ differences: [], isEqual: true })
    await cutover(sides)
    expect(await app.state(fold, 'order-0')).toEqual(state)
    let archived = 0
    for await (const _ of app.history('order-0', archive)) archived++
    expect(archived).toBe(state.seq)

    const tried = counts.placed * 4 + counts.increments + counts.once + counts.jobs + tokens.length
    const seconds = (performance.now() - since) / 1000
    console.log(
      `${pair.name}: ${JSON.stringify({ ...counts, locks: tokens.length, feed: head })}, pauses ${pauses} ms`,
    )
    const promise = 'facets go on at the same position across cutover, rollback, cutover'
    appendProof({
      promise,
      backend: pair.name,
      tried,
      failed: 0,
      unknown: 0,
      seed: 0,
      seconds,
    })
  }, 60_000)
})

/** A counter that two processes increment all the time conflicts often. */
const patient = { retries: 1_000 }

async function collect(items: AsyncIterable<unknown>, into: number[]): Promise<void> {
  for await (const item of items as AsyncIterable<{ kind: string; type?: string; data?: { i: number } }>)
    if (item.kind === 'event' && item.type === 'placed') into.push(item.data?.i as number)
}
