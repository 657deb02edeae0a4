import { describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { ForwardPort } from '../src/facet/forward-port.ts'
import type { Port } from '../src/facet/port.ts'
import { truncationCollections } from '../src/facet/truncated.ts'
import { UnseenFinder } from '../src/facet/unseen.ts'
import { limits } from '../src/model/limit.ts'
import { truncationsCollection } from '../src/model/truncation.ts'
import { encodeValue } from '../src/model/value.ts'
import { createDomain } from '../src/move/create.ts'
import { Route } from '../src/route.ts'
import { FakeClock } from './fake-clock.ts'
import { Random } from './subscription/random.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)

/** A domain that is written and truncated at random, and what every stream had. */
class Truncating {
  readonly #port: Port
  /** Of each stream: the positions of its events, by seq, and the first seq that is left. */
  readonly streams = new Map<string, { positions: number[]; before: number }>()

  constructor(port: Port) {
    this.#port = port
  }

  async append(stream: string, count: number): Promise<void> {
    const write = { kind: 'append', stream, type: 't', data: encodeValue(1), meta: null } as const
    const outcome = await this.#port.commit({ at: 0, writes: Array(count).fill(write), checks: [] })
    if (outcome.kind !== 'committed') throw new Error(outcome.kind)
    const found = this.streams.get(stream) ?? { positions: [], before: 1 }
    found.positions.push(...outcome.positions)
    this.streams.set(stream, found)
  }

  /** Leaves the events from a seq on. */
  async truncate(stream: string, before: number): Promise<void> {
    const found = this.streams.get(stream)
    const last = found?.positions[before - 2]
    if (found === undefined || last === undefined || before <= found.before) return
    if (before > found.positions.length) return
    const data = encodeValue({ before, archive: null, last })
    const write = {
      kind: 'put',
      collection: truncationsCollection,
      id: stream,
      data,
      expiresAt: null,
    } as const
    const outcome = await this.#port.commit({ at: 0, writes: [write], checks: [] })
    if (outcome.kind !== 'committed') throw new Error(outcome.kind)
    found.before = before
  }

  /** Streams of which an event behind a position is gone. */
  missing(after: number): readonly string[] {
    const isMissing = ({ positions, before }: { positions: number[]; before: number }) =>
      positions.slice(0, before - 1).some((position) => position > after)
    return [...this.streams].filter(([, found]) => isMissing(found)).map(([stream]) => stream)
  }
}

async function openPort(): Promise<Port> {
  const backend = memory()
  await backend.open()
  const route = new Route('app', [backend], { clock: new FakeClock(), limits, deadlineMs: 10_000 })
  await createDomain({ domain: 'app', candidates: [backend], on: backend, clock: route.clock })
  return route
}

describe('who reads the feed page by page', () => {
  it(`is told of a stream if, and only if, an event of it was removed behind its place (seed ${seed})`, async () => {
    const random = new Random(seed)
    const port = await openPort()
    await port.ensure(truncationCollections)
    const domain = new Truncating(port)
    const isWanted = (stream: string) => stream !== 's0'
    const tally = { told: 0, clean: 0, ahead: 0 }
    for (let round = 0; round < 60; round++) {
      const finder = new UnseenFinder(port, isWanted)
      let position = random.below((await port.head()) + 1)
      for (let step = 0; step < 60; step++) {
        const stream = `s${random.below(5)}`
        const what = random.below(8)
        if (what < 4) await domain.append(stream, 1 + random.below(4))
        const length = domain.streams.get(stream)?.positions.length ?? 0
        if (what === 4) await domain.truncate(stream, 1 + random.below(length + 1))
        if (what < 5) continue
        const page = await port.changes(position, 1 + random.below(8))
        const wanted = domain.missing(position).filter(isWanted)
        // Between the page and the question: then it may be told of what it has in hand, but is never told too little.
        const isRace = random.below(4) === 0
        if (isRace) await domain.truncate(stream, 1 + random.below(length + 1))
        const unseen = await finder.find(position, page)
        if (!isRace || wanted.length > 0)
          expect(unseen !== undefined, `round ${round}, step ${step}`).toBe(wanted.length > 0)
        if (unseen === undefined) {
          tally.clean++
          position = page.next
        } else {
          tally.told++
          expect(domain.missing(position)).toContain(unseen.stream)
          position = Math.max(unseen.last, position)
        }
        if (position < page.head) tally.ahead++
      }
    }
    expect(Math.min(tally.told, tally.clean, tally.ahead)).toBeGreaterThan(50)
  })

  it('asks the store once, and again only when the pages leave something open', async () => {
    const port = await openPort()
    const domain = new Truncating(port)
    let asked = 0
    class Counting extends ForwardPort {
      protected around(inner: Port) {
        return new Counting(inner)
      }
      override get(...given: Parameters<Port['get']>) {
        asked++
        return super.get(...given)
      }
    }
    const counting = new Counting(port)
    const finder = new UnseenFinder(counting, () => true)
    let position = 0
    const next = async (limit: number) => {
      const before = asked
      const page = await port.changes(position, limit)
      await finder.find(position, page)
      position = page.next
      return asked - before
    }
    await domain.append('a', 10)
    expect(await next(100)).toBe(1)
    for (let i = 0; i < 5; i++) {
      await domain.append('a', 3)
      expect(await next(100)).toBe(0)
    }
    for (let i = 0; i < 6; i++) await domain.append('a', 1)
    expect([await next(2), await next(2), await next(2)]).toEqual([1, 0, 0])
    await port.ensure(truncationCollections)
    await domain.truncate('a', 5)
    expect([await next(100), await next(100)]).toEqual([1, 0])
  })
})
