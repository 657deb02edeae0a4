/** Every order of events that a move can meet, within budgets; and the model put to the proof by bugs planted in the rules. */
import { describe, expect, it } from 'vitest'
import * as real from '../../src/move/protocol.ts'
import { type Budget, explore, type Protocol, type Rules, trueRules } from './model.ts'

/** A larger exploration: UNDERPIN_MODEL='{"writes":2,"prepares":2,"seals":2,"cancels":1}' (more memory, minutes). */
const budgets: readonly Budget[] = process.env.UNDERPIN_MODEL
  ? [JSON.parse(process.env.UNDERPIN_MODEL)]
  : [
      { writes: 1, prepares: 2, seals: 1, cancels: 1 },
      { writes: 1, prepares: 1, seals: 2, cancels: 1 },
    ]

describe('a move of a domain between two stores, by two coordinators with stale views, under two writers with stale caches', () => {
  it.each(budgets)(
    'has one authority, loses nothing and is never stuck: %o',
    (budget) => {
      const since = performance.now()
      const { states, violations } = explore(trueRules, budget)
      const seconds = Math.round((performance.now() - since) / 100) / 10
      console.log(`${JSON.stringify(budget)}: ${states} states, ${violations.size} violations (${seconds} s)`)
      expect([...violations]).toEqual([])
      expect(states).toBeGreaterThan(100_000)
    },
    1_800_000,
  )
})

const small: Budget = { writes: 2, prepares: 1, seals: 1, cancels: 1 }
const twoCopies: Budget = { writes: 1, prepares: 2, seals: 1, cancels: 1 }
const backAgain: Budget = { writes: 1, prepares: 1, seals: 2, cancels: 1 }

const mutant = (change: Partial<Protocol>): Rules => ({ ...trueRules, protocol: { ...real, ...change } })

/** Whatever the rule refuses is allowed when it is refused for this reason only. */
const planted: readonly [string, Rules, Budget, string][] = [
  [
    'a write without the check of the epoch and the role',
    { ...trueRules, accepts: (fence) => fence.role !== 'vacant' },
    small,
    'an acknowledged write is lost',
  ],
  [
    'reclaim from a copy that is not poisoned',
    mutant({
      reclaim: ({ source }) =>
        source.role === 'handed-off'
          ? {
              at: 'source',
              from: source,
              to: { ...source, role: 'authority', epoch: source.epoch + 1, successor: null },
            }
          : { why: 'not handed off' },
    }),
    small,
    'two authorities',
  ],
  ['no reclaim at all', mutant({ reclaim: () => ({ why: 'never' }) }), small, 'no authority can be reached'],
  [
    'cancel that poisons the target and leaves the source as it is',
    mutant({
      poison: ({ target }) =>
        target.role === 'follower' || target.role === 'prepared'
          ? { at: 'target', from: target, to: { ...target, role: 'vacant', successor: null } }
          : { why: 'no copy' },
    }),
    small,
    'no authority can be reached',
  ],
  [
    'decide without a drained head',
    mutant({
      decide: ({ source, target }) =>
        source.role === 'sealed' && target.role === 'follower' && source.successor === target.incarnation
          ? { at: 'source', from: source, to: { ...source, role: 'handed-off' } }
          : { why: 'not sealed' },
      open: ({ source, target }) =>
        source.role === 'handed-off' && target.role === 'follower' && source.successor === target.incarnation
          ? {
              at: 'target',
              from: target,
              to: { ...target, role: 'authority', epoch: source.epoch, successor: source.incarnation },
            }
          : { why: 'not decided' },
    }),
    small,
    'an acknowledged write is lost',
  ],
  [
    'open without a decision',
    mutant({
      open: ({ source, target }) =>
        (source.role === 'handed-off' || source.role === 'sealed') && target.role === 'follower'
          ? {
              at: 'target',
              from: target,
              to: { ...target, role: 'authority', epoch: source.epoch, successor: source.incarnation },
            }
          : { why: 'not sealed' },
    }),
    small,
    'two authorities',
  ],
  [
    'open by a decision of an earlier cutover',
    mutant({
      open: (view) => real.open({ ...view, target: { ...view.target, epoch: 0 } }) as real.Decision,
    }),
    backAgain,
    'no authority can be reached',
  ],
  [
    'turning to follow what was seen before it was decided for',
    mutant({
      turn: (view) => real.turn({ ...view, target: { ...view.target, epoch: Number.MAX_SAFE_INTEGER } }),
    }),
    backAgain,
    'no authority can be reached',
  ],
  [
    'a new copy over a poisoned one, by a source seen before',
    mutant({ prepare: (view, incarnation) => real.prepare({ ...view, last: 'source' }, incarnation) }),
    twoCopies,
    'no authority can be reached',
  ],
]

describe('the model', () => {
  it.each(planted)(
    'catches %s',
    (_bug, rules, budget, violation) => {
      expect([...explore(rules, budget, violation).violations.keys()]).toContain(violation)
    },
    120_000,
  )
})
