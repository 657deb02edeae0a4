/** Law 14, where a copy is not what it should be: repairs. */
import assert from 'node:assert/strict'
import type { Backend } from '../backend/backend.ts'
import { type Change, changeChecksum, keyOf, type RecordKey } from '../model/change.ts'
import { DigestSum, emptyDigest } from '../model/digest.ts'
import { truncationsCollection } from '../model/truncation.ts'
import { encodeValue } from '../model/value.ts'
import { append, type Context, failsWith, follower, type Law, put, remove } from './harness.ts'

export const repairLaws: readonly Law[] = [
  {
    law: 14,
    name: 'a follower is put right where it stands: records that it lacks, that differ, and that it should not have',
    async run(t) {
      const { copy, whole } = await copied(t)
      const forged = whole.filter((_, i) => i % 3 === 1).map(forge)
      const lost = whole.filter((_, i) => i % 3 === 2)
      await repair(t, copy, forged, lost.map(keyOf))
      await holds(t, copy, [...whole.filter((_, i) => i % 3 === 0), ...forged])
      await repair(t, copy, whole.slice(1), [
        { stream: 'never', seq: 1 },
        { collection: 'users', id: 'never' },
      ])
      assert.deepEqual(await feedOf(t, copy), whole)
      assert.deepEqual(await digests(t, copy), await digests(t, t.domain))
      await t.commit([append('s', 'next'), put('users', 'u1', { name: 'next' }), remove('users', 'u2')])
      await follow(t, copy)
      assert.deepEqual(await feedOf(t, copy), await t.feed())
      assert.equal((await t.backend.fence(copy)).digest, (await t.backend.fence(t.domain)).digest)
    },
  },
  {
    law: 14,
    name: 'a follower that is put right in parts cannot be taken for the same before the last of them',
    async run(t) {
      const { copy, whole } = await copied(t)
      const [first, ...others] = whole.slice(1) as [Change, ...Change[]]
      await repair(t, copy, [first], [], true)
      assert.equal((await t.backend.fence(copy)).digest, emptyDigest)
      await t.commit([append('s', 'next')])
      await follow(t, copy)
      assert.notEqual((await t.backend.fence(copy)).digest, (await t.backend.fence(t.domain)).digest)
      await repair(t, copy, others)
      assert.deepEqual(await feedOf(t, copy), await t.feed())
      assert.equal((await t.backend.fence(copy)).digest, (await t.backend.fence(t.domain)).digest)
    },
  },
  {
    law: 14,
    name: 'a repair passes unique keys from one document to another',
    async run(t) {
      const { copy, whole } = await copied(t)
      const [a, b] = whole.filter((change) => change.kind === 'document' && /^u[34]$/.test(change.id))
      assert.ok(a?.kind === 'document' && b?.kind === 'document')
      const swapped = [
        { ...a, data: b.data },
        { ...b, data: a.data },
      ]
      await repair(t, copy, swapped.map(signed))
      await repair(t, copy, [a], [keyOf(b)])
      await repair(t, copy, [signed({ ...b, data: a.data })], [])
      await repair(t, copy, [a, b])
      assert.deepEqual(await feedOf(t, copy), whole)
      assert.deepEqual(await digests(t, copy), await digests(t, t.domain))
    },
  },
  {
    law: 14,
    name: 'a repair is refused for a head that is still to come, for an earlier one if events have to go, behind the head, of a declaration, with damage, and by who follows nobody',
    async run(t) {
      const { copy, whole } = await copied(t)
      const before = await t.backend.fence(copy)
      const [declared, ...items] = whole as [Change, ...Change[]]
      const [item] = items as [Change]
      const { head } = before
      const page = (of: readonly Change[], next = head, gone: readonly RecordKey[] = []) => ({
        ...{ items: of, next, repair: { gone } },
        ...{ epoch: 1, role: 'authority' as const, head },
      })
      const event = { stream: 's', seq: 1 }
      await failsWith('conflict', () => t.backend.apply(copy, 1, page([], head - 1, [event])))
      await failsWith('conflict', () => t.backend.apply(copy, 1, page([item], head + 1)))
      await failsWith('invalid', () =>
        t.backend.apply(copy, 1, page([signed({ ...item, position: head + 1 })])),
      )
      await failsWith('invalid', () => t.backend.apply(copy, 1, page([item, item])))
      await failsWith('invalid', () => t.backend.apply(copy, 1, page([declared])))
      await failsWith('invalid', () => t.backend.apply(copy, 1, page([], head, [keyOf(declared)])))
      await failsWith('damaged', () => t.backend.apply(copy, 1, page([{ ...item, at: item.at + 1 }])))
      await failsWith('fenced', () => t.backend.apply(copy, 2, page([item])))
      await failsWith('fenced', () => t.backend.apply(t.domain, 1, page([item])))
      assert.deepEqual(await t.backend.fence(copy), before)
      assert.deepEqual(await feedOf(t, copy), whole)
    },
  },
  {
    law: 14,
    name: 'a follower that took pages since its repair was made keeps what is newer, and is put right beside it',
    async run(t) {
      const { copy, whole } = await copied(t)
      await t.declare(truncationsCollection)
      await follow(t, copy)
      const { head } = await t.backend.fence(copy)
      const forged = whole.slice(1).filter((change) => change.kind !== 'event' || change.stream === 'long')
      await repair(t, copy, forged.map(forge))
      await t.commit([put('users', 'u1', { name: 'newer' }), remove('users', 'u2')])
      await t.commit([put('users', 'u7', { name: 'n1' }), put('users', 'new', { name: 'made since' })])
      await t.commit([put(truncationsCollection, 's', { before: 4 })])
      // What the repair would put has been superseded, deleted, made since, or gave its key away.
      for (let limit = 1; limit <= 3; limit++) await follow(t, copy, t.backend, limit)
      const { role } = await t.backend.fence(copy)
      const late = { next: head, epoch: 1, role, head }
      const gone = [{ collection: 'users', id: 'new' }]
      await t.backend.apply(copy, 1, { ...late, items: whole.slice(1), repair: { gone } })
      await follow(t, copy)
      assert.deepEqual(await feedOf(t, copy), await t.feed())
      assert.deepEqual(await digests(t, copy), await digests(t, t.domain))
    },
  },
  {
    law: 14,
    name: 'a follower is put right that holds documents whose declaration stands further on in the feed',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('s', 1), put('users', 'u1', { name: 'a' }), put('users', 'u2', { name: 'b' })])
      await t.declare('users', { fields: { name: 'string' } })
      await t.commit([append('s', 2)])
      const copy = await follower(t)
      await t.backend.apply(copy, 1, await t.backend.changes(t.domain, 0, 1))
      const [event] = (await t.backend.changes(t.domain, 0, 1)).items as [Change]
      await repair(t, copy, [forge(event)])
      await repair(t, copy, [event])
      await follow(t, copy)
      assert.deepEqual(await feedOf(t, copy), await t.feed())
      assert.deepEqual(await digests(t, copy), await digests(t, t.domain))
    },
  },
  {
    law: 14,
    name: 'another process that knew the copy goes on with it after it was repaired',
    when: (_, subject) => subject.reopen !== undefined || 'the place cannot be opened twice',
    async run(t) {
      const other = (await t.subject.reopen?.()) as Backend
      try {
        const { copy, whole } = await copied(t, other)
        const documents = whole.slice(1).filter(({ kind }) => kind === 'document')
        await repair(t, copy, documents.map(forge))
        await t.commit([put('users', 'u1', { name: 'later' }), remove('users', 'u2')])
        await follow(t, copy, other)
        const rest = (await t.feed()).filter(({ position }) => documents.some((d) => d.position === position))
        await repair(t, copy, rest)
        await t.commit([put('users', 'u3', { name: 'latest' }), append('s', 1)])
        await follow(t, copy, other)
        assert.deepEqual(await feedOf(t, copy), await t.feed())
        assert.equal((await t.backend.fence(copy)).digest, (await t.backend.fence(t.domain)).digest)
      } finally {
        await other.close()
      }
    },
  },
]

