/** The proof of moves put to the proof: engines that are wrong, and histories that are wrong, each of which must be caught. */
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type Accepted, forksIn, watchAuthorities } from './move/proof/authorities.ts'
import { views } from './move/proof/crew.ts'
import { compared, noComparisons } from './move/proof/frozen.ts'
import { judge, nothingWrong, type Verdict, type Whole } from './move/proof/judge.ts'
import { type Sabotage, sabotages } from './move/proof/sabotage.ts'
import type { Told } from './move/proof/told.ts'
import { drive } from './move/proof/way.ts'
import { readWhole, untilQuiet } from './move/proof/whole.ts'
import { endMark, openApp } from './move/proof/work.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)

/** What is wrong may leave nobody in authority: then calls end soon. */
const deadlineMs = 3_000

/** What the proof finds in one cutover under load. */
async function rehearse({
  application,
  operator,
}: Partial<Sabotage>): Promise<Readonly<Record<string, number>>> {
  const sides = { a: memory(), b: memory() }
  const into = noComparisons()
  const seen = operator?.(sides) ?? sides
  const crew = views(application?.(sides) ?? sides, { seed, paceMs: 4, ttlMs: 1_000, patienceMs: 1_500 })
  const coordinator = await openApp(compared(seen, into, sides), deadlineMs)
  const store = await openApp(sides, deadlineMs)
  for (let i = 0; i < 4; i++) await crew.hire()
  const ending = new AbortController()
  const watching = watchAuthorities(sides, 'app', ending.signal, () => pause(1))
  const move = await coordinator.move('app', { from: 'a', to: 'b' })
  await drive(move, 'start')
  await pause(150)
  await drive(move, 'copy')
  await drive(move, 'verify')
  const refusal = await drive(move, 'cutover').then(() => '', String)
  await pause(250)
  // What is wrong may never answer, and may never become quiet.
  await Promise.race([crew.end(), pause(deadlineMs)])
  const unrest = await untilQuiet(store, 1_000, 1_500).then(() => '', String)
  await store.domain('app').log.append('the-end', { type: endMark, data: null })
  const told = await crew.over()
  ending.abort()
  const verdict = judge(told, await readWhole(store))
  const { doubles } = await watching
  await crew.close()
  return {
    ...verdict,
    differences: into.differences.length,
    doubleAuthorities: doubles,
    refused: refusal === '' ? 0 : 1,
    unrest: unrest === '' ? 0 : 1,
  }
}

const caught: string[] = []
afterAll(() => console.log(['planted | found', ...caught].join('\n')))

const isFound = ([, count]: readonly [string, number]) => count > 0
const show = (found: Readonly<Record<string, number>>) =>
  Object.entries(found)
    .filter(isFound)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')

describe('the proof of moves', () => {
  it('finds nothing where nothing is planted', async () => {
    const found = await rehearse({})
    expect(show(found)).toBe('')
  })

  it.each(sabotages.map((one) => [one.name, one] as const))(
    'catches %s',
    async (name, one) => {
      const found = await rehearse(one)
      caught.push(`${name} | ${show(found)}`)
      expect(found[one.finds]).toBeGreaterThan(0)
    },
    // What is wrong may leave calls to their deadlines.
    120_000,
  )
})

