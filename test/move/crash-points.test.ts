/**
 * A process that drives a move is killed at each of its calls, before the call took effect or behind it. Whatever it
 * left: `status` says it in words, one command resolves it, and the same step by another process reaches its goal.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { MoveStatus, NextStep } from '../../src/index.ts'
import { isUnderpinError } from '../../src/index.ts'
import type { Move } from '../../src/move/move.ts'
import { placePairs } from '../places.ts'
import { append as appendProof } from '../proof.ts'
import { Crash, Crashing, Killed } from './crashing.ts'
import { append, closeSides, createDomain, eventsOf, moveOf, openSides, type TwoSides } from './two-sides.ts'

interface Step {
  readonly name: string
  /** Brings the move to where the step begins. */
  readonly before: (move: Move) => Promise<unknown>
  readonly take: (move: Move) => Promise<unknown>
  /** The phase that the step leads to. */
  readonly leadsTo: MoveStatus['phase']
}

const follow = async (move: Move) => {
  await move.start()
  await move.catchUp()
  await move.verify()
}
const cutOver = async (move: Move) => {
  await follow(move)
  await move.cutover()
}

const steps: readonly Step[] = [
  { name: 'start', before: async () => {}, take: (move) => move.start({ by: 'ann' }), leadsTo: 'mirroring' },
  { name: 'cutover', before: follow, take: (move) => move.cutover({ by: 'ann' }), leadsTo: 'reversed' },
  { name: 'rollback', before: cutOver, take: (move) => move.rollback({ by: 'ann' }), leadsTo: 'mirroring' },
  { name: 'complete', before: cutOver, take: (move) => move.complete({ by: 'ann' }), leadsTo: 'completed' },
  { name: 'cancel', before: follow, take: (move) => move.cancel({ by: 'ann' }), leadsTo: 'none' },
]

/** Does what `status` proposes. */
async function resolve(move: Move, { verb }: NextStep): Promise<void> {
  if (verb === 'run') await move.catchUp()
  else if (verb !== 'soak' && verb !== 'repair') await move[verb]()
}

const resting: readonly MoveStatus['phase'][] = ['none', 'mirroring', 'reversed', 'completed']
const isMemory = (name: string) => name === 'memory to memory'

describe.each(placePairs)('a move from $name whose driver is killed', ({ name, a, b, missing }) => {
  let sides: TwoSides
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    sides = await openSides(a, b)
  })
  afterEach(() => sides && closeSides(sides))

  it.each(steps)(
    'at any call of $name is explained, and one command resolves it',
    async (step) => {
      const since = performance.now()
      // On servers behind each call that writes, so once in every state that can be found; all with UNDERPIN_CRASH_POINTS=1.
      const onlyWrites = !isMemory(name) && process.env.UNDERPIN_CRASH_POINTS === undefined
      const proposals = new Map<string, number>()
      let [killed, stuck] = [0, 0]
      for (const takesEffect of onlyWrites ? [true] : [false, true]) {
        for (let at = 1; ; at++) {
          const domain = `d${takesEffect ? 1 : 0}-${at}`
          await createDomain(sides, domain)
          await step.before(moveOf(sides, domain))
          const crash = new Crash(at, takesEffect, onlyWrites)
          const dying = { a: new Crashing(sides.a, crash), b: new Crashing(sides.b, crash) }
          const [taken] = await Promise.allSettled([step.take(moveOf(dying, domain))])
          if (!crash.isOver) {
            expect(taken?.status).toBe('fulfilled')
            break
          }
          if (taken?.status === 'rejected') expect(taken.reason).toBeInstanceOf(Killed)
          killed++
          const proposal = await goOn(domain, step)
          if (proposal === undefined) stuck++
          else proposals.set(proposal, (proposals.get(proposal) ?? 0) + 1)
        }
      }
      const seconds = Math.round((performance.now() - since) / 100) / 10
      console.log(
        `${name}, ${step.name}: killed at ${killed} calls, stuck ${stuck} (${seconds} s)`,
        Object.fromEntries(proposals),
      )
      appendProof({
        promise: `killed at any call of ${step.name}, one command resolves it`,
        backend: name,
        ...{ tried: killed, failed: stuck, unknown: 0, seed: 0, seconds },
      })
      expect(stuck).toBe(0)
      expect(killed).toBeGreaterThan(2)
    },
    120_000,
  )

  /** What was found and done, in short; undefined if it did not lead out. */
  async function goOn(domain: string, step: Step): Promise<string | undefined> {
    const move = moveOf(sides, domain)
    const found = await move.status()
    expect(found.explanation).not.toBe('')
    const [first] = found.next
    let done = found.phase as string
    if (!resting.includes(found.phase) || (first !== undefined && found.authority === null)) {
      if (first === undefined) return undefined
      await resolve(move, first)
      done += ` > ${first.verb}`
      const { phase, authority } = await move.status()
      if (!resting.includes(phase) || authority === null) return undefined
    }
    await repeat(move, step)
    const { phase, authority, explanation } = await move.status()
    expect({ phase, explanation }).toMatchObject({ phase: step.leadsTo })
    expect(authority).not.toBe(null)
    const on = authority === 'a' ? sides.a : sides.b
    await append(on, domain, 12)
    expect(await eventsOf(sides, domain)).toEqual(Array.from({ length: 13 }, (_, i) => i))
    if (step.name === 'cutover' || step.name === 'rollback') await checkReports(move, step)
    const left = await move.status()
    if (step.name === 'complete') expect(left).toMatchObject({ record: undefined, next: [] })
    if (step.name === 'cancel') expect(left).toMatchObject({ record: undefined, next: [{ verb: 'start' }] })
    return done
  }

  /** The same step, by another process: unless what was proposed went elsewhere, or all the way. */
  async function repeat(move: Move, step: Step): Promise<void> {
    const { phase } = await move.status()
    if (phase === step.leadsTo && step.name !== 'complete' && step.name !== 'cancel' && step.name !== 'start')
      return
    if (phase === 'none' && step.name === 'cutover') await follow(move)
    try {
      await step.take(move)
    } catch (error) {
      if (!isUnderpinError(error, 'gate')) throw error
      expect((await move.status()).phase).toBe(step.leadsTo)
    }
  }

  /** Every cutover that took place is noted once, with what both sides held then. */
  async function checkReports(move: Move, step: Step): Promise<void> {
    const reports = await move.report()
    expect(new Set(reports.map(({ epoch }) => epoch)).size).toBe(reports.length)
    const last = reports.at(-1)
    expect(last).toMatchObject({ to: step.name === 'cutover' ? 'b' : 'a' })
    expect(last?.digest).toMatch(/^[0-9a-f]{32}$/)
  }
})
