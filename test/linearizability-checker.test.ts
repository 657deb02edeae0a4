import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isLinearizable } from './linearizability/brute.ts'
import { type Answer, type Call, check, type Expectation, type Operation } from './linearizability/checker.ts'

const document = { isGapless: false }
const stream = { isGapless: true }

/** One operation a line: when it was called and answered, what was asked, what was answered. */
const op = (from: number, to: number, call: Call, answer: Answer): Operation => ({ from, to, call, answer })
const read = (from: number, to: number, revision: number, value: number | null): Operation =>
  op(from, to, { kind: 'read' }, { kind: 'found', revision, value })
const asked = (value: number | null, expect: Expectation | undefined): Call =>
  expect === undefined ? { kind: 'write', value } : { kind: 'write', value, expect }
const write = (from: number, to: number, value: number | null, revision: number, expect?: Expectation) =>
  op(from, to, asked(value, expect), { kind: 'written', revision })
const conflict = (from: number, to: number, value: number, expect: Expectation, found: number) =>
  op(from, to, asked(value, expect), { kind: 'conflict', found })
const lost = (from: number, value: number | null, expect?: Expectation) =>
  op(from, Number.POSITIVE_INFINITY, asked(value, expect), { kind: 'unknown' })

describe('the linearizability checker finds nothing wrong with', () => {
  it.each<[string, Operation[]]>([
    ['an empty history', []],
    ['reads of nothing', [read(1, 2, 0, null), read(3, 4, 0, null)]],
    ['a write and reads behind it', [write(1, 2, 7, 3), read(3, 4, 3, 7), read(5, 6, 3, 7)]],
    ['a read that saw a write before it was acknowledged', [write(1, 9, 7, 3), read(2, 3, 3, 7)]],
    ['a read beside a write that did not see it', [write(1, 9, 7, 3), read(2, 3, 0, null)]],
    [
      'writes answered in another order than they took effect',
      [write(1, 8, 7, 5), write(2, 9, 8, 4), read(10, 11, 5, 7)],
    ],
    [
      'a deletion',
      [write(1, 2, 7, 3), write(3, 4, null, 4, 3), read(5, 6, 0, null), write(7, 8, 9, 6, 'absent')],
    ],
    [
      'one winner and one loser of a race',
      [write(1, 9, 7, 3, 'absent'), conflict(2, 8, 8, 'absent', 3), read(10, 11, 3, 7)],
    ],
    [
      'a write of unknown outcome that never happened',
      [lost(1, 7), read(3, 4, 0, null), write(5, 6, 8, 2, 'absent')],
    ],
    ['a write of unknown outcome that happened late', [lost(1, 7), read(3, 4, 0, null), read(5, 6, 9, 7)]],
    [
      'a write of unknown outcome that only a conflict tells of',
      [lost(1, 7), conflict(3, 4, 8, 'absent', 9)],
    ],
    [
      'a write of unknown outcome that another one expected',
      [lost(1, 7), write(2, 3, 8, 5, 4), read(4, 5, 5, 8)],
    ],
    [
      'a write of unknown outcome between two others',
      [write(1, 2, 7, 3), lost(3, 8), write(4, 5, 9, 5), read(6, 7, 5, 9)],
    ],
    [
      'a deletion of unknown outcome',
      [write(1, 2, 7, 3), lost(3, null), read(4, 5, 3, 7), read(6, 7, 0, null)],
    ],
  ])('%s', (_name, operations) => {
    expect(check(document, operations).kind).toBe('linearizable')
    expect(isLinearizable(document, operations)).toBe(true)
  })

  it.each<[string, Operation[]]>([
    ['appends one after another', [write(1, 2, 7, 1), write(3, 4, 8, 2, 1), read(5, 6, 2, 8)]],
    ['an append of unknown outcome', [write(1, 2, 7, 1), lost(3, 8), write(4, 5, 9, 3, 2), read(6, 7, 3, 9)]],
    [
      'two appends of unknown outcome, of which one happened',
      [lost(1, 7), lost(2, 8), read(3, 4, 1, 8), write(5, 6, 9, 2)],
    ],
  ])('a stream with %s', (_name, operations) => {
    expect(check(stream, operations).kind).toBe('linearizable')
    expect(isLinearizable(stream, operations)).toBe(true)
  })
})

