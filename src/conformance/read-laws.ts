/** Laws 9, 11, 12 and 13: reads, exact content, order, checksums. */
import assert from 'node:assert/strict'
import type { Change } from '../model/change.ts'
import { compareText } from '../model/key.ts'
import { append, failsWith, type Law, put, remove } from './harness.ts'

const trickyTexts = [
  'a',
  'B',
  'ä',
  'a\u0308',
  'Z',
  '%',
  '_',
  "'",
  '"',
  '\\',
  ' ',
  '\t',
  '\u0001',
  '\uFFFF',
  '\u{1F600}',
  '\u{10FFFF}',
  '__proto__',
  'constructor',
  '\u00e9',
  'e\u0301',
  '.',
  '*',
  '>',
  '/',
  '10',
  '9',
]

export const readLaws: readonly Law[] = [
  {
    law: 9,
    name: 'a read returns what the last acknowledged commit left, and under which epoch',
    async run(t) {
      await t.create()
      await t.declare('users')
      for (let i = 0; i < 10; i++) {
        const { positions } = await t.commit([append('a', i), put('users', 'u', i)])
        const page = await t.read('a', { backwards: true, limit: 1 })
        assert.equal(page.items[0]?.data, String(i))
        assert.deepEqual([page.epoch, page.role, page.head], [1, 'authority', positions[1]])
        const found = await t.backend.get(t.domain, [
          { collection: 'users', id: 'u' },
          { collection: 'users', id: 'none' },
        ])
        assert.deepEqual([found.epoch, found.role, found.head], [1, 'authority', positions[1]])
        assert.deepEqual(
          found.documents.map((record) => record?.position),
          [positions[1], undefined],
        )
        const scanned = await t.scan({ collection: 'users' })
        assert.deepEqual(
          [scanned.epoch, scanned.role, scanned.items[0]?.position],
          [1, 'authority', positions[1]],
        )
        assert.equal((await t.get('users', 'u'))?.position, positions[1])
      }
    },
  },
  {
    law: 9,
    name: 'a record that a reader changes is not changed in the store',
    async run(t) {
      await t.create()
      await t.declare('users')
      await t.commit([append('a', { n: 1 }), put('users', 'u', { n: 1 })])
      const tamper = (record: object | undefined) => {
        try {
          Object.assign(record ?? {}, { data: '{"n":2}', position: 99 })
        } catch (error) {
          assert.ok(error instanceof TypeError, 'a frozen record refuses the change')
        }
      }
      tamper((await t.read('a')).items[0])
      tamper(await t.get('users', 'u'))
      tamper((await t.feed()).at(-1))
      assert.equal((await t.read('a')).items[0]?.data, '{"n":1}')
      const document = await t.get('users', 'u')
      assert.equal(document?.kind === 'document' && document.data, '{"n":1}')
    },
  },
  {
    law: 9,
    name: 'a stream is read forwards and backwards, between bounds, page by page',
    async run(t) {
      await t.create()
      await t.commit(Array.from({ length: 10 }, (_, i) => append('a', i + 1)))
      const seqs = async (range: object) => (await t.read('a', range)).items.map(({ seq }) => seq)
      assert.deepEqual(await seqs({ after: 3, limit: 3 }), [4, 5, 6])
      assert.deepEqual(await seqs({ after: 3, before: 6 }), [4, 5])
      assert.deepEqual(await seqs({ backwards: true, limit: 3 }), [10, 9, 8])
      assert.deepEqual(await seqs({ backwards: true, before: 4 }), [3, 2, 1])
      assert.deepEqual(await seqs({ after: 10 }), [])
      assert.deepEqual(await seqs({ after: 99 }), [])
      assert.deepEqual(await seqs({ before: 1, backwards: true }), [])
      for (const backwards of [false, true]) {
        for (const limit of [1, 3, 5, 10, 11]) {
          const found: number[] = []
          let bounds = {}
          for (
            let next: number | null = 0;
            next !== null;
            bounds = backwards ? { before: next } : { after: next }
          ) {
            const page = await t.read('a', { ...bounds, backwards, limit })
            found.push(...page.items.map(({ seq }) => seq))
            next = page.next
          }
          const all = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
          assert.deepEqual(found, backwards ? all.reverse() : all)
        }
      }
      assert.deepEqual((await t.read('never')).items, [])
    },
  },
  {
    law: 11,
    name: 'what comes back is what went in, to the byte of its JSON text',
    async run(t) {
      await t.create()
      await t.declare('values')
      const values = [
        null,
        true,
        0,
        1e21,
        5e-324,
        1.7976931348623157e308,
        9007199254740992,
        0.1,
        '',
        ...trickyTexts,
        [],
        {},
        [[[]]],
        JSON.parse('{"__proto__":{"a":1},"b":2,"a":1}'),
        { ' ': '\u2028' },
        'x'.repeat(70_000),
      ]
      await t.commit(values.map((value) => append('all', value)))
      await t.commit(values.map((value, i) => put('values', `v-${i}`, value)))
      const texts = values.map((value) => JSON.stringify(value))
      assert.deepEqual(
        (await t.read('all')).items.map(({ data }) => data),
        texts,
      )
      for (const [i, text] of texts.entries()) {
        const document = await t.get('values', `v-${i}`)
        assert.equal(document?.kind === 'document' && document.data, text)
      }
    },
  },
  {
    law: 11,
    name: 'any well-formed text without NUL is a stream name, an id, an event type',
    async run(t) {
      await t.create()
      await t.declare('values')
      for (const text of trickyTexts) await t.commit([append(text, text, text), put('values', text, text)])
      for (const text of trickyTexts) {
        const { items } = await t.read(text)
        assert.deepEqual(
          items.map(({ stream, type, seq }) => [stream, type, seq]),
          [[text, text, 1]],
        )
        const document = await t.get('values', text)
        assert.deepEqual([document?.kind, document?.kind === 'document' && document.id], ['document', text])
      }
    },
  },
  {
    law: 11,
    name: 'times, expiry and metadata come back as they were given',
    async run(t) {
      await t.create()
      await t.declare('values')
      const event = { ...append('a'), meta: JSON.stringify({ by: 'ada' }) } as ReturnType<typeof append>
      await t.commit([event, put('values', 'v', 1, 4_102_444_800_000)], [], 12_345)
      const [stored] = (await t.read('a')).items
      assert.deepEqual([stored?.meta, stored?.at], ['{"by":"ada"}', 12_345])
      const document = await t.get('values', 'v')
      assert.deepEqual(
        [document?.kind === 'document' && document.expiresAt, document?.at],
        [4_102_444_800_000, 12_345],
      )
    },
  },
  {
    law: 12,
    name: 'ids order by code point, forwards and backwards, and prefixes select exactly their ids',
    async run(t) {
      await t.create()
      await t.declare('values')
      const ids = [
        ...trickyTexts,
        ...trickyTexts.map((text) => `p${text}`),
        ...trickyTexts.map((text) => `p_${text}`),
      ]
      const sorted = [...new Set(ids)].sort(compareText)
      await t.commit(sorted.map((id) => put('values', id, id)).reverse())
      assert.deepEqual(await t.ids({ collection: 'values' }), sorted)
      assert.deepEqual(
        await t.ids({ collection: 'values', backwards: true, limit: 7 }),
        [...sorted].reverse(),
      )
      for (const prefix of ['p', 'p_', '%', '_', '\uFFFF', '\u{10FFFF}', 'p\u{10FFFF}', 'zz']) {
        assert.deepEqual(
          await t.ids({ collection: 'values', by: 'id', prefix, limit: 3 }),
          sorted.filter((id) => id.startsWith(prefix)),
        )
      }
    },
  },
  {
    law: 12,
    name: 'an index orders by its fields, null first, then by id, forwards and backwards, page by page',
    async run(t) {
      await t.create()
      const fields = { group: 'string', size: 'number', on: 'boolean' } as const
      const indexes = {
        by_size: { fields: ['size'], unique: false, where: {} },
        by_group: { fields: ['group', 'size'], unique: false, where: {} },
        by_on: { fields: ['on'], unique: false, where: {} },
        only_on: { fields: ['size'], unique: false, where: { on: true } },
      }
      await t.declare('items', { fields, indexes })
      const sizes = [null, -1.5, -1, 0, 0.1, 0.2, 1, 2, 10, 1e21]
      const items = sizes.flatMap((size, i) =>
        ['a', 'b', null].map((group) => ({ id: `${group}-${9 - i}`, group, size, on: i % 2 === 0 })),
      )
      await t.commit(items.map(({ id, ...value }) => put('items', id, value)).reverse())
      const bySize = [...items]
        .sort((x, y) => (x.size ?? -Infinity) - (y.size ?? -Infinity) || compareText(x.id, y.id))
        .map(({ id }) => id)
      for (const limit of [1, 4, 100]) {
        const query = { collection: 'items', by: 'index', index: 'by_size', equals: [], limit } as const
        assert.deepEqual(await t.ids(query), bySize)
        assert.deepEqual(await t.ids({ ...query, backwards: true }), [...bySize].reverse())
        for (const group of ['a', null]) {
          const inGroup = bySize.filter((id) => id.startsWith(`${group}-`))
          assert.deepEqual(await t.ids({ ...query, index: 'by_group', equals: [group] }), inGroup)
          assert.deepEqual(
            await t.ids({ ...query, index: 'by_group', equals: [group], backwards: true }),
            [...inGroup].reverse(),
          )
          assert.deepEqual(
            await t.ids({ ...query, index: 'by_group', equals: [group], from: 0.1, below: 2 }),
            inGroup.slice(4, 7),
          )
        }
        assert.deepEqual(await t.ids({ ...query, index: 'by_group', equals: ['b', 10] }), ['b-1'])
        assert.equal((await t.ids({ ...query, index: 'by_on', equals: [true] })).length, 15)
        assert.deepEqual(
          await t.ids({ ...query, index: 'only_on' }),
          bySize.filter((id) => items.find((item) => item.id === id)?.on),
        )
      }
      await failsWith('invalid', () =>
        t.ids({ collection: 'items', by: 'index', index: 'nothing', equals: [] }),
      )
    },
  },
  {
    law: 12,
    name: 'pages by cursor neither skip nor repeat under writes',
    async run(t) {
      await t.create()
      await t.declare('items', {
        fields: { n: 'number' },
        indexes: { by_n: { fields: ['n'], unique: false, where: {} } },
      })
      const name = (n: number) => `k${String(n).padStart(3, '0')}`
      await t.commit(Array.from({ length: 60 }, (_, i) => put('items', name(i * 2), { n: i * 2 })))
      for (const query of [
        { collection: 'items' },
        { collection: 'items', by: 'index', index: 'by_n', equals: [] },
      ] as const) {
        const seen: string[] = []
        for (let after: string | null = null, i = 0; ; i++) {
          const page = await t.scan({ ...query, after, limit: 7 })
          seen.push(...page.items.map(({ id }) => id))
          if (page.next === null) break
          after = page.next
          await t.commit([
            put('items', name(1), { n: 1 }),
            remove('items', name(1)),
            put('items', name(200 + i), { n: 200 + i }),
          ])
        }
        assert.equal(new Set(seen).size, seen.length, 'nothing is repeated')
        for (let n = 0; n < 120; n += 2) assert.ok(seen.includes(name(n)), `${name(n)} is not skipped`)
      }
    },
  },
  {
    law: 12,
    name: 'a deleted document is in no page, and documents that expire are found by their time',
    async run(t) {
      await t.create()
      await t.declare('items')
      await t.commit([
        put('items', 'a', 1, 300),
        put('items', 'b', 1, 100),
        put('items', 'c'),
        put('items', 'd', 1, 200),
      ])
      await t.commit([remove('items', 'c')])
      assert.deepEqual(await t.ids({ collection: 'items' }), ['a', 'b', 'd'])
      assert.deepEqual(await t.ids({ collection: 'items', by: 'expiry', until: 200, limit: 1 }), ['b', 'd'])
      await t.commit([put('items', 'b')])
      assert.deepEqual(await t.ids({ collection: 'items', by: 'expiry', until: 999 }), ['d', 'a'])
    },
  },
  {
    law: 13,
    name: 'a read that finds other content than was written fails, naming the record',
    when: (_, { damage }) =>
      damage === undefined ? 'the subject does not say how to damage a record' : true,
    async run(t) {
      await t.create()
      await t.declare('items')
      await t.commit([
        append('a', { n: 1 }),
        append('a', { n: 2 }),
        put('items', 'x', { n: 1 }),
        remove('items', 'y'),
      ])
      const changes: Change[] = await t.feed()
      for (const position of [2, 4, 5]) {
        const change = changes.find((item) => item.position === position) as Change
        await t.subject.damage?.(t.backend, t.domain, change)
      }
      await failsWith('damaged', () => t.read('a'))
      assert.equal((await t.read('a', { after: 1 })).items.length, 1)
      await failsWith('damaged', () => t.get('items', 'x'))
      await failsWith('damaged', () => t.get('items', 'y'))
      await failsWith('damaged', () => t.scan({ collection: 'items' }))
      await failsWith('damaged', () => t.feed())
    },
  },
]
