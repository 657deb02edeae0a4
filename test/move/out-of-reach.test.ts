/** A move one of whose sides does not answer: what is said of it, and what leads on. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Backend, type MoveStatus, UnderpinError } from '../../src/index.ts'
import { Move } from '../../src/move/move.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { fastClock } from '../fast-clock.ts'
import { placePairs } from '../places.ts'
import { append, closeSides, createDomain, moveOf, openSides, type TwoSides } from './two-sides.ts'

/** A backend that does not answer, or refuses its next calls of a verb. */
class Moody extends Forward {
  isAway = false
  /** Calls of `apply` that fail as if the store had been out of reach. */
  refuses: 'nothing' | 'apply' | 'transition' | 'changes' = 'nothing'
  error = new UnderpinError('unavailable', 'Nobody answers')

  #answer<T>(verb: string, call: () => Promise<T>): Promise<T> {
    if (!this.isAway && this.refuses !== verb) return call()
    return Promise.reject(this.error)
  }
  override fence(...call: Parameters<Backend['fence']>) {
    return this.#answer('fence', () => this.inner.fence(...call))
  }
  override commit(...call: Parameters<Backend['commit']>) {
    return this.#answer('commit', () => this.inner.commit(...call))
  }
  override get(...call: Parameters<Backend['get']>) {
    return this.#answer('get', () => this.inner.get(...call))
  }
  override scan(...call: Parameters<Backend['scan']>) {
    return this.#answer('scan', () => this.inner.scan(...call))
  }
  override changes(...call: Parameters<Backend['changes']>) {
    return this.#answer('changes', () => this.inner.changes(...call))
  }
  override apply(...call: Parameters<Backend['apply']>) {
    return this.#answer('apply', () => this.inner.apply(...call))
  }
  override transition(...call: Parameters<Backend['transition']>) {
    return this.#answer('transition', () => this.inner.transition(...call))
  }
}