describe('the linearizability checker finds', () => {
  it.each<[string, Operation[]]>([
    ['a stale read', [write(1, 2, 7, 3), write(3, 4, 8, 4), read(5, 6, 3, 7)]],
    ['a read of nothing behind a write', [write(1, 2, 7, 3), read(3, 4, 0, null)]],
    ['a read that goes back behind another one', [write(1, 9, 7, 3), read(2, 3, 3, 7), read(4, 5, 0, null)]],
    ['a lost update', [write(1, 2, 7, 3), write(3, 8, 8, 4, 3), write(4, 9, 9, 5, 3)]],
    ['a read of a value that nobody wrote', [write(1, 2, 7, 3), read(3, 4, 3, 99)]],
    ['a revision that nobody wrote', [write(1, 2, 7, 3), read(3, 4, 4, 7)]],
    [
      'an acknowledged write that vanished',
      [write(1, 2, 7, 3), write(3, 4, 8, 4), read(5, 6, 3, 7), read(7, 8, 3, 7)],
    ],
    [
      'a write that was told to have failed and is there',
      [write(1, 2, 7, 3), conflict(3, 4, 8, 9, 3), read(5, 6, 4, 8)],
    ],
    ['a conflict although the expectation was true', [write(1, 2, 7, 3), conflict(3, 4, 8, 3, 3)]],
    ['a conflict that found what was not there', [write(1, 2, 7, 3), conflict(3, 4, 8, 2, 9)]],
    ['two winners of one race', [write(1, 9, 7, 3, 'absent'), write(2, 8, 8, 4, 'absent')]],
    ['no winner of a race', [conflict(1, 9, 7, 'absent', 3), conflict(2, 8, 8, 'absent', 3)]],
    ['a write although its expectation was false', [write(1, 2, 7, 3), write(3, 4, 8, 4, 'absent')]],
    ['a revision that goes back', [write(1, 2, 7, 9), write(3, 4, 8, 4)]],
    ['a revision that was given twice', [write(1, 8, 7, 3), write(2, 9, 8, 3)]],
    ['a deleted document that came back', [write(1, 2, 7, 3), write(3, 4, null, 4), read(5, 6, 3, 7)]],
    ['a write of unknown outcome that happened before its call', [read(1, 2, 5, 7), lost(3, 7)]],
    [
      'a write of unknown outcome that happened and was undone',
      [lost(1, 7), read(2, 3, 5, 7), read(4, 5, 0, null)],
    ],
    [
      'a write of unknown outcome that happened twice',
      [lost(1, 7), read(2, 3, 5, 7), write(4, 5, 8, 6), read(6, 7, 9, 7)],
    ],
    ['a write of unknown outcome with two revisions', [lost(1, 7), read(2, 3, 5, 7), read(4, 5, 6, 7)]],
    [
      'a write of unknown outcome whose expectation was false',
      [write(1, 2, 7, 3), lost(3, 8, 'absent'), read(4, 5, 4, 8)],
    ],
  ])('%s', (_name, operations) => {
    expect(check(document, operations).kind).toBe('violation')
    expect(isLinearizable(document, operations)).toBe(false)
  })

  it.each<[string, Operation[]]>([
    ['an append that was doubled', [write(1, 2, 7, 1), read(3, 4, 2, 7)]],
    ['an append that was doubled, by the one behind it', [write(1, 2, 7, 1), write(3, 4, 8, 3)]],
    ['a seq that was given twice', [write(1, 8, 7, 1), write(2, 9, 8, 1)]],
    ['an acknowledged append that vanished', [write(1, 2, 7, 1), write(3, 4, 8, 1)]],
    ['an append of unknown outcome that was doubled', [lost(1, 7), read(2, 3, 2, 7)]],
  ])('in a stream %s', (_name, operations) => {
    expect(check(stream, operations).kind).toBe('violation')
    expect(isLinearizable(stream, operations)).toBe(false)
  })

  it('which operation cannot be explained, and how far the rest can', () => {
    const operations = [write(1, 2, 7, 3), read(3, 4, 3, 7), read(5, 6, 0, null)]
    const { explained, stuck } = check(document, operations)
    expect(explained).toEqual(operations.slice(0, 2))
    expect(stuck).toEqual(operations.slice(2))
  })
})

