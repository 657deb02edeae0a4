import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import type { AnyDomain } from '../../src/facet/domain.ts'
import { openStore } from '../../src/index.ts'
import { type Repository, type Routed, route } from '../../src/repository.ts'
import { type PlaceKind, placeKinds } from '../places.ts'
import {
  type Ledger,
  type LedgerAddress,
  type LedgerPlace,
  MemoryLedger,
  openLedger,
} from './repository/ledger.ts'
import { allOf, judge, routeLedger } from './repository/routed.ts'

const server = inject('postgres')
const kinds = Object.fromEntries(placeKinds.map((kind) => [kind.name, kind])) as Record<string, PlaceKind>

let folder: string
const closing: (() => Promise<unknown>)[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-repository-'))
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
  rmSync(folder, { recursive: true })
})

function addressOf(kind: string, isFenced: boolean): LedgerAddress {
  if (kind === 'memory') return { kind }
  if (kind === 'sqlite') return { kind, file: join(folder, `${randomBytes(4).toString('hex')}.db`), isFenced }
  const url = 'url' in server ? server.url : ''
  return { kind: 'postgres', url, schema: `ledger_${randomBytes(4).toString('hex')}`, isFenced }
}

async function placed(address: LedgerAddress): Promise<LedgerPlace> {
  const place = await openLedger(address)
  closing.push(() => place.close())
  return place
}

/** Kept open until the test ends. */
async function routed(...parts: Parameters<typeof routeLedger>): Promise<Routed<Ledger>> {
  const made = await routeLedger(...parts)
  closing.push(() => made.close())
  return made
}

async function memoryControl(): Promise<AnyDomain> {
  const store = await openStore('memory:', { domains: { control: {} } })
  closing.push(() => store.close())
  return store.domain('control')
}

describe.each([
  { control: 'memory', legacy: 'memory', next: 'sqlite', isFenced: false },
  { control: 'sqlite', legacy: 'sqlite', next: 'sqlite', isFenced: true },
  { control: 'sqlite', legacy: 'sqlite', next: 'postgres', isFenced: true },
  { control: 'postgres', legacy: 'postgres', next: 'sqlite', isFenced: true },
])('a ledger that moves from $legacy to $next, controlled in $control', (pair) => {
  beforeEach(({ skip }) => {
    const missing = [pair.control, pair.legacy, pair.next].map((name) => kinds[name]?.missing ?? '').join('')
    // Reason: places.ts says why this machine has no such server.
    skip(missing !== '', missing)
  })

  it('loses and doubles nothing under 4 writers of two processes, there and back and there', async () => {
    const place = (kinds[pair.control] as PlaceKind).make()
    const [legacy, next] = [
      await placed(addressOf(pair.legacy, pair.isFenced)),
      await placed(addressOf(pair.next, pair.isFenced)),
    ]
    for (let i = 0; i < 120; i++) await legacy.ledger.add(`old${i}`, `old${i}`)
    await next.ledger.add('stray', 'stray')
    const routes: Routed<Ledger>[] = []
    for (let i = 0; i < 2; i++) {
      const store = await place.open({ control: {} })
      routes.push(await routed(store.domain('control'), legacy, next, { ttlMs: 2_000, shadow: 0.3 }))
    }
    const [{ move }] = routes as [Routed<Ledger>]
    const stop = new AbortController()
    const acknowledged: string[] = []
    let worstMs = 0
    closing.push(async () => stop.abort())
    const writers = Array.from({ length: 4 }, async (_, w) => {
      const { repository } = routes[w % 2] as Routed<Ledger>
      for (let i = 0; !stop.signal.aborted; i++) {
        const entry = `${w}/${i}`
        const since = performance.now()
        // All writers of both processes meet at the same keys.
        await repository.add(`key${i % 60}`, entry)
        worstMs = Math.max(worstMs, performance.now() - since)
        acknowledged.push(entry)
        if (i % 3 === 0) expect(await repository.entries(`key${i % 60}`)).toContain(entry)
        await pause(40)
      }
    })
    void Promise.allSettled(writers)
    await move.start({ by: 'ann' })
    expect(await move.status()).toMatchObject({ phase: 'dual', lead: 'legacy', isSettled: true })
    await expect(move.cutover()).rejects.toMatchObject({ code: 'gate' })
    expect(await move.backfill()).toMatchObject({ failed: 0, isSecondPass: true })
    const pauses: number[] = []
    for (const direction of ['cutover', 'rollback', 'cutover'] as const) {
      await pause(150)
      const compared = await move.verify()
      expect(compared.divergences).toEqual([])
      pauses.push(Math.round((await move[direction]({ by: 'ann' })).pauseMs))
    }
    expect(await move.status()).toMatchObject({ phase: 'reverse', lead: 'next', isSettled: true })
    await pause(150)
    stop.abort()
    await Promise.all(writers)
    expect((await move.verify()).divergences).toEqual([])
    const { shadow } = await move.status()
    expect(shadow).toMatchObject({ divergence: 0, failed: 0 })
    const found = (await allOf(next.ledger)).filter((entry) => !entry.startsWith('old'))
    expect(judge(acknowledged, [], found)).toEqual({ lost: [], doubled: [], unknown: [] })
    expect((await allOf(legacy.ledger)).sort()).toEqual((await allOf(next.ledger)).sort())
    await move.complete()
    expect(await move.status()).toMatchObject({ phase: 'next', gaps: 0 })
    await routes[1]?.repository.add('behind', 'behind')
    expect(await legacy.ledger.entries('behind')).toEqual([])
    console.log(
      `${pair.legacy} -> ${pair.next}: ${acknowledged.length} writes, pauses ${pauses} ms, worst call ${Math.round(worstMs)} ms, shadow reads`,
      { ...shadow, examples: undefined },
    )
  }, 60_000)
})

