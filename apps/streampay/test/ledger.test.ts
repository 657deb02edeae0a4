import { expect, it } from 'vitest'
import { created } from '../lib/stream.ts'
import { type Facts, judge, judgeList } from '../scripts/ledger.ts'

const terms = { sender: 'a', recipient: 'b', currency: 'EUR', deposit: 100, ratePerHour: 100 }
const record = { ...created('s', terms, 0).record, version: 3, settled: 30, withdrawn: 20 }
const activity = [
  { type: 'stream.settled', amount: 30, version: 2 },
  { type: 'stream.withdrawn', amount: 20, version: 3 },
]
const stream = { record, accrued: 40, accruedAtMost: 50, activity }
const sound: Facts = {
  paid: [{ stream: 's', key: 'k', amount: 20, version: 3 }],
  versions: new Map([['s', [1, 2]]]),
  streams: [stream],
}
const withStream = (change: Partial<typeof stream>): Facts => ({
  ...sound,
  streams: [{ ...stream, ...change }],
})

it('the judge finds nothing in a ledger that is right', () => expect(judge(sound)).toEqual([]))

it.each<[string, Facts]>([
  ['paid out above settled', withStream({ record: { ...record, settled: 10 } })],
  ['settled above earned', withStream({ accrued: 29 })],
  ['earned faster than time passes', withStream({ accruedAtMost: 39 })],
  ['refunded what was settled', withStream({ record: { ...record, refunded: 71 } })],
  ['a payment lost', withStream({ record: { ...record, withdrawn: 0 }, activity: activity.slice(0, 1) })],
  ['a payment made twice', withStream({ record: { ...record, withdrawn: 30 } })],
  ['a payment twice in the activity', withStream({ activity: [...activity, ...activity.slice(1)] })],
  ['an acknowledgement without a payment', { ...sound, paid: [...sound.paid, ...sound.paid] }],
  ['two writers at once', { ...sound, versions: new Map([['s', [1, 2, 3]]]) }],
  ['an acknowledged change lost', { ...sound, versions: new Map([['s', [1, 2, 4]]]) }],
  ['a change made twice, the first time for nobody', { ...sound, versions: new Map([['s', [1]]]) }],
  ['a change made again behind its answer', withStream({ record: { ...record, version: 4 } })],
])('the judge finds %s', (_what, facts) => expect(judge(facts)).not.toEqual([]))

it('the judge of the list finds nothing in a list that is right', () =>
  expect(judgeList(['a', 'b'], ['b', 'a'])).toEqual([]))

it.each([
  ['a stream lost', ['a'], ['b: was acknowledged, and is not listed']],
  ['a stream created twice', ['a', 'b', 'c'], ['c: is listed, and nobody was told of it']],
  ['a stream listed twice', ['a', 'b', 'a'], ['a: is listed twice']],
])('the judge of the list finds %s', (_what, listed, wrong) =>
  expect(judgeList(['a', 'b'], listed)).toEqual(wrong),
)
