import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Move, openStore, type ShadowReport } from '../../src/index.ts'
import type { Document } from '../../src/model/document.ts'
import type { Event } from '../../src/model/event.ts'
import { type JsonText, parseJsonText } from '../../src/model/value.ts'
import { placePairs } from '../places.ts'
import { openTwo, type TwoPlaces } from './two-places.ts'

const domains = {
  app: { collections: { things: { fields: { n: 'number' }, indexes: { by_n: { fields: ['n'] } } } } },
} as const

type Counts = Partial<ShadowReport['counts']>

describe.each(placePairs)('shadow reads, $name', ({ a, b, missing }) => {
  let two: TwoPlaces<typeof domains>
  let move: Move
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    two = await openTwo(a, b, domains)
    const app = two.store.domain('app')
    for (let i = 0; i < 12; i++) {
      await app.documents('things').put(`t${i}`, { n: i })
      await app.log.append('s', { type: 'T', data: i })
    }
    move = await two.store.move('app', { to: 'new' })
    await move.start({ settings: { shadow: 1 } })
    await move.catchUp()
    await attended()
  })
  afterEach(() => two?.store.close())

  const report = () => two.store.attendance('app')?.shadow
  const attended = () => expect.poll(report).toBeDefined()
  const found = (counts: Counts) => expect.poll(() => report()?.counts, { interval: 5 }).toMatchObject(counts)
  const things = () => two.store.domain('app').documents('things')

  it('are equal where the copy is, whatever is read', async () => {
    await things().get('t3')
    await things().get('nowhere')
    await things().list({ prefix: 't', limit: 5 })
    await things().list({ index: 'by_n', limit: 5 })
    await two.store.domain('app').log.read('s', { limit: 4 })
    await two.store.domain('app').log.read('s', { limit: 4, backwards: true })
    await found({ equal: 6, lag: 0, divergence: 0, failed: 0 })
    expect(report()?.latency.target.count).toBe(6)
  })

  it('find another content under the same revision', async () => {
    two.faults.answer = (verb, result) => (verb === 'get' ? altered(result) : undefined)
    await things().get('t3')
    await found({ equal: 0, divergence: 1 })
    expect(report()?.examples[0]?.what).toContain('Document "t3" of collection things')
  })

  it('find what the copy lacks, and what it has too much', async () => {
    two.faults.answer = (verb, result) => (verb === 'get' ? undefined : without(result, 2))
    await things().list({ limit: 50 })
    await two.store.domain('app').log.read('s', { limit: 50 })
    await found({ equal: 0, divergence: 2 })
    expect(
      report()
        ?.examples.map(({ what }) => what)
        .join(),
    ).toContain('nothing at the follower')
    // A mover, because what is found is noted at the source, and a copy that is behind is not judged.
    const over = new AbortController()
    const mirroring = move.run({ signal: over.signal })
    await things().delete('t5')
    await move.catchUp()
    two.faults.answer = (verb, result) => (verb === 'scan' ? withOld(result) : undefined)
    await things().list({ limit: 50 })
    await found({ divergence: 3 })
    over.abort()
    await mirroring
  })

  it('tell lag from divergence, and see it end', async () => {
    await things().put('t3', { n: 33 })
    await things().get('t3')
    await things().list({ limit: 50 })
    await found({ equal: 0, lag: 2, divergence: 0 })
    await move.catchUp()
    await found({ equal: 2, lag: 0, divergence: 0 })
  })

  it('take an expired document that one side has removed for expired', async () => {
    await things().put('gone', { n: 1 }, { expiresAt: Date.now() - 1 })
    await move.catchUp()
    two.faults.answer = (verb, result) => (verb === 'scan' ? withoutId(result, 'gone') : undefined)
    await things().list({ limit: 50 })
    await found({ equal: 0, divergence: 0, expired: 1 })
  })

  it('raise no false alarm while both sides are written to', async () => {
    const stop = new AbortController()
    const mirroring = move.run({ signal: stop.signal })
    const writer = async (w: number) => {
      for (let i = 0; !stop.signal.aborted; i++) {
        await things().put(`t${(i + w) % 8}`, { n: i })
        if (i % 3 === 0) await things().delete(`t${(i + w + 3) % 8}`)
        await two.store.domain('app').log.append(`s${w}`, { type: 'T', data: i })
      }
    }
    const reader = async () => {
      for (let i = 0; !stop.signal.aborted; i++) {
        await things().get(`t${i % 8}`)
        await things().list({ limit: 3 })
        await things().list({ index: 'by_n', limit: 3 })
        await two.store.domain('app').log.read('s1', { backwards: true, limit: 3 })
        // Lets the others run: a backend in memory answers within the turn.
        await pause(1)
      }
    }
    const all = [writer(1), writer(2), reader(), reader()]
    // For a while: what is compared meanwhile differs from run to run.
    await pause(400)
    stop.abort()
    await Promise.all([...all, mirroring])
    await move.catchUp()
    await found({ lag: 0, divergence: 0, failed: 0 })
    expect(report()?.counts.equal).toBeGreaterThan(5)
  })

  it('drop what they cannot keep up with, and hold up nobody', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    two.faults.before = (verb) => (verb === 'get' ? held : undefined)
    await Promise.all(Array.from({ length: 400 }, (_, i) => things().get(`t${i % 12}`)))
    await expect.poll(() => report()?.counts.dropped).toBeGreaterThan(100)
    release()
    await expect.poll(() => (report()?.counts.equal ?? 0) + (report()?.counts.dropped ?? 0)).toBe(400)
  })

  it('are added up for whoever asks, and end when they are set to none', async () => {
    await things().get('t1')
    await found({ equal: 1 })
    const { processes } = await move.shadow({ sample: 0 })
    expect(processes).toBeLessThanOrEqual(1)
    const [old, next] = two.urls
    // Reason: what is in memory cannot be opened by another store.
    if (old !== undefined && next !== undefined) {
      const other = await openStore({ a: old, b: next }, { domains, attendEveryMs: 10 })
      const theirs = await other.move('app', { from: 'a', to: 'b' })
      await theirs.shadow({ sample: 1 })
      await expect.poll(() => other.attendance('app')?.shadow).toBeDefined()
      await other.domain('app').documents('things').get('t2')
      await expect.poll(() => other.attendance('app')?.shadow?.counts.equal).toBe(1)
      // What was found and not noted yet is noted at the end.
      await other.close()
    }
    await two.store.close()
    const again =
      old === undefined || next === undefined ? undefined : await openStore({ old, new: next }, { domains })
    if (again === undefined) return
    const all = await (await again.move('app', { from: 'old', to: 'new' })).shadow()
    await again.close()
    expect(all).toMatchObject({ processes: 2, counts: { equal: 2, divergence: 0 } })
  })
})

/** The documents of an answer to `get` with another text, and with the checksum that they had. */
function altered(result: { documents: readonly (Document | undefined)[] }): unknown {
  const other: JsonText = parseJsonText('{"n":999}')
  return { ...result, documents: result.documents.map((found) => found && { ...found, data: other }) }
}

function without(result: { items: readonly (Document | Event)[] }, place: number): unknown {
  return { ...result, items: result.items.filter((_, i) => i !== place) }
}

function withoutId(result: { items: readonly Document[] }, id: string): unknown {
  return { ...result, items: result.items.filter((item) => item.id !== id) }
}

/** With a document of an old revision that the authority has deleted. */
function withOld(result: { items: readonly Document[] }): unknown {
  const [first] = result.items
  return { ...result, items: [...result.items, { ...first, id: 't5', position: 3 }] }
}
