/** What the wrappers of a store do together that none of them does alone. */
import { describe, expect, it } from 'vitest'
import { UnderpinError } from '../src/error.ts'
import { standardWrappers } from '../src/store.ts'
import { Forward, wrap } from '../src/wrapper/forward.ts'
import { FakeClock } from './fake-clock.ts'
import { openLine } from './line.ts'

/** A backend that takes a while to say that it cannot be reached. */
class Slow extends Forward {
  clock = new FakeClock()
  override get supports() {
    return { ...this.inner.supports, sync: false, durability: 'durable' } as const
  }
  override get sync() {
    return undefined
  }
  override async commit(): Promise<never> {
    await new Promise<void>((resolve) => this.clock.timer(7, resolve))
    throw new UnderpinError('unavailable', 'busy')
  }
}

describe('the wrappers of a store', () => {
  it.each([0, 3, 100, 249])(
    'tell a commit that nothing was written, if the store stays busy up to the deadline (calls began %s ms before)',
    async (earlier) => {
      const slow = new Slow(await openLine('app'))
      const store = wrap(slow, standardWrappers(slow.clock, 1_000))
      const first = store.commit('app', 1, [{ at: 0, writes: [], checks: [] }]).catch((error) => error.code)
      await slow.clock.advance(earlier)
      const second = store.commit('app', 1, [{ at: 0, writes: [], checks: [] }]).catch((error) => error.code)
      await slow.clock.advance(2_500)
      expect([await first, await second]).toEqual([
        'unavailable',
        expect.stringMatching(/^(unavailable|timeout)$/),
      ])
    },
  )
})
