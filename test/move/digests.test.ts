/** Running digests are compared by movers whenever the heads meet, and a difference is in the way of a cutover. */
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { systemClock } from '../../src/clock.ts'
import { Move } from '../../src/move/move.ts'
import { Pulse } from '../../src/move/pulse.ts'
import type { MoveStatus } from '../../src/move/status.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { append, createDomain } from './two-sides.ts'

/** A copy that takes a page, and leaves its last document out. */
class Forgetful extends Forward {
  override async apply(...[domain, epoch, page, options]: Parameters<Backend['apply']>): Promise<void> {
    const last = page.repair ? undefined : page.items.findLast(({ kind }) => kind === 'document')
    await this.inner.apply(
      domain,
      epoch,
      { ...page, items: page.items.filter((item) => item !== last) },
      options,
    )
  }
}

const gateOf = ({ gates }: MoveStatus) => gates.find(({ name }) => name === 'no-divergence')

let sides: { a: Backend; b: Backend }
let move: Move

/** A mover has seen the heads meet, and the digests differ. */
beforeEach(async () => {
  sides = { a: memory(), b: new Forgetful(memory()) }
  await createDomain(sides, 'app')
  const ends = { from: { name: 'a', backend: sides.a }, to: { name: 'b', backend: sides.b } }
  move = new Move('app', ends, systemClock)
  await move.start()
  const stop = new AbortController()
  const running = move.run({ signal: stop.signal })
  await expect
    .poll(async () => (await move.status()).mover?.digests)
    .toMatchObject({ isEqual: false, head: expect.any(Number) })
  stop.abort()
  await running
})
afterEach(() => Promise.all([sides.a.close(), sides.b.close()]))

it('what a mover saw when the heads met is a gate, with its age, until a comparison says more', async () => {
  await append(sides.a, 'app', 12)
  const status = await move.status()
  expect(status.head).toBeGreaterThan(status.position as number)
  expect(gateOf(status)).toMatchObject({
    holds: false,
    found: expect.stringMatching(/^the digests differed at position \d+, .* ago$/),
    clears: expect.stringContaining('underpin move verify'),
  })
  await expect(move.cutover()).rejects.toMatchObject({ code: 'gate' })
  expect(await move.repair()).toMatchObject({ isDone: true })
  expect(gateOf(await move.status())).toMatchObject({ holds: true })
})

it('is remembered by a mover that begins anew and has not seen the heads meet', async () => {
  const before = (await move.status()).mover
  const { a: source, b: target } = sides
  await new Pulse({ domain: 'app', source, target, clock: systemClock }).beat({ position: 3, head: 4 })
  expect((await move.status()).mover).toMatchObject({ position: 3, digests: before?.digests })
})

it('is remembered while a cutover is held', async () => {
  const before = (await move.status()).mover
  const over = new AbortController()
  const cutting = move.cutover({ hold: true, force: true, signal: over.signal })
  const refused = expect(cutting).rejects.toMatchObject({ code: 'aborted' })
  await expect.poll(async () => (await move.status()).mover?.position).not.toBe(before?.position)
  expect((await move.status()).mover?.digests).toEqual(before?.digests)
  over.abort()
  await refused
})
