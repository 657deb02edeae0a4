/** Laws 1, 3, 4, 10, 13 and 14 where streams are truncated: what goes, what stays, and what followers make of it. */
import assert from 'node:assert/strict'
import type { Change } from '../model/change.ts'
import { DigestSum, emptyDigest } from '../model/digest.ts'
import { vacantFence } from '../model/fence.ts'
import type { FeedPart } from '../model/page.ts'
import { truncationsCollection } from '../model/truncation.ts'
import { append, type Context, documentAt, failsWith, type Law, put, remove, streamAt } from './harness.ts'

const truncate = (stream: string, before: unknown) => put(truncationsCollection, stream, { before })

/** A domain with a stream of 10 events among others, and where truncations can be put. */
async function begin(t: Context): Promise<void> {
  await t.create()
  await t.declare(truncationsCollection)
  await t.declare('users')
  await t.commit([append('a', 1), append('b', 1)])
  for (let n = 2; n <= 9; n += 2) await t.commit([append('a', n), put('users', `u-${n}`), append('a', n + 1)])
  await t.commit([append('a', 10), append('b', 2)])
}

async function seqs(t: Context, stream = 'a'): Promise<number[]> {
  return (await t.read(stream)).items.map(({ seq }) => seq)
}

async function isSummed(t: Context, domain = t.domain): Promise<void> {
  const sum = new DigestSum(emptyDigest)
  for (const { checksum } of (await t.backend.changes(domain, 0, 10_000)).items) sum.add(checksum)
  assert.equal(
    (await t.backend.fence(domain)).digest,
    sum.toString(),
    'the digest is the sum of the live records',
  )
}

/** A copy that takes the feed when it is told to, so many records at a time and so many pages. */
class Copy {
  readonly domain: string
  readonly #t: Context

  constructor(t: Context, name = 'c') {
    this.#t = t
    this.domain = `${t.domain}-${name}`
  }

  async prepare(): Promise<this> {
    const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: this.domain } as const
    assert.equal(await this.#t.backend.transition(this.domain, vacantFence, prepared), true)
    return this
  }

  async next(limit: number): Promise<FeedPart> {
    const { head } = await this.#t.backend.fence(this.domain)
    return this.#t.backend.changes(this.#t.domain, head, limit)
  }

  async take(limit: number, pages = Number.POSITIVE_INFINITY): Promise<void> {
    for (let n = 0; n < pages; n++) {
      const { head } = await this.#t.backend.fence(this.domain)
      const page = await this.next(limit)
      if (page.next === head) return
      await this.apply(page)
    }
  }

  apply(page: FeedPart): Promise<void> {
    return this.#t.backend.apply(this.domain, 1, page)
  }

  async isEqual(): Promise<void> {
    const t = this.#t
    const [source, target] = [await t.backend.fence(t.domain), await t.backend.fence(this.domain)]
    assert.deepEqual([target.head, target.digest], [source.head, source.digest])
    const [theirs, ours] = [await t.backend.changes(this.domain, 0, 10_000), await t.feed()]
    assert.deepEqual(theirs.items, ours)
    await isSummed(t, this.domain)
  }
}