describe('a move one of whose sides is out of reach', () => {
  const [pair] = placePairs
  let sides: TwoSides
  let a: Moody
  let b: Moody
  let move: Move
  beforeEach(async () => {
    if (pair === undefined) throw new Error('There is no pair')
    sides = await openSides(pair.a, pair.b)
    await createDomain(sides, 'd')
    a = new Moody(sides.a)
    b = new Moody(sides.b)
    // Who is out of reach is waited for.
    move = moveOf({ a, b }, 'd', fastClock())
    await move.start()
    await move.catchUp()
    await move.verify()
  })
  afterEach(() => closeSides(sides))

  const status = (): Promise<MoveStatus> => move.status()

  it('says which one does not answer, and what is known all the same', async () => {
    b.isAway = true
    expect(await status()).toMatchObject({
      ...{
        phase: 'unreachable',
        authority: 'a',
        position: null,
        unreachable: [{ backend: 'b' }],
        canCutOver: false,
      },
      record: { from: 'a', to: 'b' },
      explanation: expect.stringContaining('b does not answer'),
    })
    await expect(move.cutover({ force: true })).rejects.toMatchObject({ code: 'unavailable' })
    ;[a.isAway, b.isAway] = [true, false]
    expect(await status()).toMatchObject({
      phase: 'unreachable',
      authority: null,
      unreachable: [{ backend: 'a' }],
    })
    b.isAway = true
    expect(await status()).toMatchObject({ phase: 'unreachable', explanation: 'Neither a nor b answers.' })
  })

  it('says where it stands though the next record of its source cannot be read', async () => {
    await append(a, 'd', 12)
    const { position } = await status()
    a.refuses = 'changes'
    a.error = new UnderpinError('damaged', 'Event 13 is not what was written')
    expect(await status()).toMatchObject({ phase: 'mirroring', position, record: { from: 'a', to: 'b' } })
  })

  it('is cancelled though its copy is gone for good; the copy can never open, and is poisoned when it comes back', async () => {
    b.isAway = true
    const { isPoisoned, owed } = await move.cancel({ by: 'ann' })
    expect({ isPoisoned, owed }).toEqual({
      isPoisoned: false,
      owed: expect.stringContaining('can never open'),
    })
    expect((await a.fence('d')).successor).toBe(null)
    await append(sides.a, 'd', 12)
    b.isAway = false
    const left = await status()
    expect(left).toMatchObject({
      phase: 'none',
      authority: 'a',
      next: [{ verb: 'cancel' }, { verb: 'start' }],
    })
    await expect(move.cutover({ force: true })).rejects.toMatchObject({ code: 'gate' })
    expect(await move.cancel()).toEqual({ isPoisoned: true, owed: null })
    expect((await sides.b.fence('d')).role).toBe('poisoned')
    expect(await status()).toMatchObject({ next: [{ verb: 'start' }] })
  })

  it('throws a copy that was left away when it is started anew', async () => {
    b.isAway = true
    await move.cancel()
    b.isAway = false
    await move.start()
    await move.catchUp()
    expect(await status()).toMatchObject({ phase: 'mirroring', record: { verified: null } })
  })

  it('opens its source again when the target goes away behind the seal', async () => {
    const taken = a.transition.bind(a)
    // A write that is acknowledged just before the seal, so that something is left to drain.
    a.transition = async (...call) => {
      if (call[2].role === 'sealed') {
        b.refuses = 'apply'
        await append(sides.a, 'd', 12)
      }
      return taken(...call)
    }
    await expect(move.cutover({ maxPauseMs: 100, force: true })).rejects.toMatchObject({ code: 'gate' })
    expect((await sides.a.fence('d')).role).toBe('authority')
    b.refuses = 'nothing'
    a.transition = taken
    expect((await status()).record?.attempt?.givenUp).toMatchObject({ why: expect.any(String) })
    await append(sides.a, 'd', 13)
    await move.cutover()
    expect(await status()).toMatchObject({ phase: 'reversed', authority: 'b' })
  })

  it('explains a decision whose target cannot be opened, and any call goes on with it', async () => {
    b.refuses = 'transition'
    await expect(move.cutover()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('was decided'),
    })
    expect(await status()).toMatchObject({ phase: 'decided', authority: null, next: [{ verb: 'cutover' }] })
    b.isAway = true
    expect(await status()).toMatchObject({
      phase: 'unreachable',
      explanation: expect.stringContaining('handed off'),
    })
    await expect(move.cancel()).rejects.toMatchObject({ code: 'unavailable' })
    ;[b.isAway, b.refuses] = [false, 'nothing']
    expect(await move.cutover()).toMatchObject({ to: 'b', pauseMs: null })
    expect(await status()).toMatchObject({ phase: 'reversed', authority: 'b' })
  })

  it('gives a copy up whose place was emptied, and can begin anew', async () => {
    if (pair === undefined) throw new Error('There is no pair')
    const emptied = await openSides(pair.a, pair.b)
    const left = moveOf({ a, b: emptied.b }, 'd')
    expect(await left.status()).toMatchObject({
      ...{ authority: 'a', record: { to: 'b' }, next: [{ verb: 'cancel' }] },
      explanation: expect.stringContaining('its place is empty'),
    })
    await left.cancel()
    expect(await left.status()).toMatchObject({ phase: 'none', record: undefined, next: [{ verb: 'start' }] })
    await left.start()
    expect(await left.status()).toMatchObject({ phase: 'mirroring' })
    await closeSides(emptied)
  })

  it('never takes back what it handed off to a copy that it does not see', async () => {
    if (pair === undefined) throw new Error('There is no pair')
    b.refuses = 'transition'
    await expect(move.cutover()).rejects.toMatchObject({ code: 'unavailable' })
    const emptied = await openSides(pair.a, pair.b)
    const left = moveOf({ a, b: emptied.b }, 'd')
    expect(await left.status()).toMatchObject({ authority: null, next: [{ verb: 'status' }] })
    await expect(left.cancel()).rejects.toMatchObject({ code: 'gate' })
    b.refuses = 'nothing'
    expect(await move.cutover()).toMatchObject({ to: 'b' })
    await closeSides(emptied)
  })

  it('never cancels a move to somewhere else', async () => {
    if (pair === undefined) throw new Error('There is no pair')
    const others = await openSides(pair.a, pair.b)
    const c = new Moody(others.a)
    const elsewhere = new Move(
      'd',
      { from: { name: 'a', backend: a }, to: { name: 'c', backend: c } },
      fastClock(),
    )
    await elsewhere.cancel()
    expect(await status()).toMatchObject({ phase: 'mirroring', record: { to: 'b' } })
    c.isAway = true
    await expect(elsewhere.cancel()).rejects.toMatchObject({ code: 'unavailable' })
    expect(await status()).toMatchObject({ phase: 'mirroring', record: { to: 'b' } })
    await closeSides(others)
  })
})
