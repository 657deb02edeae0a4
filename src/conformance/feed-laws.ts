/** Laws 10, 14 and 15: the feed, followers, and who may write. */
import assert from 'node:assert/strict'
import { DigestSum, emptyDigest } from '../model/digest.ts'
import { vacantFence } from '../model/fence.ts'
import { append, failsWith, type Law, now, put, remove } from './harness.ts'

export const feedLaws: readonly Law[] = [
  {
    law: 10,
    name: 'the feed delivers every event, and of each document its latest state or tombstone, in position order',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('a', 1), put('users', 'u', 1), put('users', 'v', 1)])
      await t.commit([put('users', 'u', 2), append('a', 2)])
      await t.commit([remove('users', 'v'), remove('users', 'never')])
      for (const limit of [1, 2, 3, 100]) {
        const feed = (await t.feed(limit)).slice(1)
        assert.deepEqual(
          feed.map(({ kind, position }) => [kind, position]),
          [
            ['event', 2],
            ['document', 5],
            ['event', 6],
            ['tombstone', 7],
            ['tombstone', 8],
          ],
        )
      }
    },
  },
  {
    law: 10,
    name: 'a page of the feed never splits a commit',
    async run(t) {
      await t.create()
      await t.declare('users')
      for (let i = 0; i < 12; i++) {
        await t.commit(
          Array.from({ length: (i % 5) + 1 }, (_, j) =>
            j % 2 === 0 ? append('a', i) : put('users', `u-${(i * 7 + j) % 5}`, i),
          ),
        )
      }
      const whole = await t.feed()
      for (let limit = 1; limit <= 12; limit++) {
        for (let after = 0; ; ) {
          const page = await t.backend.changes(t.domain, after, limit)
          const [last, following] = [page.items.at(-1), whole.find(({ position }) => position > page.next)]
          assert.notEqual(
            following?.commit,
            last?.commit,
            `limit ${limit}: the commit of position ${last?.position} is whole`,
          )
          if (page.next >= page.head) break
          after = page.next
        }
        assert.deepEqual(await t.feed(limit), whole)
      }
    },
  },
  {
    law: 10,
    name: 'a reader that follows the feed under writes misses nothing and sees no event twice',
    async run(t) {
      await t.create()
      let isWriting = true
      const writers = Array.from({ length: 4 }, async (_, w) => {
        for (let i = 0; i < 50; i++) await t.commit([append(`s-${w}`, i), append('all', i)])
      })
      const written = Promise.all(writers).then(() => {
        isWriting = false
      })
      const seen: number[] = []
      for (let after = 0; ; ) {
        const wasWriting = isWriting
        const page = await t.backend.changes(t.domain, after, 17)
        seen.push(...page.items.map(({ position }) => position))
        after = page.next
        if (!wasWriting && page.next >= page.head) break
        await new Promise((resolve) => setImmediate(resolve))
      }
      await written
      assert.deepEqual(
        seen,
        Array.from({ length: 400 }, (_, i) => i + 1),
      )
    },
  },
  {
    law: 10,
    name: 'the feed is whole after commits that were refused',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('a', 1), put('users', 'u', 1)])
      const before = await t.feed()
      const commit = { at: now, writes: [put('users', 'v', 1)], checks: [] }
      await failsWith('fenced', () => t.backend.commit(t.domain, 7, [commit]))
      assert.deepEqual(await t.feed(), before)
      await failsWith('fenced', () => t.backend.commit(t.domain, 7, [commit]))
      await t.commit([put('users', 'w', 1)])
      assert.equal((await t.feed()).length, before.length + 1)
    },
  },
  {
    law: 10,
    name: 'the digest is the sum of the checksums of the live records',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('a', 1), put('users', 'u', 1), put('users', 'u', 2), put('users', 'v', 1)])
      await t.commit([remove('users', 'v'), put('users', 'u', 3), append('a', 2)])
      const sum = new DigestSum(emptyDigest)
      for (const { checksum } of await t.feed()) sum.add(checksum)
      assert.equal((await t.backend.fence(t.domain)).digest, sum.toString())
    },
  },
  {
    law: 14,
    name: 'a follower that applies the feed holds the same records under the same digest',
    async run(t) {
      await t.create()
      await t.declare('users', {
        fields: { email: 'string' },
        indexes: { by_email: { fields: ['email'], unique: true, where: {} } },
      })
      const copy = `${t.domain}-c`
      const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: 'copy' } as const
      assert.equal(await t.backend.transition(copy, vacantFence, prepared), true)
      const catchUp = async (limit: number) => {
        for (;;) {
          const { head } = await t.backend.fence(copy)
          const page = await t.backend.changes(t.domain, head, limit)
          if (page.next === head) return
          await t.backend.apply(copy, 1, page)
        }
      }
      await t.commit([
        append('a', 1),
        put('users', 'u', { email: 'x' }),
        put('users', 'v', { email: 'y' }, now),
      ])
      await catchUp(1)
      await t.commit([
        remove('users', 'v'),
        put('users', 'u', { email: 'z' }),
        put('users', 'w', { email: 'x' }),
      ])
      await t.commit([append('a', 2), put('users', 'u', { email: 'y' })])
      await catchUp(100)
      const [source, target] = [await t.backend.fence(t.domain), await t.backend.fence(copy)]
      assert.deepEqual([target.head, target.digest, target.epoch], [source.head, source.digest, source.epoch])
      const [ours, theirs] = [await t.feed(), (await t.backend.changes(copy, 0, 1_000)).items]
      assert.deepEqual(theirs, ours)
      await failsWith('fenced', () =>
        t.backend.commit(copy, 1, [{ at: now, writes: [append('a')], checks: [] }]),
      )
    },
  },
  {
    law: 14,
    name: 'a follower takes large pages: texts of every kind, documents there already, tombstones',
    async run(t) {
      await t.create()
      await t.declare('things')
      const copy = `${t.domain}-c`
      const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: 'copy' } as const
      await t.backend.transition(copy, vacantFence, prepared)
      const catchUp = async () => {
        const { head } = await t.backend.fence(copy)
        await t.backend.apply(copy, 1, await t.backend.changes(t.domain, head, 1_000))
      }
      const texts = ['', '\t\n\r\\', '\\N', '"{},NULL', '\u0001\u007f', 'ü€😀'.repeat(50), 'x'.repeat(70_000)]
      const ids = Array.from({ length: 150 }, (_, i) => `t-${i}-${texts[(i % 5) + 1]}`)
      await t.commit(ids.map((id, i) => put('things', id, texts[i % texts.length], i % 3 ? null : now + i)))
      await catchUp()
      await t.commit([
        ...texts.map((text) => append(`s-${text.slice(0, 20)}`, text)),
        ...ids.flatMap((id, i) => (i % 4 ? [] : [i % 8 ? remove('things', id) : put('things', id, i)])),
        ...Array.from({ length: 200 }, (_, i) => append('many', { i })),
        ...ids.map((id, i) => put('things', `${id}-late`, i)),
      ])
      await catchUp()
      const [source, target] = [await t.backend.fence(t.domain), await t.backend.fence(copy)]
      assert.deepEqual([target.head, target.digest], [source.head, source.digest])
      assert.deepEqual((await t.backend.changes(copy, 0, 1_000)).items, await t.feed())
    },
  },
  {
    law: 14,
    name: 'a follower takes documents whose collection was declared again behind them',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([put('users', 'u', { email: 'x' })])
      const indexes = { by_email: { fields: ['email'], unique: true, where: {} } }
      await t.declare('users', { fields: { email: 'string' }, indexes })
      await t.commit([put('users', 'v', { email: 'y' })])
      const copy = `${t.domain}-c`
      const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: 'copy' } as const
      await t.backend.transition(copy, vacantFence, prepared)
      for (let head = 0; head < (await t.backend.fence(t.domain)).head; ) {
        const page = await t.backend.changes(t.domain, head, 1)
        await t.backend.apply(copy, 1, page)
        head = page.next
      }
      const [source, target] = [await t.backend.fence(t.domain), await t.backend.fence(copy)]
      assert.deepEqual([target.head, target.digest], [source.head, source.digest])
      assert.deepEqual((await t.backend.changes(copy, 0, 1_000)).items, await t.feed())
    },
  },
  {
    law: 14,
    name: 'a follower refuses a page of another epoch, a page it has, one that leaves something out, and an authority every page',
    async run(t) {
      await t.create()
      await t.commit([append('a')])
      const page = await t.backend.changes(t.domain, 0, 10)
      await failsWith('fenced', () => t.backend.apply(t.domain, 1, page))
      const copy = `${t.domain}-c`
      await t.backend.transition(copy, vacantFence, {
        ...vacantFence,
        role: 'prepared',
        epoch: 1,
        incarnation: 'copy',
      })
      await failsWith('fenced', () => t.backend.apply(copy, 2, page))
      await t.backend.apply(copy, 1, page)
      await failsWith('invalid', () => t.backend.apply(copy, 1, page))
      await t.commit([append('b'), append('c'), append('d')])
      const behind = await t.backend.changes(t.domain, 2, 10)
      await failsWith('fenced', () => t.backend.apply(copy, 1, { ...behind, after: 2 }))
      await t.backend.apply(copy, 1, { ...(await t.backend.changes(t.domain, 1, 10)), after: 1 })
    },
  },
  {
    law: 15,
    name: 'a transition is a compare-and-set: of several from one view one succeeds',
    async run(t) {
      await t.create()
      const seen = await t.backend.fence(t.domain)
      await t.commit([append('a')])
      const race = ['x', 'y', 'z'].map((successor) =>
        t.backend.transition(t.domain, seen, { ...seen, successor }),
      )
      assert.equal((await Promise.all(race)).filter(Boolean).length, 1)
      const found = await t.backend.fence(t.domain)
      assert.deepEqual(
        [found.head, found.role, found.epoch],
        [1, 'authority', 1],
        'commits do not disturb it, and it does not disturb them',
      )
      assert.equal(await t.backend.transition(t.domain, seen, { ...seen, role: 'sealed', epoch: 2 }), false)
      const sealed = { ...found, role: 'sealed', epoch: 2 } as const
      assert.equal(await t.backend.transition(t.domain, found, sealed), true)
      assert.equal(
        await t.backend.transition(
          t.domain,
          { ...sealed, head: 9 },
          { ...sealed, role: 'authority', epoch: 3 },
        ),
        false,
      )
      assert.equal(
        await t.backend.transition(t.domain, sealed, { ...sealed, role: 'authority', epoch: 3 }),
        true,
      )
    },
  },
]
