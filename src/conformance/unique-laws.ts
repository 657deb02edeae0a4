/** Law 14, where a follower meets older state in the way of a unique index. */
import assert from 'node:assert/strict'
import type { FeedPart } from '../model/page.ts'
import { type Context, follower, type Law, put } from './harness.ts'

const name = { fields: { name: 'string' } } as const
const unique = { ...name, indexes: { byName: { fields: ['name'], unique: true, where: {} } } } as const
const named = (id: string, key: string) => put('users', id, { name: key })

export const uniqueLaws: readonly Law[] = [
  {
    law: 14,
    name: 'a follower takes a page that declares a unique index and has who took a key behind it',
    async run(t) {
      const copy = await behind(t)
      await t.declare('users', unique)
      await t.commit([named('b', 'x')])
      await t.commit([named('a', 'z')])
      await take(t, copy, 2)
      await isSame(t, copy)
    },
  },
  {
    law: 14,
    name: 'a follower takes a page that declares a unique index and has who took a key before it',
    async run(t) {
      const copy = await behind(t)
      await t.commit([named('b', 'x')])
      await t.declare('users', unique)
      await t.commit([named('c', 'w')])
      await t.commit([named('a', 'z')])
      await take(t, copy, 3)
      await isSame(t, copy)
    },
  },
  {
    law: 14,
    name: 'a follower keeps, of documents that had one key before its index was declared, those that still are what they were',
    async run(t) {
      await t.create()
      await t.declare('users', name)
      const copy = await follower(t)
      await take(t, copy, 1)
      await t.commit([named('a', 'x')])
      await t.commit([named('b', 'x')])
      const first = await t.backend.changes(t.domain, 1, 10)
      await t.commit([named('b', 'y')])
      await t.declare('users', unique)
      await t.commit([named('c', 'w')])
      await t.commit([named('b', 'z')])
      await t.backend.apply(copy, 1, joined(first, await t.backend.changes(t.domain, first.next, 2)))
      await isSame(t, copy)
    },
  },
  {
    law: 14,
    name: 'a follower takes parts of the feed as one page, in which a key passed from one document to another',
    async run(t) {
      await t.create()
      await t.declare('users', unique)
      await t.commit([named('a', 'x')])
      const first = await t.backend.changes(t.domain, 1, 10)
      await t.commit([named('a', 'y')])
      await t.commit([named('b', 'x')])
      await t.commit([named('a', 'z')])
      const copy = await follower(t)
      await take(t, copy, 1)
      await t.backend.apply(copy, 1, joined(first, await t.backend.changes(t.domain, first.next, 1)))
      await isSame(t, copy)
    },
  },
]

/** A follower that has `a` under the key `x`, where `a` has another by now. */
async function behind(t: Context): Promise<string> {
  await t.create()
  await t.declare('users', name)
  await t.commit([named('a', 'x')])
  const copy = await follower(t)
  await take(t, copy, 10)
  await t.commit([named('a', 'y')])
  return copy
}

/** One page. */
async function take(t: Context, copy: string, limit: number): Promise<void> {
  const { head } = await t.backend.fence(copy)
  await t.backend.apply(copy, 1, await t.backend.changes(t.domain, head, limit))
}

/** What a mover makes of parts of the feed that it read one after the other. */
function joined(first: FeedPart, second: FeedPart): FeedPart {
  return { ...second, items: [...first.items, ...second.items] }
}

/** Takes the rest of the feed, after which both hold the same. */
async function isSame(t: Context, copy: string): Promise<void> {
  const fences = async () => [await t.backend.fence(copy), await t.backend.fence(t.domain)] as const
  for (let [ours, theirs] = await fences(); ours.head < theirs.head; [ours, theirs] = await fences())
    await take(t, copy, 1)
  const [ours, theirs] = await fences()
  assert.deepEqual((await t.backend.changes(copy, 0, 1_000)).items, await t.feed())
  assert.equal(ours.digest, theirs.digest)
}