describe('the judge of moves', () => {
  const event = (position: number, stream: string, seq: number, type: string, data: unknown) =>
    ({
      kind: 'event',
      ...{ position, stream, seq, type, data, meta: undefined, at: 0 },
    }) as Whole['items'][number]
  const asked = (mark: string, stream = 'in-1'): Told => ({ kind: 'asked', mark, stream })
  const done = (mark: string, position: number, seq: number): Told => ({ kind: 'done', mark, position, seq })
  const wrote = (position: number, seq: number, mark: string) => event(position, 'in-1', seq, 'wrote', mark)
  const handled = (position: number, seq: number, of: number, stream = 'out-exact') =>
    event(position, stream, seq, 'handled', of)
  const both = (position: number, seq: number, of: number) => [
    handled(position, seq, of),
    handled(position + 1, seq, of, 'out-least'),
  ]
  const items = [wrote(1, 1, '1/0'), wrote(2, 2, '1/1'), ...both(3, 1, 1), ...both(5, 2, 2)]
  const told = [asked('1/0'), done('1/0', 1, 1), asked('1/1'), done('1/1', 2, 2)]
  const verdictOf = (changed: { told?: readonly Told[]; items?: Whole['items']; jobs?: Whole['jobs'] }) =>
    judge(changed.told ?? told, { items: changed.items ?? items, jobs: changed.jobs ?? [] })
  const locked = (position: number, seq: number, number: number, token: number) =>
    event(position, 'locked', seq, 'wrote', { number, token, n: 0 })
  const once = (operation: number, value: string, isReplay = false): Told => ({
    kind: 'once',
    ...{ operation, value, isReplay },
  })
  const did = (position: number, seq: number, operation: number) =>
    event(position, 'done-once', seq, 'did', operation)
  const key = { kind: 'document', name: 'r' } as const
  const begun = (value: number, from: number): Told => ({
    kind: 'begun',
    ...{ mark: `r ${from}`, key, from, call: { kind: 'write', value } },
  })
  const write = (value: number, revision: number, from: number): Told => ({
    kind: 'register',
    ...{ mark: `r ${from}`, key },
    operation: { from, to: from + 1, call: { kind: 'write', value }, answer: { kind: 'written', revision } },
  })
  const readAs = (value: number, revision: number, from: number): Told => ({
    kind: 'register',
    ...{ mark: `r ${from}`, key },
    operation: { from, to: from + 1, call: { kind: 'read' }, answer: { kind: 'found', revision, value } },
  })
  const seen = (events: number[], outOfOrder = 0): Told => ({
    kind: 'seen',
    seen: { events, documents: {}, outOfOrder },
  })
  const failed = (code: string, mark?: string): Told => ({
    kind: 'failed',
    ...{ what: 'write', code, message: '', ...(mark !== undefined && { mark }) },
  })

  const planted: readonly [string, Parameters<typeof verdictOf>[0], Partial<Verdict>][] = [
    ['nothing where nothing is wrong', {}, {}],
    ['nothing in a write of unknown outcome that is there', { told: [...told.slice(0, 3)] }, {}],
    ['a lost write', { told: [...told, asked('1/2'), done('1/2', 7, 3)] }, { lost: 1 }],
    [
      'a doubled write',
      { items: [...items, event(7, 'shared', 1, 'wrote', '1/1')] },
      // It is also in a stream that nobody asked for.
      { doubled: 1, untrue: 1 },
    ],
    [
      'a write at another position than was told',
      { told: [...told.slice(0, 3), done('1/1', 3, 2)] },
      { reordered: 1 },
    ],
    [
      'two writes of a caller in the wrong order',
      {
        told: [asked('1/0'), asked('1/1')],
        items: [wrote(1, 1, '1/1'), wrote(2, 2, '1/0'), ...both(3, 1, 1), ...both(5, 2, 2)],
      },
      { reordered: 1 },
    ],
    ['a gap in the seqs of a stream', { items: [...items, event(7, 'x', 2, 'other', 0)] }, { reordered: 1 }],
    [
      'a write that is there though its caller was told that it is not',
      { told: [...told.slice(0, 3), failed('fenced', '1/1')] },
      { untrue: 1, errors: 1 },
    ],
    ['a write of nobody', { told: told.slice(0, 2) }, { untrue: 1 }],
    ['an error', { told: [...told, failed('fenced')] }, { errors: 1 }],
    ['an event that no subscriber handled', { items: items.slice(0, 4) }, { unhandled: 2 }],
    ['one that was handled twice, exactly once', { items: [...items, handled(7, 3, 2)] }, { unhandled: 1 }],
    [
      'nothing in one that was handled twice, at least once',
      { items: [...items, handled(7, 3, 2, 'out-least')] },
      {},
    ],
    ['a reader who missed an event', { told: [...told, seen([1, 2, 3, 5, 6])] }, { unread: 1 }],
    ['a reader who was given one twice', { told: [...told, seen([1, 2, 2, 3, 4, 5, 6], 1)] }, { unread: 2 }],
    [
      'a write under a token that somebody else overtook',
      { items: [...items, locked(7, 1, 1, 3), locked(8, 2, 2, 5), locked(9, 3, 1, 3)] },
      { doubleLocks: 1 },
    ],
    [
      'one token of two holders',
      { items: [...items, locked(7, 1, 1, 3), locked(8, 2, 2, 3)] },
      { doubleLocks: 1 },
    ],
    [
      'an operation that was done twice',
      { items: [...items, did(7, 1, 4), did(8, 2, 4)], told: [...told, once(4, 'a')] },
      { onceDoubles: 1 },
    ],
    [
      'an operation with two answers',
      { items: [...items, did(7, 1, 4)], told: [...told, once(4, 'a'), once(4, 'b', true)] },
      { onceDoubles: 1 },
    ],
    ['a job that is gone', { told: [...told, { kind: 'enqueued', n: 1, id: 'x' }] }, { jobs: 2 }],
    [
      'a read of what was overwritten before',
      { told: [...told, write(1, 3, 0), write(2, 4, 2), readAs(1, 3, 4)] },
      { notLinearizable: 1 },
    ],
    ['a read of what nobody wrote', { told: [...told, readAs(1, 3, 4)] }, { notLinearizable: 1 }],
    [
      'nothing in a read of what a caller wrote who was killed before it was told',
      { told: [...told, begun(1, 0), readAs(1, 3, 4)] },
      {},
    ],
    [
      'a read of what somebody wrote who was told that it was not written',
      { told: [...told, begun(1, 0), failed('unavailable', 'r 0'), readAs(1, 3, 4)] },
      { notLinearizable: 1, errors: 1 },
    ],
  ]

  it.each(planted)('finds %s', (_name, changed, found) => {
    expect(verdictOf(changed)).toEqual({ ...nothingWrong, ...found })
  })

  it('finds what two sides accepted under one epoch, and a position that was given twice', () => {
    const accepted = (side: string, epoch: number, ...positions: number[]): Accepted => ({
      side,
      epoch,
      positions,
    })
    expect(forksIn([accepted('a', 1, 1, 2), accepted('b', 2, 3), accepted('a', 3, 4)])).toBe(0)
    expect(forksIn([accepted('a', 1, 1, 2), accepted('b', 1, 3)])).toBe(1)
    expect(forksIn([accepted('a', 1, 1, 2), accepted('b', 2, 2)])).toBe(1)
  })
})
