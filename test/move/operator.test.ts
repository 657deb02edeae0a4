/** A move as operators drive it, on every ordered pair of backends. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Backend, type Move, openStore, type Store, type UnderpinError } from '../../src/index.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { type PlacePair, placePairs } from '../places.ts'
import { closeSides, createDomain, moveOf, openSides, type TwoSides } from './two-sides.ts'

const domains = { app: { collections: { things: {} } }, log: {}, third: {} } as const

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    // What is waited for is done by another process: there is nothing to be told by.
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const held = (move: Move) => until(async () => ((await move.status()).record?.isHeld ? true : undefined))

let store: Store<typeof domains>
let move: Move

/** A store on both places, with something in it, for each test. */
function onBoth({ a, b, missing }: PlacePair): void {
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    store = await openStore({ old: a.make().url ?? 'memory:', new: b.make().url ?? 'memory:' }, { domains })
    const app = store.domain('app')
    for (let i = 0; i < 30; i++) await app.log.append(`s${i % 3}`, { type: 'T', data: i })
    for (let i = 0; i < 10; i++) await app.documents('things').put(`t${i}`, { i })
    await app.documents('things').delete('t9')
    move = await store.move('app', { to: 'new' })
  })
  afterEach(() => store?.close())
}

async function follow(): Promise<void> {
  await move.start({ by: 'ann' })
  await move.catchUp()
  await move.verify()
}

describe.each(placePairs)('a move from $name', (pair) => {
  onBoth(pair)

  it('is planned without a change on either side', async () => {
    const [before, backends] = [await move.status(), [...store.backends.values()]]
    const plan = await move.plan({ probe: true })
    expect(plan).toMatchObject({ canStart: true, issuesLeftOut: 0, domain: 'app', from: 'old', to: 'new' })
    expect(plan.counts).toMatchObject({ isExact: true, events: 30, documents: 10, tombstones: 1, streams: 3 })
    expect(plan.counts?.collections.things).toEqual({ documents: 9, indexes: 0 })
    expect(plan.copy?.ms).toBeGreaterThan(0)
    expect(plan.pause?.ms).toBeGreaterThan(0)
    expect((await move.status()).fences).toEqual(before.fences)
    expect((await backends[1]?.fence('underpin-probe'))?.role).toBe('poisoned')
    const sampled = await move.plan({ maxRecords: 40 })
    expect(sampled.counts).toMatchObject({ isExact: false, streams: expect.any(Number) })
    expect(Math.abs((sampled.counts?.records ?? 0) - 41)).toBeLessThan(12)
  })

  it('is cut over, rolled back and completed, and all of it is reported', async () => {
    await follow()
    const { there, back } = await move.drill({ by: 'bob' })
    expect(there).toMatchObject({ from: 'old', to: 'new', by: 'bob', isForced: false, gaps: 0 })
    expect(back).toMatchObject({ from: 'new', to: 'old', by: 'bob' })
    for (const report of [there, back]) {
      expect(report.pauseMs).toBeGreaterThan(0)
      expect(report.predictedPauseMs).toBeGreaterThan(0)
      expect(report.digest).toMatch(/^[0-9a-f]{32}$/)
      expect(report.gates.length).toBeGreaterThan(8)
      expect(report.verified?.differences).toBe(0)
    }
    console.log(
      `${pair.name}: pause ${there.pauseMs?.toFixed(1)} ms (predicted ${there.predictedPauseMs?.toFixed(1)}), back ${back.pauseMs?.toFixed(1)} (${back.predictedPauseMs?.toFixed(1)})`,
    )
    await move.cutover()
    expect(await move.complete({ by: 'bob' })).toEqual({ isPoisoned: true, owed: null })
    expect(await move.status()).toMatchObject({
      phase: 'completed',
      authority: 'new',
      record: undefined,
      next: [],
    })
    const reports = await move.report()
    expect(reports.map(({ to }) => to)).toEqual(['new', 'old', 'new'])
    expect(reports[0]).toEqual(there)
    // And back again, as a move of its own.
    const again = await store.move('app', { to: 'old' })
    await again.start()
    expect((await again.status()).record).toMatchObject({
      from: 'new',
      to: 'old',
      verified: null,
    })
    await again.cancel()
  })

  it('is refused by its gates, with the list; force overrides them and is noted', async () => {
    await move.start()
    const refused: UnderpinError = await move.cutover().catch((error) => error)
    expect(refused).toMatchObject({ code: 'gate', details: { inTheWay: ['verified'] } })
    expect(refused.details.gates).toHaveLength(11)
    await move.pause()
    await expect(move.cutover({ force: true, by: 'eve' })).resolves.toMatchObject({
      isForced: true,
      by: 'eve',
    })
  })

  it('is all there when the copy lacks nothing but what is noted of the move', async () => {
    await follow()
    const { position, head, fences, explanation } = await move.status()
    expect(fences.new?.head).toBeLessThan(fences.old?.head ?? 0)
    expect([position, explanation]).toEqual([head, expect.stringContaining('lacks nothing')])
    await store.domain('app').log.append('s0', { type: 'T', data: 'late' })
    expect((await move.status()).position).toBe(fences.new?.head)
  })

  it('copies by itself what is left, when no mover ever reported', async () => {
    await follow()
    await store.domain('app').log.append('s0', { type: 'T', data: 'late' })
    await move.set({ gates: { moverForMs: 1 } })
    await move.cutover()
    await store.domain('app').log.append('s0', { type: 'T', data: 'later' })
    await expect(move.rollback()).resolves.toMatchObject({ from: 'new', to: 'old', isForced: false })
    const events = await store.domain('app').log.read('s0', { limit: 100 })
    expect(events.events.slice(-2).map(({ data }) => data)).toEqual(['late', 'later'])
  })

  it('is in the way of a soak that was broken off, until none is asked for', async () => {
    await follow()
    const over = new AbortController()
    const soak = move.soak({ forMs: 60_000, signal: over.signal, onProgress: () => over.abort() })
    await expect(soak).rejects.toMatchObject({ code: 'aborted', hint: expect.stringContaining('--for 0') })
    await expect(move.cutover()).rejects.toMatchObject({
      code: 'gate',
      hint: expect.stringContaining('underpin move soak --for 0'),
      details: { inTheWay: ['soak'] },
    })
    expect(await move.soak({ forMs: 0 })).toMatchObject({ canCutOver: true })
    await expect(move.cutover()).resolves.toMatchObject({ to: 'new' })
  })

  it('goes on for two operators at once as for one', async () => {
    await follow()
    const other = await store.move('app', { to: 'new' })
    const [one, two] = await Promise.allSettled([move.cutover(), other.cutover()])
    const done = [one, two].filter(({ status }) => status === 'fulfilled')
    for (const found of [one, two])
      if (found?.status === 'rejected') expect(found.reason).toMatchObject({ code: 'gate' })
    expect(done.length).toBeGreaterThan(0)
    expect(await move.status()).toMatchObject({ phase: 'reversed', authority: 'new' })
    expect(await move.report()).toHaveLength(1)
    await Promise.all([move.complete(), other.complete()])
    expect(await move.status()).toMatchObject({ phase: 'completed', next: [] })
  })
})