export const truncationLaws: readonly Law[] = [
  {
    law: 1,
    name: 'a truncation that a check forbids, or that stands beside another write, removes nothing',
    async run(t) {
      await begin(t)
      const whole = await t.feed()
      await t.refused([truncate('a', 5)], [streamAt('a', 3)])
      await t.refused([truncate('a', 5)], [documentAt('users', 'u-2', 'absent')])
      for (const writes of [
        [truncate('a', 5), append('b', 3)],
        [truncate('a', 5), put('users', 'x')],
        [remove(truncationsCollection, 'a')],
        [truncate('a', 5), truncate('a', 6)],
        [truncate('a', 5), truncate('b', 9)],
      ])
        assert.equal((await t.attempt(writes)).kind, 'refused')
      assert.deepEqual(await t.feed(), whole)
      await isSummed(t)
    },
  },
  {
    law: 3,
    name: 'a truncated stream keeps its last events and its seqs, and goes on',
    async run(t) {
      await begin(t)
      await t.commit([truncate('a', 8)], [streamAt('a', 10)])
      assert.deepEqual(await seqs(t), [8, 9, 10])
      assert.deepEqual(await seqs(t, 'b'), [1, 2])
      assert.deepEqual((await t.commit([append('a', 11)], [streamAt('a', 10)])).seqs, [11])
      await t.commit([truncate('a', 11)])
      assert.deepEqual(await seqs(t), [11])
      assert.deepEqual((await t.commit([append('a', 12)], [streamAt('a', 'some')])).seqs, [12])
      assert.deepEqual((await t.refused([append('a')], [streamAt('a', 'none')]))[0]?.found, 12)
      await isSummed(t)
    },
  },
  {
    law: 3,
    name: 'a truncated stream is read in pages, from both ends, from before its first event and behind it',
    async run(t) {
      await begin(t)
      await t.commit([truncate('a', 4)])
      const read = async (range: Parameters<Context['read']>[1]) => {
        const { items, next } = await t.read('a', range)
        return [items.map(({ seq }) => seq), next]
      }
      assert.deepEqual(await read({ limit: 3 }), [[4, 5, 6], 6])
      assert.deepEqual(await read({ after: 6, limit: 4 }), [[7, 8, 9, 10], null])
      assert.deepEqual(await read({ after: 2, before: 6 }), [[4, 5], null])
      assert.deepEqual(await read({ before: 4 }), [[], null])
      assert.deepEqual(await read({ backwards: true, limit: 5 }), [[10, 9, 8, 7, 6], 6])
      assert.deepEqual(await read({ backwards: true, before: 6, limit: 5 }), [[5, 4], null])
    },
  },
  {
    law: 4,
    name: 'a truncation says a seq that the stream has, is never lowered, never expires, and is refused else',
    async run(t) {
      await begin(t)
      await t.commit([truncate('a', 5)])
      const fence = await t.backend.fence(t.domain)
      for (const before of [4, 1, 0, -1, 11, 5.5, '6', null, 2 ** 53])
        assert.equal((await t.attempt([truncate('a', before)])).kind, 'refused', `before ${before}`)
      assert.equal((await t.attempt([put(truncationsCollection, 'a', null)])).kind, 'refused')
      assert.equal((await t.attempt([truncate('nowhere', 1)])).kind, 'refused')
      assert.equal(
        (await t.attempt([put(truncationsCollection, 'a', { before: 6 }, 2 ** 40)])).kind,
        'refused',
      )
      assert.deepEqual(await t.backend.fence(t.domain), fence)
      assert.deepEqual(await seqs(t), [5, 6, 7, 8, 9, 10])
      await t.commit([truncate('a', 5)])
      await t.commit([truncate('a', 10), truncate('b', 2)])
      assert.deepEqual([await seqs(t), await seqs(t, 'b')], [[10], [2]])
      await isSummed(t)
    },
  },
  {
    law: 10,
    name: 'the feed of a truncated domain delivers every event that is left, in pages of any size',
    async run(t) {
      await begin(t)
      const before = await t.feed()
      await t.commit([truncate('a', 7)])
      const isLeft = (change: Change) => change.kind !== 'event' || change.stream !== 'a' || change.seq >= 7
      for (const limit of [1, 2, 3, 100])
        assert.deepEqual((await t.feed(limit)).slice(0, -1), before.filter(isLeft))
    },
  },
  {
    law: 13,
    name: 'a group with truncations is done in order, each commit by itself',
    async run(t) {
      await begin(t)
      const commit = (...writes: Parameters<Context['commit']>[0]) => ({ at: 0, writes, checks: [] })
      const outcomes = await t.backend.commit(t.domain, 1, [
        commit(append('a', 11)),
        commit(truncate('a', 11)),
        commit(truncate('a', 3)),
        commit(append('a', 12), append('c', 1)),
        commit(truncate('a', 12), truncate('c', 1)),
        commit(append('a', 13)),
      ])
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['committed', 'committed', 'refused', 'committed', 'committed', 'committed'],
      )
      assert.deepEqual(await seqs(t), [12, 13])
      await isSummed(t)
    },
  },
  {
    law: 13,
    name: 'many events are truncated at once, and the digest is the sum of what is left',
    async run(t) {
      await begin(t)
      for (let i = 0; i < 3; i++) await t.commit(Array.from({ length: 700 }, (_, n) => append('a', n)))
      const copy = await new Copy(t).prepare()
      await copy.take(1_000)
      await t.commit([truncate('a', 2_105)])
      assert.equal((await seqs(t)).length, 6)
      await isSummed(t)
      await copy.take(1_000)
      await copy.isEqual()
    },
  },
  {
    law: 14,
    name: 'a follower holds the same after truncations, wherever it stood',
    async run(t) {
      await begin(t)
      const copies = []
      const length = (await t.feed()).length
      for (let pages = 0; pages <= length; pages += 5) {
        const copy = await new Copy(t, `c${pages}`).prepare()
        await copy.take(1, pages)
        copies.push(copy)
      }
      await t.commit([truncate('a', 4)])
      for (const copy of copies) if (copies.indexOf(copy) % 2 === 0) await copy.take(2, 2)
      await t.commit([append('a', 11)])
      await t.commit([truncate('a', 8), truncate('b', 2)])
      for (const copy of copies) if (copies.indexOf(copy) % 3 === 0) await copy.take(1, 3)
      await t.commit([truncate('a', 11)])
      await t.commit([append('a', 12), append('b', 3)])
      for (const copy of copies) {
        await copy.take(1 + (copies.indexOf(copy) % 4))
        await copy.isEqual()
      }
    },
  },
  {
    law: 14,
    name: 'a follower refuses a page that lacks events which no truncation behind it covers',
    async run(t) {
      await begin(t)
      const copy = await new Copy(t).prepare()
      await copy.take(2, 2)
      await t.commit([truncate('a', 6)])
      await t.commit([append('a', 11)])
      const page = await copy.next(3)
      assert.ok(page.items.some((change) => change.kind === 'event' && change.seq === 6))
      const without = (...lost: number[]) =>
        page.items.filter((change) => change.kind !== 'event' || !lost.includes(change.seq))
      // Not told why, told of too little, or an event lost that was not truncated.
      const { truncations: _, ...bare } = page
      await failsWith('invalid', () => copy.apply(bare))
      await failsWith('invalid', () => copy.apply({ ...page, truncations: [] }))
      const whole = await t.backend.changes(t.domain, 0, 100)
      await failsWith('invalid', () =>
        copy.apply({
          ...whole,
          items: whole.items.slice(4).filter((c) => c.kind !== 'event' || c.seq !== 6),
        }),
      )
      if (without(6).some(({ kind }) => kind === 'event'))
        await failsWith('invalid', () => copy.apply({ ...page, items: without(6) }))
      const [truncation] = page.truncations ?? []
      assert.ok(truncation, 'the page shows the truncation that stands behind it')
      const forged = { ...truncation, data: truncation.data.replace('6', '9') as typeof truncation.data }
      await failsWith('damaged', () => copy.apply({ ...page, truncations: [forged] }))
      await copy.apply(page)
      const rest = await copy.next(100)
      await failsWith('invalid', () =>
        copy.apply({ ...rest, items: rest.items.filter((c) => c.kind !== 'event' || c.seq !== 9) }),
      )
      await copy.take(100)
      await copy.isEqual()
    },
  },
  {
    law: 14,
    name: 'another process that knew the stream goes on with it after it was truncated',
    when: (_, { reopen }) => (reopen === undefined ? 'the place cannot be opened twice' : true),
    async run(t) {
      await begin(t)
      const other = (await t.subject.reopen?.()) as Context['backend']
      try {
        const commit = (...writes: Parameters<Context['commit']>[0]) =>
          other.commit(t.domain, 1, [{ at: 0, writes, checks: [] }])
        await commit(append('a', 11))
        await t.commit([truncate('a', 11)])
        const [appended] = await commit(append('a', 12))
        assert.deepEqual(appended?.kind === 'committed' && appended.seqs, [12])
        assert.equal((await commit(truncate('a', 10)))[0]?.kind, 'refused')
        assert.equal((await commit(truncate('a', 12)))[0]?.kind, 'committed')
        assert.equal((await t.attempt([truncate('a', 11)])).kind, 'refused')
        assert.deepEqual(await seqs(t), [12])
        await isSummed(t)
      } finally {
        await other.close()
      }
    },
  },
]
