/** Laws 3, 7 and 11 as an application meets them, through the store. */
import assert from 'node:assert/strict'
import { collection } from '../facet/definition.ts'
import { openStore } from '../store.ts'
import { Forward } from '../wrapper/forward.ts'
import { append, type Context, failsWith, type Law, now, put } from './harness.ts'

export const storeLaws: readonly Law[] = [
  {
    law: 7,
    name: 'a commit with an id is applied once, however often and at whatever time it is retried',
    async run(t) {
      const app = await open(t)
      const retry = () =>
        app.log.append(
          'a',
          [
            { type: 'x', data: 1 },
            { type: 'y', data: 2 },
          ],
          { id: 'request', expect: 'none' },
        )
      const first = await retry()
      await app.log.append('a', { type: 'z', data: 3 })
      const again = await Promise.all([retry(), retry(), retry()])
      for (const result of again) assert.deepEqual(result, { ...first, isReplay: true })
      assert.equal(await app.log.seq('a'), 3)
    },
  },
  {
    law: 7,
    name: 'an id that was used for other changes is refused',
    async run(t) {
      const app = await open(t)
      await app.documents('notes').put('n', 1, { id: 'request' })
      await failsWith('mismatch', () => app.documents('notes').put('n', 2, { id: 'request' }))
      assert.equal((await app.documents('notes').get('n'))?.value, 1)
    },
  },
  {
    law: 3,
    name: 'an expectation that is undefined is refused, not taken for none',
    async run(t) {
      const app = await open(t)
      // What a caller without types does.
      const options = { expect: undefined } as object
      await failsWith('invalid', () => app.log.append('a', { type: 'x', data: 1 }, options))
      await failsWith('invalid', () => app.documents('notes').put('n', 1, options))
      assert.equal(await app.log.seq('a'), 0)
    },
  },
  {
    law: 11,
    name: 'a value that JSON would change is refused before anything is written, with the path of the field',
    async run(t) {
      const app = await open(t)
      const unfit = [
        undefined,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        -0,
        1n,
        () => 1,
        Symbol('s'),
        new Date(0),
        new Map(),
        new Array(3),
        '\ud800',
        'a\0b',
        { '\ud800': 1 },
      ]
      for (const value of unfit) {
        await failsWith('invalid', () => app.log.append('a', { type: 'x', data: { deep: [value] } }))
        await failsWith('invalid', () => app.documents('notes').put('n', { deep: [value] }))
      }
      for (const id of ['', '\ud800', 'a\0b'])
        await failsWith('invalid', () => app.log.append(id, { type: 'x', data: 1 }))
      await failsWith('too-large', () => app.log.append('x'.repeat(513), { type: 'x', data: 1 }))
      await failsWith('too-large', () => app.log.append('a', { type: 'x', data: 'x'.repeat(1_048_576) }))
      await app.log.append('x'.repeat(512), { type: 'x', data: 'x'.repeat(1_048_574) })
      assert.equal(await app.log.seq('a'), 0)
      assert.equal(await app.documents('notes').get('n'), undefined)
    },
  },
  {
    law: 1,
    name: 'a table handler runs in its commit, once, and only if the checks hold',
    when: ({ tables }) => (tables ? true : 'it has no tables of others'),
    async run(t) {
      const app = await open(t)
      const runs: unknown[] = []
      const attempt = (expect: 'none' | 'some', id: string) =>
        app.transaction(
          (tx) => {
            tx.append('a', { type: 'x', data: 1 }, { expect })
            tx.put('notes', 'n', 1)
            tx.tables((client, committed) => {
              assert.ok(client, 'the handler is given the client of the driver')
              runs.push(committed)
            })
          },
          { id },
        )
      const first = await attempt('none', 'request')
      assert.deepEqual(runs, [{ positions: first.positions, seqs: [1], at: first.at }])
      const [stored] = (await app.log.read('a')).events
      assert.equal(first.at, stored?.at, 'the caller and the handler are told when the commit was stored')
      const again = await attempt('none', 'request')
      assert.deepEqual([again.isReplay, again.at], [true, first.at])
      await failsWith('conflict', () => attempt('none', 'another'))
      assert.equal(runs.length, 1)
      await attempt('some', 'third')
      assert.equal(runs.length, 2)
    },
  },
  {
    law: 1,
    name: 'a table handler that throws undoes its own commit, and none beside it in the group',
    when: ({ tables }) => (tables ? true : 'it has no tables of others'),
    async run(t) {
      await t.create()
      await t.declare('users')
      const thrown = new Error('the handler gave up')
      const commits = [1, 2, 3].map((n) => ({
        at: now,
        writes: [append('a', n), put('users', `u${n}`, n)],
        checks: [],
        ...(n === 2
          ? {
              tables: () => {
                throw thrown
              },
            }
          : {}),
      }))
      const outcomes = await t.backend.commit(t.domain, 1, commits)
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['committed', 'refused', 'committed'],
      )
      assert.equal(outcomes[1]?.kind === 'refused' && outcomes[1].error, thrown)
      assert.deepEqual(
        (await t.read('a')).items.map(({ seq, data, position }) => [seq, data, position]),
        [
          [1, '1', 2],
          [2, '3', 4],
        ],
      )
      assert.equal(await t.get('users', 'u2'), undefined)
    },
  },
  {
    law: 17,
    name: 'a table handler is refused where there are no tables, before anything is written',
    when: ({ tables }) => (tables ? 'it has tables' : true),
    async run(t) {
      const app = await open(t)
      const attempt = () =>
        app.transaction((tx) => {
          tx.append('a', { type: 'x', data: 1 })
          tx.tables(() => assert.fail('the handler does not run'))
        })
      await failsWith('unsupported', attempt)
      assert.equal(await app.log.seq('a'), 0)
    },
  },
  {
    law: 17,
    name: 'a commit in a transaction of the caller’s is refused where there is none',
    when: ({ transactions }) => (transactions ? 'it can commit in a transaction of the caller’s' : true),
    async run(t) {
      const app = await open(t)
      await failsWith('unsupported', async () => app.within(async () => []))
      await failsWith('unsupported', async () => t.backend.within({}))
    },
  },
]

/** The subject's backend behind the store, with everything that the store puts around it. Closing stays with the suite. */
async function open(t: Context) {
  const store = await openStore(new Lent(t.backend), {
    domains: { [t.domain]: { collections: { notes: collection<unknown>() } } },
  })
  return store.domain(t.domain)
}

class Lent extends Forward {
  override async open() {}
  override async close() {}
}