/** What waits or takes several domains says the same on every pair: one of each kind is enough. */
const telling = ['memory to memory', 'sqlite to postgres', 'postgres to sqlite']

describe.each(placePairs.filter(({ name }) => telling.includes(name)))(
  'a move from $name that waits, or is one of several',
  (pair) => {
    onBoth(pair)

    it('is held until any process says go, while writes go on', async () => {
      await follow()
      const cutting = move.cutover({ hold: true, by: 'ann' })
      const elsewhere = await store.move('app', { to: 'new' })
      await held(elsewhere)
      expect(await elsewhere.status()).toMatchObject({ phase: 'mirroring', canCutOver: false })
      await expect(elsewhere.cutover()).rejects.toMatchObject({
        code: 'gate',
        details: { inTheWay: ['not-held'] },
      })
      await store.domain('app').log.append('s0', { type: 'T', data: 'while held' })
      await elsewhere.go()
      expect(await cutting).toMatchObject({ to: 'new', by: 'ann' })
      expect((await store.domain('app').log.read('s0', { backwards: true, limit: 1 })).events[0]?.data).toBe(
        'while held',
      )
      await expect(elsewhere.go()).rejects.toMatchObject({ code: 'gate' })
    })

    it('gives a hold up by its signal, and leaves everything as it was', async () => {
      await follow()
      const over = new AbortController()
      const cutting = move.cutover({ hold: true, signal: over.signal })
      const refused = expect(cutting).rejects.toMatchObject({ code: 'aborted' })
      await held(move)
      over.abort()
      await refused
      expect(await move.status()).toMatchObject({ phase: 'mirroring', authority: 'old', canCutOver: true })
    })

    it('is soaked until the gates have held for a time, also when somebody else begins again', async () => {
      await move.start()
      await move.catchUp()
      const over = new AbortController()
      const soaking = move.soak({
        forMs: 300,
        signal: over.signal,
        onProgress: ({ soakedMs }) => soakedMs > 100 && over.abort(),
      })
      await expect(soaking).rejects.toMatchObject({ code: 'aborted' })
      expect((await move.status()).canCutOver).toBe(false)
      const looks: number[] = []
      const status = await (await store.move('app', { to: 'new' })).soak({
        forMs: 300,
        onProgress: ({ soakedMs }) => looks.push(soakedMs),
      })
      expect(looks[0]).toBeGreaterThan(100)
      expect(status).toMatchObject({ canCutOver: true, record: { verified: { differences: 0 } } })
    })

    it('takes several domains, none of them before all may', async () => {
      const moves = await store.moves(['app', 'log', 'third'], { to: 'new' })
      await store.domain('log').log.append('s', { type: 'T', data: 1 })
      await moves.start()
      await moves.catchUp()
      await moves.verify()
      const third = await store.move('third', { to: 'new' })
      await third.pause()
      await expect(moves.cutover()).rejects.toMatchObject({ code: 'gate', details: { domain: 'third' } })
      expect([...(await moves.status()).values()].map(({ authority }) => authority)).toEqual([
        'old',
        'old',
        'old',
      ])
      await third.resume()
      const cutting = moves.cutover({ by: 'ann', hold: true })
      for (const domain of ['app', 'log', 'third'] as const)
        await held(await store.move(domain, { to: 'new' }))
      await moves.go()
      const reports = await cutting
      expect([...reports.keys()]).toEqual(['app', 'log', 'third'])
      await moves.complete()
      expect([...(await moves.status()).values()].map(({ phase }) => phase)).toEqual([
        'completed',
        'completed',
        'completed',
      ])
    })
  },
)

