/** Laws 3, 7 and 11 as an application meets them, through the store. */
import assert from 'node:assert/strict'
import { collection } from '../facet/definition.ts'
import { openStore } from '../store.ts'
import { Forward } from '../wrapper/forward.ts'
import { type Context, failsWith, type Law } from './harness.ts'

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