/** Histories of a real register, or of a broken one: each caller's operation takes effect within its call, if at all. */
interface Plan {
  readonly value: number
  readonly what: 'read' | 'put' | 'delete'
  readonly expect: 'nothing' | 'absent' | 'present' | 'current' | 'stale'
  /** How long before and behind the moment of its effect it was called and answered. */
  readonly early: number
  readonly late: number
  readonly fate: 'answered' | 'lost' | 'never'
}

const plan = (isGapless: boolean): fc.Arbitrary<Plan> =>
  fc.record({
    value: fc.integer({ min: 1, max: 1_000_000 }),
    what: isGapless ? fc.constantFrom('read', 'put') : fc.constantFrom('read', 'put', 'put', 'delete'),
    expect: fc.constantFrom('nothing', 'nothing', 'absent', 'present', 'current', 'stale'),
    early: fc.integer({ min: 0, max: 25 }),
    late: fc.integer({ min: 0, max: 25 }),
    fate: fc.constantFrom('answered', 'answered', 'answered', 'lost', 'never'),
  })

/** Runs the plans one after another on a register that is as it should be. */
function historyOf(plans: readonly Plan[], isGapless: boolean): Operation[] {
  let [revision, last, value] = [0, 0, null as number | null]
  return plans.map(({ what, early, late, fate, ...rest }, i) => {
    const moment = 10 * i + 5
    const times = { from: moment - early - i / 1_000, to: moment + late + i / 1_000 }
    if (what === 'read')
      return { ...times, call: { kind: 'read' }, answer: { kind: 'found', revision, value } }
    const written = what === 'delete' ? null : rest.value * 100 + i
    const wanted = {
      nothing: undefined,
      absent: 'absent',
      present: 'present',
      current: revision,
      stale: revision + 1,
    } as const
    const call = asked(written, wanted[rest.expect])
    const lost = { ...times, to: Number.POSITIVE_INFINITY, call, answer: { kind: 'unknown' } } as const
    if (fate === 'never') return lost
    const isAs = {
      nothing: true,
      absent: revision === 0,
      present: revision > 0,
      current: true,
      stale: false,
    }[rest.expect]
    if (!isAs)
      return fate === 'lost' ? lost : { ...times, call, answer: { kind: 'conflict', found: revision } }
    last += isGapless ? 1 : 1 + (rest.value % 3)
    ;[revision, value] = [written === null ? 0 : last, written]
    return fate === 'lost' ? lost : { ...times, call, answer: { kind: 'written', revision: last } }
  })
}

/** What a broken register, or a broken client, would have said instead. */
function falsify(operation: Operation, by: number): Operation {
  const { answer } = operation
  switch (answer.kind) {
    case 'found':
      return { ...operation, answer: { ...answer, revision: Math.max(0, answer.revision + by) } }
    case 'written':
      return { ...operation, answer: { ...answer, revision: Math.max(1, answer.revision + by) } }
    case 'conflict':
      return { ...operation, answer: { ...answer, found: Math.max(0, answer.found + by) } }
    case 'unknown':
      return { ...operation, from: operation.from + 20 * by }
  }
}

describe.each([
  ['a document', document],
  ['a stream', stream],
])('for %s, the linearizability checker', (_name, register) => {
  it('flags no history that came of effects within the calls', () => {
    fc.assert(
      fc.property(fc.array(plan(register.isGapless), { maxLength: 60 }), (plans) => {
        expect(check(register, historyOf(plans, register.isGapless)).kind).toBe('linearizable')
      }),
      { numRuns: 400 },
    )
  })

  it('says what trying out every order says, of right and of falsified histories', () => {
    let violations = 0
    const falsified = fc.tuple(fc.nat({ max: 5 }), fc.integer({ min: -2, max: 2 }))
    fc.assert(
      fc.property(fc.array(plan(register.isGapless), { maxLength: 6 }), falsified, (plans, [at, by]) => {
        const operations = historyOf(plans, register.isGapless).map((operation, i) =>
          i === at ? falsify(operation, by) : operation,
        )
        const isRight = isLinearizable(register, operations)
        if (!isRight) violations++
        expect(check(register, operations).kind).toBe(isRight ? 'linearizable' : 'violation')
      }),
      { numRuns: 3_000 },
    )
    expect(violations).toBeGreaterThan(300)
  })
})
