import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type PlaceKind, placeKinds } from './places.ts'
import { append } from './proof.ts'
import { type Consumer, type Crew, processes, views } from './subscription/crew.ts'
import { judge, type Verdict, type Wanted } from './subscription/judge.ts'
import { Random } from './subscription/random.ts'
import { type App, effects, openApp, subscriptions, type Which } from './subscription/work.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
/** Long enough for a machine that is busy with other tests: who gives no sign of life for it loses its lease. */
const ttlsMs = { memory: 300, sqlite: 1_500, postgres: 1_500 }
/** 500 for the whole proof. */
const asked = process.env.UNDERPIN_KILLS
const kills = { memory: Number(asked ?? 20), sqlite: Number(asked ?? 6), postgres: Number(asked ?? 6) }
const timeoutMs = asked === undefined ? 240_000 : 3_600_000

async function crewOf({
  name,
  make,
}: PlaceKind): Promise<{ crew: Crew; app: App; close: () => Promise<void> }> {
  const place = name === 'memory' ? memory() : (make().url ?? '')
  const store = await openApp(place)
  const crew = typeof place === 'string' ? processes(place, ttlsMs[name]) : views(place, ttlsMs[name])
  return { crew, app: store.domain('app'), close: () => store.close() }
}

/** Three consumers, of which one at random, rather the one at work, is killed and replaced, again and again. */
class Massacre {
  readonly takeoversMs: number[] = []
  readonly #crew: Crew
  readonly #random: Random
  readonly #pauseMs: number
  readonly #consumers: (Consumer & { readonly number: number })[] = []
  #count = 0
  /** Who handled something of the single subscription last; and when it was killed, if nobody has since. */
  #active = 0
  #killedAt: number | undefined

  constructor(crew: Crew, random: Random, pauseMs: number) {
    this.#pauseMs = pauseMs
    this.#crew = crew
    this.#random = random
  }

