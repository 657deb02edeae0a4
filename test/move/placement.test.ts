/** Where domains are wanted, where they are, and what the store tells of it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import { sqlite } from '../../src/backend/sqlite/sqlite.ts'
import { type Backend, openStore, systemClock, UnderpinError } from '../../src/index.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { createDomain } from '../../src/move/create.ts'
import { cutover, start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { randomOf } from '../crash/random.ts'
import { moveAndComplete, moveOver, sidesOf } from './both-sides.ts'

const domains = { 'agent-desk': {}, chat: { backend: 'b' }, shop: {} } as const
const domain = 'agent-desk'

let backends: { a: Backend; b: Backend; c: Backend }
const stores: { close(): Promise<void> }[] = []
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-placement-'))
  backends = { a: memory(), b: memory(), c: memory() }
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  rmSync(folder, { recursive: true, force: true })
})

async function open(env?: Record<string, string | undefined>, on: Partial<typeof backends> = backends) {
  const store = await openStore(on as typeof backends, { domains, ...(env === undefined ? {} : { env }) })
  stores.push(store)
  return store
}

const roles = async (name: string) =>
  Promise.all(Object.values(backends).map(async (backend) => (await backend.fence(name)).role))

describe('a domain that is new', () => {
  it('is created on the first backend, where its configuration says, or before that where its flag says', async () => {
    const store = await open({ AGENT_DESK_STORE: 'c', SHOP_STORE: '' })
    for (const name of ['agent-desk', 'chat', 'shop'] as const)
      await store.domain(name).log.append('s', { type: 'E', data: 1 })
    const health = await store.health()
    expect(health.isHealthy).toBe(true)
    expect(health.domains.map(({ authority, wanted, problems }) => [authority, wanted.by, problems])).toEqual(
      [
        ['c', 'flag', []],
        ['b', 'config', []],
        ['a', 'default', []],
      ],
    )
    expect(await roles(domain)).toEqual(['poisoned', 'vacant', 'authority'])
    expect((await open({ AGENT_DESK_STORE: 'c' })).domain(domain).name).toBe(domain)
  })

  it('is one domain, though processes want it in different places and any of them may die', async () => {
    const seed = Number(process.env.UNDERPIN_SEED ?? 1 + Math.floor(Math.random() * 1e9))
    const random = randomOf(seed)
    for (let round = 0; round < 200; round++) {
      const candidates = [memory(), memory(), memory()].map((backend) => {
        backend.sync.open()
        return backend as Backend
      })
      const creators = Array.from({ length: 4 }, async () => {
        const on = candidates[Math.floor(random() * 3)] as Backend
        const life = 1 + Math.floor(random() * 20)
        const mortal = candidates.map((backend) => dying(backend, { calls: life }, random))
        const here = mortal[candidates.indexOf(on)] as Backend
        await createDomain({ domain: 'app', candidates: mortal, on: here, clock: systemClock }).catch(
          () => undefined,
        )
      })
      await Promise.all(creators)
      const clock = systemClock
      await createDomain({ domain: 'app', candidates, on: candidates[2] as Backend, clock })
      const store = await openStore(
        { a: candidates[0] as Backend, b: candidates[1] as Backend, c: candidates[2] as Backend },
        { domains: { app: {} } },
      )
      await store.domain('app').log.append('s', { type: 'E', data: round })
      const fences = await Promise.all(candidates.map((backend) => backend.fence('app')))
      expect(
        fences.filter(({ role }) => role === 'authority'),
        `seed ${seed} ${JSON.stringify(fences)}`,
      ).toHaveLength(1)
      await store.close()
    }
  })
})

/** A backend as a process sees it that ends before one of its calls. */
function dying(backend: Backend, left: { calls: number }, random: () => number): Backend {
  const call =
    (verb: 'fence' | 'transition') =>
    async (...args: unknown[]) => {
      if (random() < 0.5) await new Promise((resolve) => setImmediate(resolve))
      if (left.calls-- <= 0) throw new Error('the process died')
      return (backend[verb] as (...args: unknown[]) => unknown)(...args)
    }
  return { name: backend.name, fence: call('fence'), transition: call('transition') } as unknown as Backend
}

