/** Laws 1 to 5 and 8: commits, positions, seqs, expectations, failed checks, epochs. */
import assert from 'node:assert/strict'
import type { Check } from '../model/check.ts'
import { append, documentAt, failsWith, type Law, now, put, remove, streamAt } from './harness.ts'

export const commitLaws: readonly Law[] = [
  {
    law: 1,
    name: 'a commit over streams and documents leaves all its changes',
    async run(t) {
      await t.create()
      await t.declare('users')
      const { positions, seqs } = await t.commit([
        append('a', 1),
        put('users', 'u', 2),
        append('b', 3),
        append('a', 4),
      ])
      assert.deepEqual(positions, [2, 3, 4, 5])
      assert.deepEqual(seqs, [1, 1, 2])
      assert.deepEqual(
        (await t.read('a')).items.map(({ data }) => data),
        ['1', '4'],
      )
      assert.equal((await t.get('users', 'u'))?.position, 3)
    },
  },
  {
    law: 1,
    name: 'a commit whose last check fails leaves none of its changes',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.refused([append('a'), put('users', 'u')], [streamAt('a', 'none'), streamAt('b', 'some')])
      assert.deepEqual((await t.read('a')).items, [])
      assert.equal(await t.get('users', 'u'), undefined)
    },
  },
  {
    law: 1,
    name: 'a commit that breaks a unique index with its last put leaves none of its changes',
    async run(t) {
      await t.create()
      await t.declare('users', byEmail)
      await t.commit([put('users', 'first', { email: 'x' })])
      await t.refused([
        append('a'),
        put('users', 'second', { email: 'y' }),
        put('users', 'third', { email: 'x' }),
      ])
      assert.deepEqual((await t.read('a')).items, [])
      assert.equal(await t.get('users', 'second'), undefined)
      await t.commit([put('users', 'fourth', { email: 'y' })])
      assert.equal((await t.commit([append('a')])).seqs[0], 1)
    },
  },
  {
    law: 1,
    name: 'a put into a collection that is not declared is refused, and its neighbours are not',
    async run(t) {
      await t.create()
      const outcomes = await t.backend.commit(t.domain, 1, [
        { at: now, writes: [append('a', 1)], checks: [] },
        { at: now, writes: [append('a', 2), put('nowhere', 'x')], checks: [] },
        { at: now, writes: [append('a', 3)], checks: [] },
      ])
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['committed', 'refused', 'committed'],
      )
      assert.deepEqual(
        (await t.read('a')).items.map(({ data }) => data),
        ['1', '3'],
      )
    },
  },
  {
    law: 2,
    name: 'positions of a domain are gapless and in commit order',
    async run(t) {
      await t.create()
      const commits = Array.from({ length: 40 }, (_, i) =>
        t.commit([append(`s-${i % 3}`, i), append('all', i)]),
      )
      const positions = (await Promise.all(commits)).flatMap((outcome) => outcome.positions)
      assert.deepEqual(
        [...positions].sort((a, b) => a - b),
        Array.from({ length: 80 }, (_, i) => i + 1),
      )
      assert.deepEqual(
        (await t.feed()).map(({ position }) => position),
        Array.from({ length: 80 }, (_, i) => i + 1),
      )
      assert.equal((await t.backend.fence(t.domain)).head, 80)
    },
  },
  {
    law: 2,
    name: 'a failed commit takes no position',
    async run(t) {
      await t.create()
      await t.commit([append('a')])
      await t.refused([append('a')], [streamAt('a', 'none')])
      assert.deepEqual((await t.commit([append('a')])).positions, [2])
    },
  },
  {
    law: 2,
    name: 'domains have positions of their own',
    async run(t) {
      await t.create()
      const other = `${t.domain}-b`
      await t.create(other)
      await t.commit([append('a')])
      const [outcome] = await t.backend.commit(other, 1, [{ at: now, writes: [append('a')], checks: [] }])
      assert.deepEqual(outcome, { kind: 'committed', positions: [1], seqs: [1] })
      assert.ok((await t.backend.domains()).includes(other))
    },
  },
  {
    law: 3,
    name: 'the seqs of a stream are gapless from 1',
    async run(t) {
      await t.create()
      for (let i = 0; i < 5; i++) await t.commit([append('a', i), append('b', i), append('a', -1 - i)])
      assert.deepEqual(
        (await t.read('a')).items.map(({ seq }) => seq),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      )
    },
  },
  {
    law: 3,
    name: 'an append may expect an exact seq, no stream, some stream, or nothing',
    async run(t) {
      await t.create()
      assert.deepEqual(await t.refused([append('a')], [streamAt('a', 'some')]), [
        { kind: 'stream', stream: 'a', expected: 'some', found: 0 },
      ])
      assert.deepEqual(await t.refused([append('a')], [streamAt('a', 1)]), [
        { kind: 'stream', stream: 'a', expected: 1, found: 0 },
      ])
      await t.commit([append('a')], [streamAt('a', 'none')])
      await t.commit([append('a')], [streamAt('a', 1)])
      await t.commit([append('a')], [streamAt('a', 'some')])
      for (const expect of [0, 1, 2, 4, 'none'] as const) {
        assert.deepEqual(await t.refused([append('a')], [streamAt('a', expect)]), [
          { kind: 'stream', stream: 'a', expected: expect, found: 3 },
        ])
      }
      await t.commit([append('b')], [streamAt('b', 0)])
    },
  },
  {
    law: 3,
    name: 'appends that expect nothing never conflict, and one of many that expect the same wins',
    async run(t) {
      await t.create()
      await Promise.all(Array.from({ length: 30 }, (_, i) => t.commit([append('free', i)])))
      assert.equal((await t.read('free')).items.length, 30)
      const outcomes = await Promise.all(
        Array.from({ length: 30 }, () => t.attempt([append('race')], [streamAt('race', 'none')])),
      )
      assert.equal(outcomes.filter(({ kind }) => kind === 'committed').length, 1)
    },
  },
  {
    law: 4,
    name: 'a put or delete may expect an exact revision, absent, present, or nothing',
    async run(t) {
      await t.create()
      await t.declare('users')
      const failed = (expected: number | 'absent' | 'present', found: number) => [
        { kind: 'document', collection: 'users', id: 'u', expected, found },
      ]
      assert.deepEqual(
        await t.refused([put('users', 'u')], [documentAt('users', 'u', 'present')]),
        failed('present', 0),
      )
      const first = (await t.commit([put('users', 'u', 1)], [documentAt('users', 'u', 'absent')]))
        .positions[0] as number
      assert.deepEqual(
        await t.refused([put('users', 'u')], [documentAt('users', 'u', 'absent')]),
        failed('absent', first),
      )
      for (const wrong of [0, first - 1, first + 1]) {
        assert.deepEqual(
          await t.refused([put('users', 'u')], [documentAt('users', 'u', wrong)]),
          failed(wrong, first),
        )
      }
      const second = (await t.commit([put('users', 'u', 2)], [documentAt('users', 'u', first)]))
        .positions[0] as number
      assert.deepEqual(
        await t.refused([remove('users', 'u')], [documentAt('users', 'u', first)]),
        failed(first, second),
      )
      await t.commit([remove('users', 'u')], [documentAt('users', 'u', 'present')])
      assert.deepEqual(
        await t.refused([put('users', 'u')], [documentAt('users', 'u', second)]),
        failed(second, 0),
      )
      await t.commit([put('users', 'u', 3)], [documentAt('users', 'u', 'absent')])
      await t.commit([put('users', 'u', 4)])
    },
  },
  {
    law: 4,
    name: 'of many puts that expect the same revision one wins',
    async run(t) {
      await t.create()
      await t.declare('users')
      const { positions } = await t.commit([put('users', 'u', 0)])
      const race = Array.from({ length: 30 }, (_, i) =>
        t.attempt([put('users', 'u', i)], [documentAt('users', 'u', positions[0] as number)]),
      )
      assert.equal((await Promise.all(race)).filter(({ kind }) => kind === 'committed').length, 1)
    },
  },
  {
    law: 4,
    name: 'an expired document counts as absent, by the time of the commit',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([put('users', 'u', 1, now + 10)])
      await t.refused([put('users', 'u')], [documentAt('users', 'u', 'absent')], now + 9)
      await t.refused([put('users', 'u')], [documentAt('users', 'u', 'present')], now + 10)
      await t.commit([put('users', 'u', 2)], [documentAt('users', 'u', 'absent')], now + 10)
    },
  },
  {
    law: 4,
    name: 'a unique index refuses a second holder, and tells which document holds the key',
    async run(t) {
      await t.create()
      await t.declare('users', byEmail)
      const { positions } = await t.commit([put('users', 'a', { email: 'x' })])
      const [failed] = await t.refused([put('users', 'b', { email: 'x' })])
      assert.deepEqual(failed, {
        kind: 'unique',
        collection: 'users',
        id: 'b',
        index: 'by_email',
        holder: 'a',
        found: positions[0],
      })
      await t.commit([put('users', 'a', { email: 'x', again: true })])
      await t.commit([put('users', 'b', {}), put('users', 'c', { email: null })])
      await t.commit([put('users', 'a', { email: 'y' }), put('users', 'b', { email: 'x' })])
      await t.commit([remove('users', 'b'), put('users', 'c', { email: 'x' })])
      await t.commit([put('users', 'd', { email: 'z' }, now + 5)])
      await t.refused([put('users', 'e', { email: 'z' })], [], now + 4)
      await t.commit([put('users', 'e', { email: 'z' })], [], now + 5)
      assert.equal((await t.get('users', 'd'))?.kind, 'tombstone')
    },
  },
  {
    law: 4,
    name: 'a partial unique index holds only the documents it covers to their key',
    async run(t) {
      await t.create()
      const index = { fields: ['user'], unique: true, where: { primary: true } }
      await t.declare('addresses', {
        fields: { user: 'string', primary: 'boolean' },
        indexes: { one_primary: index },
      })
      await t.commit([
        put('addresses', 'a', { user: 'u', primary: true }),
        put('addresses', 'b', { user: 'u', primary: false }),
      ])
      await t.refused([put('addresses', 'b', { user: 'u', primary: true })])
      await t.commit([
        put('addresses', 'a', { user: 'u', primary: false }),
        put('addresses', 'b', { user: 'u', primary: true }),
      ])
      await t.commit([put('addresses', 'c', { user: 'v', primary: true })])
    },
  },
  {
    law: 4,
    name: 'a unique index finds the holder of a number, whatever its size',
    async run(t) {
      await t.create()
      const indexes = { by_n: { fields: ['n'], unique: true, where: {} } }
      await t.declare('numbers', { fields: { n: 'number' }, indexes })
      for (const n of [0, 0.1, 6.67e-30, -1.1e-17, 1e300, 5e-324, 9_007_199_254_740_991, 1 / 3]) {
        await t.commit([put('numbers', `first of ${n}`, { n })])
        const [failed] = await t.refused([put('numbers', `second of ${n}`, { n })])
        assert.equal(failed?.kind === 'unique' && failed.holder, `first of ${n}`)
        const found = await t.ids({ collection: 'numbers', by: 'index', index: 'by_n', equals: [n] })
        assert.deepEqual(found, [`first of ${n}`])
      }
    },
  },
  {
    law: 5,
    name: 'a put in the group that declares a unique index is held to it',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([put('users', 'first', { email: 'x' })])
      const writes = [put('$collections', 'users', byEmail)]
      const second = [put('users', 'second', { email: 'x' })]
      const group = [writes, second].map((each) => ({ at: now, writes: each, checks: [] }))
      const outcomes = await t.backend.commit(t.domain, 1, group)
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['committed', 'failed'],
      )
      assert.equal((await t.get('users', 'first'))?.kind, 'document')
      assert.equal(await t.get('users', 'second'), undefined)
    },
  },
  {
    law: 5,
    name: 'a commit that declares a collection does nothing else, and a declaration cannot be deleted',
    async run(t) {
      await t.create()
      await t.declare('users')
      const mixed = await t.attempt([put('$collections', 'more', { fields: {}, indexes: {} }), append('a')])
      const deleted = await t.attempt([remove('$collections', 'users')])
      assert.deepEqual([mixed.kind, deleted.kind], ['refused', 'refused'])
      assert.deepEqual((await t.read('a')).items, [])
      await t.commit([put('users', 'u')])
    },
  },
  {
    law: 5,
    name: 'a failed check in one commit never fails its neighbours in the group',
    async run(t) {
      await t.create()
      const outcomes = await t.backend.commit(t.domain, 1, [
        { at: now, writes: [append('a', 1)], checks: [streamAt('a', 'none')] },
        { at: now, writes: [append('a', 2)], checks: [streamAt('a', 'none')] },
        { at: now, writes: [append('a', 3)], checks: [streamAt('a', 1)] },
      ])
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['committed', 'failed', 'committed'],
      )
      assert.deepEqual(
        (await t.read('a')).items.map(({ data }) => data),
        ['1', '3'],
      )
    },
  },
  {
    law: 5,
    name: 'all checks of a commit are judged against the state before it, and all that fail are told',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit(
        [append('a'), put('users', 'u')],
        [streamAt('a', 'none'), documentAt('users', 'u', 'absent')],
      )
      const failed = await t.refused(
        [append('a')],
        [streamAt('a', 9), streamAt('c', 'some'), streamAt('a', 1), documentAt('users', 'u', 'absent')],
      )
      assert.deepEqual(
        failed.map(({ kind }) => kind),
        ['stream', 'stream', 'document'],
      )
    },
  },
  {
    law: 5,
    name: 'a check whose expectation got lost never passes for none',
    async run(t) {
      await t.create()
      await t.commit([append('a')])
      const lost = { kind: 'stream', stream: 'a', expect: undefined } as unknown as Check
      const attempt = () => t.attempt([append('a')], [lost])
      const outcome = await attempt().catch((error: { code?: string }) => ({ kind: error.code }))
      assert.ok(outcome.kind === 'failed' || outcome.kind === 'invalid', `it fails: ${outcome.kind}`)
      assert.equal((await t.read('a')).items.length, 1)
    },
  },
  {
    law: 5,
    name: 'a commit may depend on what it does not write',
    async run(t) {
      await t.create()
      await t.commit([append('a')], [streamAt('b', 'none')])
      await t.refused([append('b')], [streamAt('a', 'none')])
      assert.equal((await t.attempt([], [streamAt('a', 1)])).kind, 'committed')
      assert.equal((await t.attempt([], [streamAt('a', 2)])).kind, 'failed')
    },
  },
  {
    law: 8,
    name: 'a commit that names another epoch is refused, and nothing is written',
    async run(t) {
      await t.create()
      for (const epoch of [0, 2]) {
        await failsWith('fenced', () =>
          t.backend.commit(t.domain, epoch, [{ at: now, writes: [append('a')], checks: [] }]),
        )
      }
      assert.equal((await t.backend.fence(t.domain)).head, 0)
      assert.deepEqual((await t.read('a')).items, [])
    },
  },
  {
    law: 8,
    name: 'a domain that was never created, or is sealed, accepts no commit',
    async run(t) {
      const commit = () => t.backend.commit(t.domain, 1, [{ at: now, writes: [append('a')], checks: [] }])
      await failsWith('fenced', commit)
      await t.create()
      await commit()
      const fence = await t.backend.fence(t.domain)
      assert.equal(await t.backend.transition(t.domain, fence, { ...fence, role: 'sealed', epoch: 2 }), true)
      await failsWith('fenced', commit)
      await failsWith('fenced', () =>
        t.backend.commit(t.domain, 2, [{ at: now, writes: [append('a')], checks: [] }]),
      )
      assert.equal((await t.backend.fence(t.domain)).head, 1)
    },
  },
]

const byEmail = {
  fields: { email: 'string' },
  indexes: { by_email: { fields: ['email'], unique: true, where: {} } },
} as const