describe('a plan', () => {
  const [pair] = placePairs
  let sides: TwoSides
  beforeEach(async () => {
    if (pair === undefined) throw new Error('There is no pair')
    sides = await openSides(pair.a, pair.b)
    await createDomain(sides, 'd')
  })
  afterEach(() => closeSides(sides))

  const planWith = (supports: Partial<Backend['supports']>) => {
    const target = new (class extends Forward {
      override get supports() {
        return { ...this.inner.supports, ...supports }
      }
    })(sides.b)
    return moveOf({ a: sides.a, b: target }, 'd').plan()
  }

  it('finds what the limits of the target do not take, position by position, up to a bounded list', async () => {
    const plan = await planWith({ limits: { valueBytes: 1, nameBytes: 0 } })
    expect(plan.canStart).toBe(false)
    const records = plan.issues.filter(({ position }) => position !== undefined)
    // Events 10 and 11 have two bytes.
    expect(records.map(({ position }) => position)).toEqual([11, 12])
    expect(records[0]).toMatchObject({
      kind: 'blocking',
      what: 'limit',
      message: expect.stringContaining('Event 11 of stream'),
    })
    expect(plan.issues.some(({ message }) => message.startsWith("The domain's name"))).toBe(true)
    const cut = await moveOf({ a: sides.a, b: sides.b }, 'd').plan({ maxIssues: 0 })
    expect(cut).toMatchObject({ canStart: true, issues: [] })
  })

  it('finds a target that holds something of another move, and says what stands there', async () => {
    const move = moveOf(sides, 'd')
    await move.start()
    expect((await move.plan()).issues).toMatchObject([{ kind: 'warning', what: 'target' }])
    await move.catchUp()
    await move.verify()
    await move.cutover()
    expect(await move.plan()).toMatchObject({
      canStart: false,
      issues: [{ kind: 'blocking', what: 'source' }],
    })
    await move.complete()
    const back = moveOf({ a: sides.b, b: sides.a }, 'd')
    expect((await back.plan()).issues).toMatchObject([
      { kind: 'warning', what: 'target', message: expect.stringContaining('poisoned') },
    ])
  })

  it('tells that a flag wants the domain elsewhere', async () => {
    const store = await openStore(
      { a: 'memory:', b: 'memory:', c: 'memory:' },
      { domains: { app: {} }, env: { APP_STORE: 'a' } },
    )
    const planned = await (await store.move('app', { to: 'b' })).plan()
    expect(planned).toMatchObject({ canStart: true, issues: [{ kind: 'warning', what: 'placement' }] })
    await store.close()
  })

  it('finds what the source can do and the target cannot', async () => {
    const plan = await planWith({ sync: false })
    expect(plan.issues).toMatchObject([{ kind: 'warning', what: 'supports' }])
  })
})
