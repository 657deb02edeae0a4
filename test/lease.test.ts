import { beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { Lease, Leases } from '../src/facet/lease.ts'
import { LeasedPort } from '../src/facet/leased-port.ts'
import type { Port } from '../src/facet/port.ts'
import { limits } from '../src/model/limit.ts'
import { encodeValue } from '../src/model/value.ts'
import { createDomain } from '../src/move/create.ts'
import { Route } from '../src/route.ts'
import { FakeClock } from './fake-clock.ts'

const ttlMs = 900

/** One domain, as several processes see it, each with a clock of its own. */
async function processes(): Promise<[Made, Made]> {
  const backend = memory()
  await backend.open()
  const made = async (i: number): Promise<Made> => {
    const clock = new FakeClock()
    const port = new Route('app', [backend], { clock, limits, deadlineMs: 10_000 })
    await createDomain({ domain: 'app', candidates: [backend], on: backend, clock: port.clock })
    await port.declare(new Map([['things', { definition: { fields: {}, indexes: {} }, schema: undefined }]]))
    return { clock, port, leases: new Leases(port, `process ${i}`) }
  }
  return [await made(0), await made(1)]
}
interface Made {
  readonly clock: FakeClock
  readonly port: Port
  readonly leases: Leases
}

const once = { ttlMs, waitMs: 0 }

async function take({ leases }: Made): Promise<Lease> {
  const lease = await leases.acquire('night shift', once)
  if (lease instanceof Lease) return lease
  throw new TypeError(`held by ${lease.holder}`)
}

function put(port: Port, id: string) {
  const write = { kind: 'put', collection: 'things', id, data: encodeValue(1), expiresAt: null } as const
  return port.commit({ at: 0, writes: [write], checks: [] })
}

describe('a lease', () => {
  let first: Made
  let second: Made
  beforeEach(async () => {
    ;[first, second] = await processes()
  })

  it('has one holder; the other is told who it is', async () => {
    await take(first)
    expect(await second.leases.acquire('night shift', once)).toEqual({
      holder: 'process 0',
      retryInMs: ttlMs,
    })
  })

  it('of others is kept in mind as long as there are not too many: who is forgotten is waited for anew', async () => {
    const leases = new Leases(second.port, 'process 1', 10)
    await take(first)
    await leases.acquire('night shift', once)
    const grant = { holder: 'process 0', ttlMs, nonce: '' }
    const writes = Array.from({ length: 10 }, (_, i) => {
      const put = { kind: 'put', collection: '$leases', id: `other ${i}` } as const
      return { ...put, data: encodeValue(grant), expiresAt: null }
    })
    await first.port.commit({ at: 0, writes, checks: [] })
    for (const { id } of writes) await leases.attempt(id, once)
    await second.clock.advance(ttlMs)
    expect(await leases.attempt('other 9', once)).toBeInstanceOf(Lease)
    expect(await leases.attempt('night shift', once)).toMatchObject({ retryInMs: ttlMs })
    expect(await leases.attempt('other 8', once)).toBeInstanceOf(Lease)
  })

  it('can be taken at once when it was given back, under a higher token', async () => {
    const lease = await take(first)
    expect(await lease.release()).toBe(true)
    expect((await take(second)).token).toBeGreaterThan(lease.token)
  })

  it('stays with a holder that renews it, however long another waits', async () => {
    const lease = await take(first)
    for (let i = 0; i < 20; i++) {
      await first.clock.advance(ttlMs / 2)
      await second.clock.advance(ttlMs / 2)
      expect(await second.leases.acquire('night shift', once)).toMatchObject({ holder: 'process 0' })
    }
    expect(lease.signal.aborted).toBe(false)
  })

  it('is taken over from a holder without a sign of life for its time, and not before', async () => {
    await take(first)
    await second.leases.acquire('night shift', once)
    await second.clock.advance(ttlMs - 1)
    expect(await second.leases.acquire('night shift', once)).toMatchObject({ retryInMs: 1 })
    await second.clock.advance(1)
    await take(second)
  })

  it('is not taken over by a process that has just begun to look, whatever its clock says', async () => {
    await take(first)
    await second.clock.advance(3_600_000)
    expect(await second.leases.acquire('night shift', once)).toMatchObject({ retryInMs: ttlMs })
  })

  it('that was lost has its commits refused by the store, and aborts its signal', async () => {
    const lease = await take(first)
    const port = new LeasedPort(first.port, lease)
    expect(await put(port, 'a')).toMatchObject({ kind: 'committed' })
    await second.leases.acquire('night shift', once)
    await second.clock.advance(ttlMs)
    await take(second)
    const head = await first.port.head()
    await expect(put(port, 'b')).rejects.toMatchObject({ code: 'lost-lease' })
    expect(await first.port.head()).toBe(head)
    expect(lease.signal.reason).toMatchObject({ code: 'lost-lease' })
    expect(await lease.release()).toBe(false)
  })

  it('that cannot be renewed is lost when its time is over', async () => {
    const lease = await take(first)
    const deaf = first.port as unknown as { commit: unknown }
    deaf.commit = () => new Promise(() => {})
    await first.clock.advance(ttlMs - 1)
    expect(lease.signal.aborted).toBe(false)
    await first.clock.advance(1)
    expect(lease.signal.reason).toMatchObject({ code: 'lost-lease' })
  })

  it('is waited for as long as asked, and handed on when it is given back', async () => {
    const lease = await take(first)
    const waiting = second.leases.acquire('night shift', { ttlMs, waitMs: 300 })
    await second.clock.advance(200)
    await lease.release()
    await second.clock.advance(100)
    expect(await waiting).toBeInstanceOf(Lease)
  })

  it('ends its waiting when the signal aborts', async () => {
    await take(first)
    const abort = new AbortController()
    const waiting = second.leases.acquire('night shift', { ttlMs, waitMs: 300, signal: abort.signal })
    await second.clock.advance(10)
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' })
  })

  it('leaves no timers behind when it was given back', async () => {
    const lease = await take(first)
    await first.clock.advance(ttlMs)
    await lease.release()
    expect(first.clock.timers).toBe(0)
  })
})
