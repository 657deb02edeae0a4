import { describe, expect, it } from 'vitest'
import { memory } from '../../src/backend/memory.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { parseJsonText } from '../../src/model/value.ts'
import type { Answer } from '../../src/move/hooks.ts'
import { judge } from '../../src/move/judge.ts'
import { randomOf } from '../crash/random.ts'
import { append } from '../proof.ts'

/** A source and a copy of it that is behind by some commits or none, in memory. */
function makeTwo() {
  const [source, target] = [memory().sync, memory().sync]
  source.transition('app', vacantFence, { ...vacantFence, role: 'authority', epoch: 1, incarnation: 'a' })
  target.transition('app', vacantFence, { ...vacantFence, role: 'follower', epoch: 1, incarnation: 'b' })
  const commit = (...writes: Parameters<typeof source.commit>[2][number]['writes']) =>
    source.commit('app', 1, [{ at: 1, writes, checks: [] }])
  commit({
    kind: 'put',
    collection: '$collections',
    id: 'things',
    data: parseJsonText(
      '{"fields":{"n":"number"},"indexes":{"by_n":{"fields":["n"],"unique":false,"where":{}}}}',
    ),
    expiresAt: null,
  })
  const mirror = (limit: number) =>
    target.apply('app', 1, source.changes('app', target.fence('app').head, limit))
  mirror(1)
  return { source, target, commit, mirror }
}

describe('the judge of shadow reads', () => {
  it('calls no true copy divergent that was read before the authority, however far it is behind, and finds every planted difference', () => {
    const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 2 ** 31)
    const random = randomOf(seed)
    const since = performance.now()
    const pick = (n: number) => Math.floor(random() * n)
    let [judged, planted, found] = [0, 0, 0]
    for (let history = 0; history < 60; history++) {
      const { source, target, commit, mirror } = makeTwo()
      const reads = [
        (of: typeof source): Answer =>
          of.get(
            'app',
            [0, 1, 2].map((n) => ({ collection: 'things', id: `t${n}` })),
          ),
        (of: typeof source): Answer => of.scan('app', { ...scan, by: 'id', prefix: '', limit: 3 }),
        (of: typeof source): Answer =>
          of.scan('app', { ...scan, by: 'index', index: 'by_n', equals: [], backwards: true, limit: 2 }),
        (of: typeof source): Answer =>
          of.read('app', 's', { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 4 }),
        (of: typeof source): Answer =>
          of.read('app', 's', { after: 0, before: Number.POSITIVE_INFINITY, backwards: true, limit: 3 }),
      ]
      const earlier: { read: number; answer: Answer }[] = []
      for (let step = 0; step < 80; step++) {
        const id = `t${pick(6)}`
        const choice = pick(6)
        if (choice < 2)
          commit({
            kind: 'put',
            collection: 'things',
            id,
            data: parseJsonText(`{"n":${pick(4)}}`),
            expiresAt: null,
          })
        else if (choice === 2) commit({ kind: 'delete', collection: 'things', id })
        else if (choice === 3)
          commit({ kind: 'append', stream: 's', type: 'T', data: parseJsonText(String(step)), meta: null })
        else if (target.fence('app').head < source.fence('app').head) mirror(1 + pick(3))
        const read = pick(reads.length)
        const make = reads[read] as (typeof reads)[number]
        earlier.push({ read, answer: make(target) })
        for (const { read, answer } of earlier.slice(-8)) {
          const now = (reads[read] as (typeof reads)[number])(source)
          const verdict = judge(now, answer, 1)
          if (verdict.kind === 'divergence')
            throw new Error(
              `seed ${seed}, history ${history}, step ${step}: ${verdict.what} ${JSON.stringify([answer, now])}`,
            )
          judged++
        }
      }
      while (target.fence('app').head < source.fence('app').head) mirror(5)
      for (const make of reads) {
        const [answer, copy] = [make(source), make(target)]
        expect(judge(answer, copy, 1)).toEqual({ kind: 'equal' })
        for (const bad of plantedIn(copy)) {
          planted++
          if (judge(answer, bad, 1).kind === 'divergence') found++
        }
      }
    }
    console.log(
      `seed ${seed}: ${judged} answers judged, no false alarm; ${found} of ${planted} planted differences found`,
    )
    append({
      ...{ promise: 'shadow reads find planted differences', backend: 'memory', tried: planted },
      ...{ failed: planted - found, unknown: 0, seed, seconds: (performance.now() - since) / 1_000 },
    })
    expect(found).toBe(planted)
    expect(planted).toBeGreaterThan(100)
  })
})

const scan = { collection: 'things', backwards: false, after: null } as const

/** The answer with one record changed, of an older revision, or missing. */
function* plantedIn(answer: Answer): Generator<Answer> {
  const records = 'documents' in answer ? answer.documents : answer.items
  for (let place = 0; place < records.length; place++) {
    const record = records[place]
    if (record === undefined) continue
    const withOther = (other: unknown): Answer => {
      const all: readonly unknown[] = records
      const others = other === undefined ? records.filter((_, i) => i !== place) : all.with(place, other)
      return (
        'documents' in answer ? { ...answer, documents: others } : { ...answer, items: others }
      ) as Answer
    }
    yield withOther(undefined)
    yield withOther({ ...record, position: record.position - 1 })
    if (record.kind !== 'tombstone') yield withOther({ ...record, data: parseJsonText('"other"') })
  }
}
