import { describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { systemClock } from '../src/clock.ts'
import { portOf } from '../src/facet/domain.ts'
import { openStore, standardWrappers } from '../src/store.ts'
import { Forward, wrap } from '../src/wrapper/forward.ts'
import { failing, open } from './shop.ts'

/** A backend over a network that has gone silent: calls reach nobody, or reach it and the answer is lost. */
class Silent extends Forward {
  isSilent = false

  override get supports() {
    return { ...this.inner.supports, sync: false, durability: 'durable' } as const
  }

  override get sync() {
    return undefined
  }

  override async commit(...call: Parameters<Backend['commit']>) {
    const outcomes = await this.inner.commit(...call)
    return this.isSilent ? forever<typeof outcomes>() : outcomes
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.isSilent ? forever<Awaited<ReturnType<Backend['fence']>>>() : this.inner.fence(...call)
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.isSilent ? forever<Awaited<ReturnType<Backend['read']>>>() : this.inner.read(...call)
  }
}

const forever = <T>() => new Promise<T>(() => {})

describe('a store whose backend does not answer', () => {
  async function openSilent(deadlineMs = 500) {
    const backend = new Silent(memory())
    const store = await open(backend, deadlineMs)
    const { log } = store.domain('chat')
    await log.append('s', { type: 'said', data: 0 })
    backend.isSilent = true
    return { backend, store, log }
  }

  it('ends a read with timeout and a commit with unknown, within the deadline', async () => {
    const { log } = await openSilent()
    const since = performance.now()
    await expect(log.read('s')).rejects.toEqual(failing('timeout'))
    await expect(log.append('s', { type: 'said', data: 1 })).rejects.toEqual(failing('unknown'))
    expect(performance.now() - since).toBeLessThan(3_000)
  })

  it('ends a watch without an error when its signal aborts while authority is looked for', async () => {
    const backend = new Silent(memory())
    const store = await openStore(wrap(backend, standardWrappers(systemClock, 10_000)), {
      domains: { chat: {} },
    })
    backend.isSilent = true
    const ending = new AbortController()
    const watching = portOf(store.domain('chat')).watch(ending.signal)[Symbol.asyncIterator]().next()
    ending.abort()
    expect(await watching).toEqual({ done: true, value: undefined })
    backend.isSilent = false
    await store.close()
  })

  it('ends a read with aborted and a commit in flight with unknown when the signal aborts', async () => {
    const { log } = await openSilent()
    const calls = (['read', 'append'] as const).map((verb) => {
      const ending = new AbortController()
      setTimeout(() => ending.abort(), 20)
      const { signal } = ending
      return verb === 'read'
        ? log.read('s', { signal })
        : log.append('s', { type: 'said', data: 1 }, { signal })
    })
    const results = await Promise.allSettled(calls)
    expect(results).toEqual(
      ['aborted', 'unknown'].map((code) => ({ status: 'rejected', reason: failing(code) })),
    )
  })

  it('has settled every pending call when close returns', async () => {
    const { store, log } = await openSilent()
    const settled: string[] = []
    const note = (error: { code: string }) => void settled.push(error.code)
    log.read('s').catch(note)
    log.append('s', { type: 'said', data: 1 }).catch(note)
    await store.close()
    expect(settled.toSorted()).toHaveLength(2)
  })

  it('finds out by its id, when the line is back, that a commit had been applied', async () => {
    const { backend, log } = await openSilent()
    const event = { type: 'said', data: 1 }
    await expect(log.append('s', event, { id: 'r1' })).rejects.toEqual(failing('unknown'))
    backend.isSilent = false
    expect(await log.append('s', event, { id: 'r1' })).toMatchObject({ seqs: [2], isReplay: true })
    expect(await log.seq('s')).toBe(2)
  })

  it('does not keep a caller beyond the deadline to find out by an id', async () => {
    const deadlineMs = 1_000
    const { backend, log } = await openSilent(deadlineMs)
    const since = performance.now()
    await expect(log.append('s', { type: 'said', data: 1 }, { id: 'r1' })).rejects.toEqual(failing('unknown'))
    // Finding out has no deadline of its own, which would end at twice this one.
    expect(performance.now() - since).toBeLessThan(1.5 * deadlineMs)
    backend.isSilent = false
  })
})
