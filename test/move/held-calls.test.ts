/** Calls that wait for authority, or for the copy, and what ends the wait. */
import { describe, expect, it, vi } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { systemClock } from '../../src/clock.ts'
import { CommitLine } from '../../src/commit-line.ts'
import { openStore, UnderpinError } from '../../src/index.ts'
import type { Outcome } from '../../src/model/commit.ts'
import type { FeedPart } from '../../src/model/page.ts'
import { Awaiting } from '../../src/move/await.ts'
import { reopen, start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { repairCopy } from '../../src/move/repair.ts'
import { look, type Sides } from '../../src/move/sides.ts'
import type { Authority } from '../../src/search.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { FakeClock, idle, watchOutcome } from '../fake-clock.ts'
import { step } from './both-sides.ts'
import { append, createDomain } from './two-sides.ts'

const nothing = { at: 0, writes: [], checks: [] }

async function twoSides(
  make: (backend: Backend) => Backend = (backend) => backend,
  clock = systemClock,
): Promise<Sides> {
  const [source, target] = [memory(), make(memory())]
  await createDomain({ a: source, b: target }, 'app')
  const sides = { domain: 'app', source, target, clock }
  await start(sides)
  await mirrorPage(sides)
  return sides
}

describe('the line of commits', () => {
  it('looks for no authority once all who waited have given up', async () => {
    let answer: (outcomes: readonly Outcome[]) => void = () => {}
    const backend = { commit: () => new Promise((resolve) => (answer = resolve)) } as unknown as Backend
    let known: Authority | undefined = { backend, epoch: 1 }
    const find = vi.fn(() => new Promise<Authority>(() => {}))
    const line = new CommitLine({
      ...{ domain: 'app', clock: systemClock, deadlineMs: 60_000, known: () => known, find },
      ...{ lost: () => {}, failed: () => {}, waited: () => {} },
      nobody: () => new UnderpinError('fenced', 'nobody'),
    })
    const first = line.commit(nothing, undefined)
    known = undefined
    const leaving = new AbortController()
    const second = line.commit(nothing, { signal: leaving.signal })
    leaving.abort()
    await expect(second).rejects.toMatchObject({ code: 'aborted' })
    answer([{ kind: 'committed', positions: [], seqs: [] }])
    expect(await first).toMatchObject({ kind: 'committed' })
    await line.settled()
    expect(find).not.toHaveBeenCalled()
  })
})

describe('a store that is closed', () => {
  it('has settled the calls that wait for an authority, long before their deadline', async () => {
    const backends = { a: memory(), b: memory() }
    const store = await openStore(backends, { domains: { app: {} }, deadlineMs: 600_000 })
    const [source, target] = ['a', 'b'].map((name) => store.backends.get(name)) as [Backend, Backend]
    const sides = { domain: 'app', source, target, clock: systemClock }
    await start(sides)
    await mirrorPage(sides)
    await step(sides, 'seal')
    const appending = watchOutcome(store.domain('app').log.append('s', { type: 'E', data: 1 }))
    await idle()
    expect(appending.state).toBe('pending')
    await store.close()
    expect(appending.state).toBe('closed')
  })
})

describe('acknowledgements that wait for the copy', () => {
  /** A side that takes pages when it is told to, and notes where they begin. */
  class Slow extends Forward {
    held: Promise<void> | undefined
    /** Says that it took a page, and lost it. */
    isForgetful = false
    readonly begins: (number | undefined)[] = []

    override async apply(...call: Parameters<Backend['apply']>): Promise<void> {
      await this.held
      this.begins.push((call[2] as FeedPart).after)
      if (!this.isForgetful) return this.inner.apply(...call)
      this.isForgetful = false
    }
  }

  async function awaiting(clock = systemClock) {
    const slow = { backend: undefined as unknown as Slow }
    const sides = await twoSides((backend) => (slow.backend = new Slow(backend)), clock)
    const waits = new Awaiting(sides)
    await vi.waitFor(() => expect(waits.report.isDegraded).toBe(false))
    const commit = async (signal?: AbortSignal) => {
      await append(sides.source, 'app', 0)
      const { head } = await sides.source.fence('app')
      return waits.onCommitted({ kind: 'committed', positions: [head], seqs: [] }, signal)
    }
    return { sides, waits, commit, target: slow.backend }
  }

  it('give one caller up who leaves, and not the others before their time', async () => {
    const clock = new FakeClock()
    const { waits, commit, target } = await awaiting(clock)
    let release = () => {}
    target.held = new Promise((resolve) => (release = resolve))
    const leaving = new AbortController()
    const first = watchOutcome(commit(leaving.signal))
    await idle()
    await clock.advance(900)
    const second = watchOutcome(commit())
    await idle()
    leaving.abort()
    await idle()
    expect([first.state, second.state]).toEqual([{ value: undefined }, 'pending'])
    await clock.advance(200)
    expect(second.state).toBe('pending')
    expect(waits.report).toMatchObject({ isDegraded: false, timeouts: 0, unawaited: 1 })
    release()
    await idle()
    expect(second.state).toEqual({ value: undefined })
    await waits.end()
  })

  it('come when a copy that lost a page has it again, because every page says where it begins', async () => {
    const { sides, waits, commit, target } = await awaiting()
    target.isForgetful = true
    await commit()
    await commit()
    const [source, copy] = [await sides.source.fence('app'), await sides.target.fence('app')]
    expect(copy).toMatchObject({ head: source.head, digest: source.digest })
    expect(target.begins.slice(1)).not.toContain(undefined)
    await waits.end()
  })
})

describe('a copy', () => {
  it('is made anew only while it follows: not behind a seal', async () => {
    const sides = await twoSides()
    await step(sides, 'seal')
    const before = await look(sides)
    await expect(repairCopy(sides, { fresh: true })).rejects.toMatchObject({ code: 'gate' })
    expect(await look(sides)).toEqual(before)
    await reopen(sides)
    expect(await repairCopy(sides, { fresh: true })).toMatchObject({ how: 'fresh', isDone: true })
    expect((await sides.target.fence('app')).incarnation).not.toBe(before.target.incarnation)
  })
})

describe('a seal whose answer was lost', () => {
  /** Says of a seal that its outcome is unknown. It is in line before whatever changes the fence next. */
  class Late extends Forward {
    #late: (() => Promise<boolean>) | undefined

    override async transition(...call: Parameters<Backend['transition']>): Promise<boolean> {
      if (call[2].role === 'sealed' && this.#late === undefined) {
        this.#late = () => this.inner.transition(...call)
        throw new UnderpinError('unknown', 'The session ended')
      }
      await this.land()
      return this.inner.transition(...call)
    }

    async land(): Promise<void> {
      const late = this.#late
      this.#late = async () => false
      await late?.()
    }
  }

  it('does not seal a source that was said to be open again', async () => {
    const { source, target } = await twoSides()
    const late = new Late(source)
    const sides = { domain: 'app', source: late, target, clock: systemClock }
    await expect(step(sides, 'seal')).rejects.toMatchObject({ code: 'unknown' })
    expect(await reopen(sides)).toBe(true)
    await late.land()
    expect(await source.fence('app')).toMatchObject({ role: 'authority' })
  })
})
