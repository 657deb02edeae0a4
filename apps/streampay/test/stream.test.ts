import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { accrue } from '../lib/money.ts'
import { accruedAt, type Command, created, decide, Refusal, type StreamRecord } from '../lib/stream.ts'

const hour = 3_600_000
const terms = { sender: 'a', recipient: 'b', currency: 'EUR', deposit: 1_000, ratePerHour: 100 }

function streamBehind(commands: readonly [Command['kind'], at: number, amount?: number][]): StreamRecord {
  return commands.reduce<StreamRecord>(
    (record, [kind, at, amount]) => decide(record, { kind, amount } as Command, at).record,
    created('s', terms, 0).record,
  )
}

describe('what a stream earns', () => {
  it.each([
    [0, 0],
    [hour / 100 - 1, 0],
    [hour / 100, 1],
    [hour, 100],
    [10 * hour - 1, 999],
    [11 * hour, 1_000],
    [-hour, 0],
  ])('in %d ms is %d: rounded down, never above the deposit', (elapsed, earned) =>
    expect(accruedAt(streamBehind([['start', 5]]), 5 + elapsed)).toBe(earned),
  )

  it('is exact where a double would not be', () =>
    expect(accrue(9_007_199_254_740_991, 3_599_999, Number.MAX_SAFE_INTEGER)).toBe(
      Number((9_007_199_254_740_991n * 3_599_999n) / 3_600_000n),
    ))

  it('goes on behind a pause where it stopped, with no fraction lost or won', () => {
    const part = hour / 1_000
    const many = Array.from({ length: 100 }, (_, n): [Command['kind'], number][] => [
      ['start', n * 1_000_000],
      ['pause', n * 1_000_000 + part],
    ]).flat()
    expect(accruedAt(streamBehind(many), 10 ** 12)).toBe(10)
  })
})

describe('a stream', () => {
  it('pays what was earned, and gives the rest back', () => {
    const ended = streamBehind([
      ['start', 0],
      ['settle', hour],
      ['withdraw', 2 * hour, 150],
      ['stop', 3 * hour],
    ])
    expect(ended).toMatchObject({
      status: 'stopped',
      settled: 200,
      withdrawn: 150,
      refunded: 700,
      version: 5,
    })
    const { record, happenings } = decide(ended, { kind: 'withdraw' }, 9 * hour)
    expect(record).toMatchObject({ settled: 300, withdrawn: 300, refunded: 700 })
    expect(happenings).toEqual([
      { type: 'stream.settled', amount: 100 },
      { type: 'stream.withdrawn', amount: 150 },
    ])
  })

  it('that is cancelled settles what was earned, which can still be withdrawn', () => {
    const cancelled = streamBehind([
      ['start', 0],
      ['cancel', hour],
    ])
    expect(cancelled).toMatchObject({ status: 'cancelled', settled: 100, refunded: 900 })
    expect(decide(cancelled, { kind: 'withdraw' }, hour).record.withdrawn).toBe(100)
    expect(streamBehind([['cancel', 1]])).toMatchObject({ settled: 0, refunded: 1_000 })
  })

  it.each<[Command['kind'], [Command['kind'], number][]]>([
    ['pause', []],
    ['settle', []],
    ['withdraw', []],
    ['stop', []],
    ['start', [['start', 0]]],
    [
      'start',
      [
        ['start', 0],
        ['stop', 1],
      ],
    ],
    [
      'cancel',
      [
        ['start', 0],
        ['stop', 1],
      ],
    ],
    ['cancel', [['cancel', 0]]],
    ['settle', [['cancel', 0]]],
  ])('is not to %s behind %j', (kind, before) => {
    const record = streamBehind(before)
    expect(() => decide(record, { kind } as Command, 9)).toThrow(Refusal)
  })

  it('pays nothing that is not there', () => {
    const running = streamBehind([['start', 0]])
    for (const amount of [undefined, 101])
      expect(() => decide(running, { kind: 'withdraw', amount }, amount === undefined ? 0 : hour)).toThrow(
        expect.objectContaining({ reason: 'insufficient' }),
      )
  })

  it('counts no time twice when clocks differ', () => {
    const slow = streamBehind([
      ['start', 0],
      ['settle', 2 * hour],
      ['pause', hour],
      ['start', hour],
      ['pause', 3 * hour],
    ])
    expect(slow).toMatchObject({ settled: 200, activeMs: 3 * hour })
  })
})

it('however it is treated, pays no more than it earned and keeps every unit of its deposit', () => {
  const kinds = ['start', 'pause', 'stop', 'settle', 'withdraw', 'cancel'] as const
  const command = fc.record({
    kind: fc.constantFrom(...kinds),
    amount: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined }),
    // Clocks of several processes: also backwards.
    passed: fc.integer({ min: -hour, max: 3 * hour }),
  })
  const given = fc.record({
    deposit: fc.integer({ min: 1, max: 10 ** 6 }),
    ratePerHour: fc.integer({ min: 1, max: 10 ** 6 }),
  })
  fc.assert(
    fc.property(given, fc.array(command, { maxLength: 40 }), (amounts, commands) => {
      let { record } = created('s', { ...terms, ...amounts }, 0)
      const moved = { 'stream.settled': 0, 'stream.withdrawn': 0, back: 0 }
      let [now, latest] = [0, 0]
      for (const { kind, amount, passed } of commands) {
        now = Math.max(0, now + passed)
        latest = Math.max(latest, now)
        try {
          const { record: next, happenings } = decide(record, { kind, amount } as Command, now)
          for (const { type, amount: by = 0 } of happenings)
            if (type === 'stream.settled' || type === 'stream.withdrawn') moved[type] += by
            else moved.back += by
          record = next
        } catch (error) {
          if (!(error instanceof Refusal)) throw error
        }
        const { withdrawn, settled, refunded, deposit, ratePerHour } = record
        expect(withdrawn).toBeLessThanOrEqual(settled)
        expect(settled).toBeLessThanOrEqual(accruedAt(record, latest))
        expect(accruedAt(record, latest)).toBeLessThanOrEqual(accrue(ratePerHour, latest, deposit))
        expect(settled + refunded).toBeLessThanOrEqual(deposit)
      }
      const { withdrawn, settled, refunded } = record
      expect(moved).toEqual({ 'stream.settled': settled, 'stream.withdrawn': withdrawn, back: refunded })
    }),
    { numRuns: 500 },
  )
})