describe('a routed repository', () => {
  interface Users {
    get(id: string): Promise<string | undefined>
    put(id: string, name: string): Promise<void>
    remove(id: string): Promise<void>
  }

  const users = (): Users => {
    const names = new Map<string, string>()
    return {
      get: async (id) => names.get(id),
      put: async (id, name) => void names.set(id, name),
      remove: async (id) => void names.delete(id),
    }
  }

  const rest = {
    name: 'users',
    keys: async function* () {},
    load: async (users: Users, id: string) => users.get(id),
    reconcile: async () => {},
  }

  it('does not compile when a method is forgotten, or when a read is named as a write', async () => {
    const control = await memoryControl()
    const [legacy, next] = [users(), users()]
    const key = (id: string) => id
    const made = [
      () =>
        route({
          ...{ ...rest, control, legacy, next, reads: ['get'] },
          // @ts-expect-error: remove is neither a read nor a write.
          writes: { put: { key } },
        }),
      () =>
        route({
          ...{ ...rest, control, legacy, next, reads: ['get'] },
          // @ts-expect-error: get is a read.
          writes: { get: { key }, put: { key }, remove: { key } },
        }),
      () =>
        route({
          ...{ ...rest, control, legacy, next },
          // @ts-expect-error: there is no such method.
          reads: ['got'],
          writes: { put: { key }, remove: { key } },
        }),
      () =>
        route({
          ...{ ...rest, control, legacy, next, reads: ['get'] },
          // @ts-expect-error: the key is made of the method's own arguments.
          writes: { put: { key: (id: number) => String(id) }, remove: { key } },
        }),
    ]
    expect(made).toHaveLength(4)
    // @ts-expect-error: a method must return a promise.
    const isRouted: Repository<{ now(): number }> = { now: () => 1 }
    expect(isRouted).toBeDefined()
    // At run time, too.
    await expect(made[1]?.()).rejects.toThrow(/get is named twice/)
    await expect(made[2]?.()).rejects.toThrow(/need a method got/)
  })

  it('is in memory of one process as it is over many: methods, answers and errors are the repository’s own', async () => {
    const control = await memoryControl()
    const legacy: Users = {
      ...users(),
      remove: async (id) => {
        throw new RangeError(`no ${id}`)
      },
    }
    const { repository, close } = await route({
      ...{ ...rest, control, legacy, next: users(), reads: ['get'] },
      writes: { put: { key: (id) => id }, remove: { key: (id) => id } },
    })
    closing.push(close)
    await repository.put('1', 'ann')
    expect(await repository.get('1')).toBe('ann')
    await expect(repository.remove('1')).rejects.toThrow(RangeError)
    await expect(repository.put('', 'nobody')).rejects.toMatchObject({ code: 'invalid' })
    await close()
    await expect(repository.get('1')).rejects.toMatchObject({ code: 'closed' })
  })
})

