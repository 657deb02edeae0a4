import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { openStore } from '../../src/index.ts'
import { histogramBoundsMs, percentileOf } from '../../src/move/histogram.ts'
import { readEntries } from '../../src/move/ledger.ts'
import type { CallersNote } from '../../src/move/report.ts'
import { placeKinds } from '../places.ts'
import { openTwo, type TwoPlaces } from './two-places.ts'

const domains = { app: { collections: { things: {} } } } as const

describe.each(placeKinds)('attending to moves, memory to $name', ({ make, missing, name }) => {
  let two: TwoPlaces<typeof domains>
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    const [memory] = placeKinds
    if (memory !== undefined) two = await openTwo(memory, { name, missing, make }, domains)
  })
  afterEach(() => two?.store.close())

  const health = () => two.store.attendance('app')
  const append = (n: number) => two.store.domain('app').log.append(`s${n % 4}`, { type: 'T', data: n })

  it('sees a move begin and end', async () => {
    expect(health()).toMatchObject({ isMoving: false, error: undefined })
    const move = await two.store.move('app', { to: 'new' })
    await move.start()
    await expect.poll(() => health()?.isMoving).toBe(true)
    await move.catchUp()
    await move.cutover({ force: true })
    await move.complete()
    await expect.poll(() => health()?.isMoving).toBe(false)
  })

  it('takes up and drops what the operator sets, while it runs', async () => {
    const move = await two.store.move('app', { to: 'new' })
    await move.start()
    await expect.poll(() => health()?.isMoving).toBe(true)
    expect(health()).toMatchObject({ shadow: undefined, await: undefined })
    await move.set({ shadow: 1, mirror: 'await' })
    await expect.poll(() => health()?.await).toBeDefined()
    expect(health()?.shadow).toBeDefined()
    await move.set({ shadow: 0, mirror: 'behind' })
    await expect.poll(() => health()?.await).toBeUndefined()
    const counted = health()?.shadow?.counts
    await two.store.domain('app').documents('things').get('t')
    expect(health()?.shadow?.counts).toEqual(counted)
  })

  it('shows a look that failed, and gets over it', async () => {
    const move = await two.store.move('app', { to: 'new' })
    await move.start()
    two.faults.before = (verb) => {
      if (verb === 'fence') throw new Error('no route to host')
    }
    await expect.poll(() => health()?.error).toMatchObject({ message: 'no route to host' })
    await append(1)
    two.faults.before = undefined
    await expect.poll(() => health()).toMatchObject({ error: undefined, isMoving: true })
  })

  it('notes how long callers waited for each cutover', async () => {
    const move = await two.store.move('app', { to: 'new' })
    await move.start()
    await move.catchUp()
    const stop = new AbortController()
    let longest = 0
    const writers = Array.from({ length: 8 }, async (_, w) => {
      while (!stop.signal.aborted) {
        const since = performance.now()
        await append(w)
        longest = Math.max(longest, performance.now() - since)
      }
    })
    await append(8)
    await move.cutover({ force: true })
    // Behind all that were held: who waits on through the rollback has waited for that one alone.
    await append(8)
    await move.rollback({ force: true })
    stop.abort()
    await Promise.all(writers)
    const source = two.store.backends.get('old') as Backend
    const notes = () => readEntries<CallersNote>({ domain: 'app', source }, 'callers-')
    await expect.poll(async () => (await notes()).length).toBeGreaterThanOrEqual(1)
    // Those of both cutovers are noted together when nobody waits any more.
    await expect.poll(async () => (await notes()).length).toBe(2)
    for (const { value } of await notes()) {
      expect(value.count).toBeGreaterThanOrEqual(1)
      expect(value.count).toBeLessThanOrEqual(16)
      expect(value.maxMs).toBeLessThanOrEqual(longest)
      expect(value.buckets.reduce((sum, n) => sum + n, 0)).toBe(value.count)
      expect(percentileOf(value, 1)).toBe(value.maxMs)
    }
  })
})

describe('a store', () => {
  it('with one backend looks at nothing', async () => {
    await using store = await openStore('memory:', { domains })
    expect(store.attendance('app')).toBeUndefined()
  })

  it('that is in a move keeps no process alive', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'underpin-attend-'))
    try {
      const index = fileURLToPath(new URL('../../src/index.ts', import.meta.url))
      const script = `
        import { openStore } from ${JSON.stringify(index)}
        const urls = { old: 'sqlite:${folder}/a.db', new: 'sqlite:${folder}/b.db' }
        const store = await openStore(urls, { domains: { app: {} }, attendEveryMs: 10, presence: { everyMs: 10 } })
        const move = await store.move('app', { to: 'new' })
        await move.start({ settings: { shadow: 1, mirror: 'await' } })
        await store.domain('app').log.append('s', { type: 'T', data: 1 })
        process.stdout.write('done')`
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
        timeout: 20_000,
      })
      const [code] = await once(child, 'exit')
      expect(code).toBe(0)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe('a histogram', () => {
  it('has bounds that grow', () => {
    expect([...histogramBoundsMs].sort((a, b) => a - b)).toEqual(histogramBoundsMs)
  })
})