  async run(times: number): Promise<void> {
    await Promise.all([this.#start(), this.#start(), this.#start()])
    for (let i = 0; i < times; i++) {
      await pause(this.#random.below(this.#pauseMs))
      const active = this.#consumers.findIndex(({ number }) => number === this.#active)
      const at = active >= 0 && this.#random.below(2) === 0 ? active : this.#random.below(3)
      const [victim] = this.#consumers.splice(at, 1)
      if (victim?.number === this.#active && this.#killedAt === undefined) this.#killedAt = performance.now()
      await victim?.kill()
      await this.#start()
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.kill()))
  }

  async #start(): Promise<void> {
    const number = ++this.#count
    const consumer = await this.#crew.consume((which) => this.#hear(number, which))
    this.#consumers.push({ ...consumer, number })
  }

  #hear(number: number, which: Which): void {
    if (which !== 'single' || number === this.#active) return
    if (this.#killedAt !== undefined) this.takeoversMs.push(performance.now() - this.#killedAt)
    this.#killedAt = undefined
    this.#active = number
  }
}

async function untilCaughtUp(app: App, ttlMs: number): Promise<void> {
  const since = performance.now()
  const all = Object.values(subscriptions(app, ttlMs))
  for (;;) {
    const statuses = await Promise.all(all.map((subscription) => subscription.status()))
    if (statuses.every(({ lag }) => lag.positions === 0)) return
    if (performance.now() - since > 120_000) throw new Error(JSON.stringify(statuses))
    await pause(200)
  }
}

async function everything(app: App) {
  const wanted: Wanted[] = []
  const handled: Record<Which, number[]> = { single: [], group: [], least: [] }
  for (let [after, head] = [0, 1]; after < head; ) {
    const page = await app.changes({ after })
    for (const item of page.items) {
      if (item.kind !== 'event') continue
      if (item.stream.startsWith('in-')) wanted.push({ position: item.position, key: item.stream })
      for (const which of Object.keys(effects) as Which[])
        if (item.stream === effects[which]) handled[which].push(Number(item.data))
    }
    ;[after, head] = [page.next, page.head]
  }
  return { wanted, handled }
}

const whole = (wanted: readonly Wanted[]) => wanted.map(({ position }) => ({ position, key: '' }))

describe.each(placeKinds)('three consumers killed at random on $name', (kind) => {
  it(
    'miss nothing, have exactly-once effects once, and keep order',
    async ({ skip }) => {
      skip(kind.missing !== '', kind.missing)
      const since = performance.now()
      const random = new Random(seed)
      const ttlMs = ttlsMs[kind.name]
      const { crew, app, close } = await crewOf(kind)
      const writers = await crew.write(seed)
      const massacre = new Massacre(crew, random, ttlMs)
      await massacre.run(kills[kind.name])
      const written = await writers.stop()
      await untilCaughtUp(app, ttlMs)
      await massacre.end()

      const { wanted, handled } = await everything(app)
      const verdicts = {
        single: judge(whole(wanted), handled.single),
        group: judge(wanted, handled.group),
        least: judge(whole(wanted), handled.least),
      }
      const sums = (await app.documents('sums').list()).documents.map(({ value }) => Number(value))
      const sum = (of: 'commits' | 'rollbacks') => written.reduce((total, each) => total + each[of], 0)
      const takeovers = massacre.takeoversMs.toSorted((a, b) => a - b).map(Math.round)
      const seconds = (performance.now() - since) / 1_000
      console.log(
        `${kind.name}, seed ${seed}: ${kills[kind.name]} kills in ${seconds.toFixed(1)} s, ${sum('commits')} commits and ${sum('rollbacks')} rollbacks by 4 writers`,
        verdicts,
        `takeovers of the single one: ${takeovers.length}, ttl ${ttlMs} ms, p50 ${takeovers[takeovers.length >> 1]} ms, most ${takeovers.at(-1)} ms`,
      )
      const bad = ({ missing, outOfOrder, foreign }: Verdict) => missing + outOfOrder + foreign
      const failed = Object.values(verdicts).reduce((total, verdict) => total + bad(verdict), 0)
      append({
        promise: `subscriptions: nothing missing, nothing out of order, exactly-once effects once, with ${kills[kind.name]} kills of 3 consumers`,
        backend: kind.name,
        tried: verdicts.single.delivered + verdicts.group.delivered + verdicts.least.delivered,
        failed: failed + verdicts.single.doubled + verdicts.group.doubled,
        unknown: 0,
        seed,
        seconds,
      })
      const clean = { missing: 0, outOfOrder: 0, foreign: 0 }
      expect(wanted.length).toBeGreaterThan(20)
      expect(verdicts.single).toMatchObject({ ...clean, doubled: 0 })
      expect(verdicts.group).toMatchObject({ ...clean, doubled: 0 })
      expect(verdicts.least).toMatchObject(clean)
      expect(sums.reduce((a, b) => a + b, 0)).toBe(wanted.length)
      await close()
    },
    timeoutMs,
  )
})

describe('the judge', () => {
  const wanted = [1, 2, 3, 4, 5, 6].map((position) => ({
    position,
    key: position % 2 === 0 ? 'even' : 'odd',
  }))
  const clean = { missing: 0, doubled: 0, outOfOrder: 0, foreign: 0 }

  it('finds nothing in what is right, also when keys overtake each other', () => {
    expect(judge(wanted, [1, 3, 2, 5, 4, 6])).toEqual({ ...clean, delivered: 6 })
  })

  it.each([
    ['a missing one', [1, 2, 3, 4, 5], { missing: 1 }],
    ['a skipped one that comes late', [1, 2, 4, 6, 5, 3], { outOfOrder: 1 }],
    ['one that is handled twice', [1, 2, 3, 4, 3, 5, 6], { doubled: 1 }],
    ['one that was never committed', [1, 2, 3, 7, 4, 5, 6], { foreign: 1 }],
    ['nothing at all', [], { missing: 6 }],
  ])('finds %s', (_name, handled, found) => {
    expect(judge(wanted, handled)).toMatchObject({ ...clean, ...found })
  })
})
