/** Laws 6, 16, 17 and 18: durability, clocks, capabilities, and the life of a backend. */
import assert from 'node:assert/strict'
import type { SyncBackend } from '../backend/backend.ts'
import { append, type Context, documentAt, failsWith, type Law, now, put, streamAt } from './harness.ts'

const hasReopen = (_: unknown, { reopen }: { reopen?: unknown }) =>
  reopen === undefined ? 'the subject does not say how to open its place again' : true

export const lifetimeLaws: readonly Law[] = [
  {
    law: 6,
    name: 'an acknowledged commit is there when the place is opened again',
    when: (supports, subject) =>
      supports.durability === 'none' ? 'it keeps nothing beyond itself' : hasReopen(supports, subject),
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('a', 1), put('users', 'u', 2)])
      const other = await open(t)
      try {
        assert.deepEqual(await t.feed(10, other), await t.feed(10))
        assert.deepEqual(await other.fence(t.domain), await t.backend.fence(t.domain))
      } finally {
        await other.close()
      }
    },
  },
  {
    law: 6,
    name: 'a backend that keeps nothing beyond itself says so',
    when: ({ durability }) => (durability === 'none' ? true : 'it does keep what it acknowledged'),
    async run(t) {
      assert.equal(t.backend.supports.shared, false)
    },
  },
  {
    law: 16,
    name: 'times that go back order nothing',
    async run(t) {
      await t.create()
      for (const at of [now, 5, now + 10, 0]) await t.commit([append('a', at)], [], at)
      assert.deepEqual(
        (await t.read('a')).items.map(({ at, seq }) => [at, seq]),
        [
          [now, 1],
          [5, 2],
          [now + 10, 3],
          [0, 4],
        ],
      )
      assert.deepEqual(
        (await t.feed()).map(({ position }) => position),
        [1, 2, 3, 4],
      )
    },
  },
  {
    law: 17,
    name: 'the synchronous verbs answer as the others do',
    when: ({ sync }) => (sync ? true : 'it has no synchronous verbs'),
    async run(t) {
      await t.create()
      await t.declare('users')
      const sync = t.backend.sync as SyncBackend
      const [outcome] = sync.commit(t.domain, 1, [
        { at: now, writes: [append('a', 1), put('users', 'u', 2)], checks: [streamAt('a', 'none')] },
      ])
      assert.deepEqual(outcome, { kind: 'committed', positions: [2, 3], seqs: [1] })
      assert.equal(
        sync.commit(t.domain, 1, [{ at: now, writes: [], checks: [documentAt('users', 'u', 'absent')] }])[0]
          ?.kind,
        'failed',
      )
      const range = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 10 }
      assert.deepEqual(sync.read(t.domain, 'a', range), await t.backend.read(t.domain, 'a', range))
      assert.deepEqual(sync.changes(t.domain, 0, 10), await t.backend.changes(t.domain, 0, 10))
      assert.deepEqual(sync.fence(t.domain), await t.backend.fence(t.domain))
      assert.deepEqual(
        sync.get(t.domain, [{ collection: 'users', id: 'u' }]),
        await t.backend.get(t.domain, [{ collection: 'users', id: 'u' }]),
      )
    },
  },
  {
    law: 17,
    name: 'a backend without synchronous verbs has none',
    when: ({ sync }) => (sync ? 'it has synchronous verbs' : true),
    async run(t) {
      assert.equal(t.backend.sync, undefined)
    },
  },
  {
    law: 17,
    name: 'two backends on one place see and refuse what the other did',
    when: (supports, subject) =>
      supports.shared ? hasReopen(supports, subject) : 'only one may open the place',
    async run(t) {
      await t.create()
      await t.declare('users')
      const other = await open(t)
      try {
        for (let i = 0; i < 20; i++) {
          const writer = i % 2 === 0 ? t.backend : other
          const commit = {
            at: now,
            writes: [append('a', i), put('users', 'u', i)],
            checks: [streamAt('a', i)],
          }
          const [outcome] = await writer.commit(t.domain, 1, [commit])
          assert.deepEqual(outcome, { kind: 'committed', positions: [2 + 2 * i, 3 + 2 * i], seqs: [i + 1] })
          assert.equal((await writer.commit(t.domain, 1, [commit]))[0]?.kind, 'failed')
        }
        assert.deepEqual(await t.feed(7, other), await t.feed(7))
      } finally {
        await other.close()
      }
    },
  },
  {
    law: 18,
    name: 'a watcher is told of heads as they move, and ends when its signal aborts',
    async run(t) {
      await t.create()
      const ending = new AbortController()
      const heads = t.backend.watch(t.domain, ending.signal)[Symbol.asyncIterator]()
      for (let head = 1; head <= 3; head++) {
        await t.commit([append('a')])
        for (let found = 0; found < head; ) found = (await within(heads.next())).value ?? 0
      }
      const last = heads.next()
      ending.abort()
      assert.equal((await within(last)).done, true)
    },
  },
  {
    law: 18,
    name: "a watcher is told of another backend's commits on the same place",
    when: (supports, subject) =>
      supports.shared ? hasReopen(supports, subject) : 'only one may open the place',
    async run(t) {
      await t.create()
      const other = await open(t)
      const ending = new AbortController()
      try {
        const heads = t.backend.watch(t.domain, ending.signal)[Symbol.asyncIterator]()
        assert.equal((await within(heads.next())).value, 0)
        const next = heads.next()
        await other.commit(t.domain, 1, [{ at: now, writes: [append('a')], checks: [] }])
        assert.equal((await within(next)).value, 1)
        ending.abort()
        assert.equal((await within(heads.next())).done, true)
      } finally {
        await other.close()
      }
    },
  },
  {
    law: 18,
    name: 'a call whose signal is aborted fails and writes nothing',
    async run(t) {
      await t.create()
      const signal = AbortSignal.abort(new Error('enough'))
      await failsWith('aborted', () =>
        t.backend.commit(t.domain, 1, [{ at: now, writes: [append('a')], checks: [] }], { signal }),
      )
      await failsWith('aborted', () => t.backend.changes(t.domain, 0, 10, { signal }))
      assert.equal((await t.backend.fence(t.domain)).head, 0)
    },
  },
  {
    law: 18,
    name: 'close is idempotent, ends watchers, and calls afterwards fail',
    when: hasReopen,
    async run(t) {
      await t.create()
      const other = await open(t)
      const heads = other.watch(t.domain, new AbortController().signal)[Symbol.asyncIterator]()
      await within(heads.next())
      const next = heads.next()
      await other.close()
      await other.close()
      assert.equal((await within(next)).done, true)
      await failsWith('closed', () => other.fence(t.domain))
      await failsWith('closed', () =>
        other.commit(t.domain, 1, [{ at: now, writes: [append('a')], checks: [] }]),
      )
      await failsWith('closed', () => other.changes(t.domain, 0, 10))
    },
  },
]

async function open({ subject }: Context) {
  assert.ok(subject.reopen)
  return subject.reopen()
}

/** The answer, or a failure after five seconds: a law that waits for ever fails by its name. */
async function within<T>(answer: Promise<T>): Promise<T> {
  const late = new AbortController()
  const timeout = AbortSignal.timeout(5_000)
  const failed = new Promise<never>((_, reject) => {
    timeout.addEventListener(
      'abort',
      () => reject(new assert.AssertionError({ message: 'nothing came for 5 seconds' })),
      { signal: late.signal },
    )
  })
  try {
    return await Promise.race([answer, failed])
  } finally {
    late.abort()
  }
}