describe('a flag', () => {
  it('does not change who holds authority: the difference is told, with what to do', async () => {
    const store = await open()
    await store.domain(domain).log.append('s', { type: 'E', data: 1 })
    const flagged = await open({ AGENT_DESK_STORE: 'b' })
    const [health] = (await flagged.health()).domains
    expect(health).toMatchObject({
      authority: 'a',
      head: 1,
      wanted: { backend: 'b', by: 'flag' },
      move: null,
    })
    expect(health?.problems).toEqual([
      'A flag wants it on b, it is on a: underpin move plan -d agent-desk -s URL --to URL (of b)',
    ])
    await moveAndComplete(sidesOf(flagged as never, domain))
    expect((await flagged.health()).domains[0]).toMatchObject({ authority: 'b', problems: [] })
    expect((await store.health()).domains[0]).toMatchObject({ authority: 'b', problems: [] })
  })

  it('of a backend that there is none of is refused, with the names of those there are', async () => {
    await expect(open({ SHOP_STORE: 'postgres' })).rejects.toMatchObject({
      code: 'invalid',
      message: 'The flag SHOP_STORE places domain shop on the backend "postgres", which is not among a, b, c',
    })
    expect(await roles('shop')).toEqual(['vacant', 'vacant', 'vacant'])
  })

  it('that two domains share is refused', async () => {
    const opening = openStore(backends, { domains: { a_b: {}, 'a-b': {} }, env: { A_B_STORE: 'b' } })
    await expect(opening).rejects.toMatchObject({ code: 'invalid' })
  })
})

describe('the health of a store', () => {
  it('tells where a move stands', async () => {
    const store = await open()
    const move = await store.move(domain, { to: 'b' })
    await move.start()
    await move.catchUp()
    expect((await store.health()).domains[0]).toMatchObject({
      authority: 'a',
      move: { from: 'a', to: 'b', stage: 'mirroring' },
      backends: {
        a: { fence: { role: 'authority' } },
        b: { fence: { role: 'follower' } },
        c: { isReachable: true },
      },
    })
    const fence = await backends.a.fence(domain)
    await backends.a.transition(domain, fence, { ...fence, role: 'sealed', epoch: fence.epoch + 1 })
    const { isHealthy, domains: found } = await store.health()
    expect(isHealthy).toBe(false)
    expect(found[0]).toMatchObject({ authority: null, move: { stage: 'sealed' } })
    expect(found[0]?.problems[0]).toContain('the move from a to b is sealed')
  })

  it('tells of a backend that does not answer, in time', async () => {
    const silent = sqlite(`sqlite:${join(folder, 'x.db')}`)
    const store = await openStore({ a: memory(), b: silent }, { domains: { app: {} } })
    stores.push(store)
    silent.fence = () => new Promise(() => {})
    const { isHealthy, domains: found } = await store.health({ timeoutMs: 50 })
    expect(isHealthy).toBe(true)
    expect(found[0]?.backends.b).toMatchObject({ isReachable: false, code: 'timeout' })
    expect(found[0]?.problems).toEqual(['b: no answer within 50 ms'])
  })
})

describe('the limits of both sides', () => {
  class Tight extends Forward {
    override get supports() {
      return { ...this.inner.supports, limits: { valueBytes: 100 } }
    }
    override async apply(...call: Parameters<Backend['apply']>) {
      const isOver = call[2].items.some((item) => item.kind !== 'tombstone' && item.data.length > 100)
      if (isOver) throw new UnderpinError('too-large', 'over 100 bytes')
      return this.inner.apply(...call)
    }
  }

  it('hold for who knows both; what a process writes that knows one only stops the move, and is named', async () => {
    const [a, b] = [memory(), new Tight(memory())]
    const both = await openStore({ a, b }, { domains: { app: {} } })
    const old = await openStore({ a }, { domains: { app: {} } })
    stores.push(both, old)
    const append = (store: typeof both | typeof old, bytes: number) =>
      store.domain('app').log.append('s', { type: 'E', data: 'x'.repeat(bytes) })
    await append(both, 50)
    await expect(append(both, 200)).rejects.toMatchObject({ code: 'too-large' })
    const sides = sidesOf(both as never)
    await start(sides)
    await append(old, 200)
    await append(both, 50)
    await mirrorPage(sides)
    expect(await mirrorPage(sides)).toMatchObject({
      position: 1,
      head: 3,
      gap: { position: 2, code: 'too-large' },
    })
    await expect(cutover(sides)).rejects.toMatchObject({ code: 'gate' })
    await append(both, 50)
    // Behind a cutover only who knows both sides finds the domain: the tighter limits hold from then on.
    const after = await openStore({ a: memory(), b: new Tight(memory()) }, { domains: { app: {} } })
    stores.push(after)
    const alone = await openStore(
      { a: after.backends.get('a') as Backend },
      { domains: { app: {} }, deadlineMs: 1_000 },
    )
    await moveOver(sidesOf(after as never))
    await expect(append(alone as never, 200)).rejects.toMatchObject({ code: 'fenced' })
    await expect(append(after as never, 200)).rejects.toMatchObject({ code: 'too-large' })
  })
})

describe('two domains of one name', () => {
  it('are not opened as one', async () => {
    for (const backend of [backends.a, backends.b])
      await backend.transition('shop', vacantFence, {
        ...{ ...vacantFence, role: 'authority', epoch: 1, incarnation: systemClock.id() },
      })
    await expect(open()).rejects.toMatchObject({ code: 'foreign' })
  })
})