/** A domain of every kind of record, and a follower that holds all of it. */
async function copied(t: Context, through = t.backend): Promise<{ copy: string; whole: readonly Change[] }> {
  await t.create()
  await t.declare('users', {
    fields: { name: 'string' },
    indexes: { byName: { fields: ['name'], unique: true, where: {} } },
  })
  await t.commit([append('s', 1), append('s', 2), append('long', 'x')])
  for (let i = 1; i <= 6; i++) await t.commit([put('users', `u${i}`, { name: `n${i}` }), append('s', i)])
  await t.commit([remove('users', 'u5'), remove('users', 'u6')])
  const copy = await follower(t)
  await follow(t, copy, through)
  return { copy, whole: await t.feed() }
}

async function follow(t: Context, copy: string, through = t.backend, limit = 1_000): Promise<void> {
  const { head } = await t.backend.fence(copy)
  const page = await t.backend.changes(t.domain, head, limit)
  if (page.next > head) await through.apply(copy, 1, page)
}

async function repair(
  t: Context,
  copy: string,
  items: readonly Change[],
  gone: readonly RecordKey[] = [],
  isPart = false,
): Promise<void> {
  const { head, role } = await t.backend.fence(copy)
  await t.backend.apply(copy, 1, { items, next: head, epoch: 1, role, head, repair: { gone, isPart } })
  assert.equal((await t.backend.fence(copy)).head, head, 'a repair leaves the head where it is')
}

async function feedOf(t: Context, domain: string): Promise<readonly Change[]> {
  return (await t.backend.changes(domain, 0, 1_000)).items
}

/** The fence's digest, and the sum of what is there. */
async function digests(t: Context, domain: string): Promise<readonly string[]> {
  const sum = new DigestSum(emptyDigest)
  for (const { checksum } of await feedOf(t, domain)) sum.add(checksum)
  return [(await t.backend.fence(domain)).digest, sum.toString()]
}

async function holds(t: Context, copy: string, changes: readonly Change[]): Promise<void> {
  const sorted = [...changes].sort((a, b) => a.position - b.position)
  assert.deepEqual(await feedOf(t, copy), sorted)
  const [fence, sum] = await digests(t, copy)
  assert.equal(fence, sum, 'the digest is the sum of what is there')
}

function signed<C extends Change>(change: C): C {
  return { ...change, checksum: changeChecksum(change) }
}

/** Another record under the same key, sound in itself. */
function forge(change: Change): Change {
  if (change.kind === 'tombstone') return signed({ ...change, at: change.at + 1 })
  const data = encodeValue({ name: `forged ${change.position}` })
  return signed({ ...change, data })
}