describe('the gaps of a routed repository', () => {
  /** A ledger that can be told to fail, or to wait. */
  class Moody extends MemoryLedger {
    failing: Error | undefined
    waiting: Promise<void> | undefined

    override async set(key: string, entries: readonly string[]) {
      if (this.failing !== undefined) throw this.failing
      await super.set(key, entries)
    }

    override async add(key: string, entry: string) {
      await this.waiting
      await super.add(key, entry)
    }
  }

  const placeOf = (ledger: Ledger): LedgerPlace => ({ ledger, fence: undefined, close: async () => {} })

  it('are kept while the other side fails, block the cutover, and close when it takes them', async () => {
    const [legacy, next] = [new MemoryLedger(), new Moody()]
    const { repository, move } = await routed(await memoryControl(), placeOf(legacy), placeOf(next))
    await move.start()
    await move.backfill()
    next.failing = new Error('the disk is full')
    await repository.add('a', '1')
    await repository.add('b', '1')
    await expect.poll(() => move.gaps()).toMatchObject([{ state: 'open' }, { state: 'open' }])
    const first = (await move.gaps()).find(({ key }) => key === 'a')
    expect(first).toMatchObject({ key: 'a', error: 'the disk is full' })
    await expect(move.cutover({ force: true })).rejects.toMatchObject({ code: 'gate', message: /gap/ })
    // Mended by hand.
    await next.set.bind(new MemoryLedger())('a', [])
    expect(await move.resolve(first?.id as string)).toBe(true)
    expect(await move.resolve(first?.id as string)).toBe(false)
    expect(await move.gaps()).toHaveLength(1)
    next.failing = undefined
    expect(await move.retry()).toBe(0)
    expect(await next.entries('b')).toEqual(['1'])
    expect(await move.verify()).toMatchObject({ divergences: [{ key: 'a' }] })
    await expect(move.cutover()).rejects.toMatchObject({ code: 'gate', message: /1 key\(s\) differ/ })
  })

  it('a cutover that meets one gives up, and the same side leads on', async () => {
    const [legacy, next] = [new MemoryLedger(), new Moody()]
    const { repository, move } = await routed(await memoryControl(), placeOf(legacy), placeOf(next))
    await move.start()
    await move.backfill()
    // A write that ends while writes wait, and whose copy fails then.
    let go = () => {}
    legacy.add = async (key, entry) => {
      await new Promise<void>((resolve) => (go = resolve))
      await MemoryLedger.prototype.add.call(legacy, key, entry)
    }
    const writing = repository.add('a', '1')
    await expect.poll(() => move.gaps()).toHaveLength(1)
    const cutting = move.cutover({ force: true })
    await expect.poll(async () => (await move.status()).phase).toBe('sealed')
    next.failing = new Error('the disk is full')
    go()
    await writing
    await expect(cutting).rejects.toMatchObject({ code: 'gate', message: /disk is full/ })
    expect(await move.status()).toMatchObject({ phase: 'dual', lead: 'legacy' })
    next.failing = undefined
    legacy.add = MemoryLedger.prototype.add.bind(legacy)
    await repository.add('a', '2')
    await expect.poll(() => move.retry()).toBe(0)
    expect(await move.cutover({ force: true })).toMatchObject({ from: 'legacy', to: 'next' })
    expect(await repository.entries('a')).toEqual(['1', '2'])
  })

  it('a cutover gives up when a call does not end in its time', async () => {
    const [legacy, next] = [new Moody(), new MemoryLedger()]
    const { repository, move } = await routed(await memoryControl(), placeOf(legacy), placeOf(next))
    await move.start()
    await move.backfill()
    let go = () => {}
    legacy.waiting = new Promise((resolve) => (go = resolve))
    const writing = repository.add('a', '1')
    await expect.poll(() => move.gaps()).toHaveLength(1)
    // Reads are served all the while.
    const cutting = move.cutover({ force: true, maxPauseMs: 2_000 })
    await expect.poll(async () => (await move.status()).phase).toBe('sealed')
    expect(await repository.entries('a')).toEqual([])
    await expect(cutting).rejects.toMatchObject({ code: 'gate', details: { permits: 1 } })
    go()
    await writing
    await expect.poll(() => next.entries('a')).toEqual(['1'])
  })

  it('shadow reads tell what differs, behind the answers', async () => {
    const [legacy, next] = [new MemoryLedger(), new MemoryLedger()]
    const { repository, move } = await routed(await memoryControl(), placeOf(legacy), placeOf(next), {
      shadow: 1,
    })
    await move.start()
    await move.backfill()
    await repository.add('a', '1')
    await expect.poll(() => next.entries('a')).toEqual(['1'])
    // Compared from when this process has heard that the copy was filled.
    const shadow = async () => (await move.status()).shadow
    const read = async () => {
      expect(await repository.entries('a')).toEqual(['1'])
      return shadow()
    }
    await expect.poll(read).not.toMatchObject({ equal: 0 })
    await next.add('a', 'planted')
    expect(await repository.entries('a')).toEqual(['1'])
    await expect.poll(shadow).toMatchObject({
      ...{ divergence: 1, failed: 0 },
      examples: [{ method: 'entries', leading: '["1"]', following: '["1","planted"]' }],
    })
    expect((await move.status()).blocks).toContainEqual(expect.stringMatching(/1 compared read/))
  })
})

describe('the judge of what was lost and doubled', () => {
  it('finds planted ones', () => {
    expect(judge(['a', 'b'], ['c'], ['b', 'b', 'c', 'd'])).toEqual({
      ...{ lost: ['a'], doubled: ['b'], unknown: ['d'] },
    })
  })
})
