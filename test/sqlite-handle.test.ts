import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkFit, findDriver } from '../src/backend/sqlite/driver.ts'
import { openHandle, type SqliteHandle, sqlite } from '../src/backend/sqlite/sqlite.ts'
import { openStore } from '../src/index.ts'
import { openStoreSync } from '../src/sync.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-handle-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** The bench's own better-sqlite3, if its packages are installed; it is not a dependency of this one. */
const peers = new URL('../bench/node_modules/better-sqlite3/', import.meta.url)

function betterSqlite3(): { open?: (path: string) => SqliteHandle; reason: string } {
  if (!existsSync(new URL('package.json', peers)))
    return { reason: 'better-sqlite3 is not installed in bench/' }
  const { version } = JSON.parse(readFileSync(new URL('package.json', peers), 'utf8'))
  try {
    checkFit('better-sqlite3', version, process.versions.node)
    const Handle = createRequire(peers)('better-sqlite3') as new (path: string) => SqliteHandle
    new Handle(':memory:').close()
    return { open: (path) => new Handle(path), reason: '' }
  } catch (error) {
    return { reason: (error as Error).message }
  }
}

const better = betterSqlite3()
const { name: ownName, Handle: OwnHandle } = findDriver()
const handles: [string, ((path: string) => SqliteHandle) | undefined, string][] = [
  [ownName, (path) => new OwnHandle(path), ''],
  ['better-sqlite3', better.open, better.reason],
]

describe.each(handles)("a caller's own handle of %s", (_name, open, reason) => {
  const given = (skip: (why: string) => never) => open?.(join(folder, 'app.db')) ?? skip(reason)
  const domains = {
    app: { collections: { things: { fields: { n: 'number' }, indexes: { by_n: { fields: ['n'] } } } } },
  } as const

  it('gives every backend on it what another of them wrote', async ({ skip }) => {
    const handle = given(skip)
    const [one, other] = [
      await openStore(sqlite(handle), { domains }),
      await openStore(sqlite(handle), { domains }),
    ]
    const [write, read] = [one.domain('app').documents('things'), other.domain('app').documents('things')]
    for (const n of [1, 2]) {
      await write.put('t', { n })
      expect((await read.get('t'))?.value).toEqual({ n })
    }
    await Promise.all([one.close(), other.close()])
    handle.close()
  })

  it('is refused when it is of a database in memory, which would be called durable', async ({ skip }) => {
    const handle = open === undefined ? skip(reason) : open(':memory:')
    await expect(openStore(sqlite(handle), { domains })).rejects.toMatchObject({ code: 'unsupported' })
    handle.close()
  })

  it('is a store like any other, and stays open when the store closes', async ({ skip }) => {
    const handle = given(skip)
    handle.exec('CREATE TABLE customers (id INTEGER PRIMARY KEY); INSERT INTO customers VALUES (1)')
    const store = await openStore(sqlite(handle), { domains })
    const app = store.domain('app')
    await app.transaction((tx) => {
      tx.append('s', { type: 't', data: 'é🚀' }, { expect: 'none' })
      for (let n = 0; n < 40; n++) tx.put('things', `t${n}`, { n })
    })
    await app.documents('things').delete('t0')
    await expect(app.log.append('s', { type: 't', data: 2 }, { expect: 'none' })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect((await app.log.read('s')).events.map(({ data }) => data)).toEqual(['é🚀'])
    const listed = await app.documents('things').list({ index: 'by_n', from: 38 })
    expect(listed.documents.map(({ id, value }) => [id, value])).toEqual([
      ['t38', { n: 38 }],
      ['t39', { n: 39 }],
    ])
    expect((await app.changes({ after: 0 })).items).toHaveLength(42)
    await store.close()
    expect(handle.prepare('SELECT count(*) AS n FROM customers').get()).toEqual({ n: 1 })
    handle.close()
  })

  it('is durable: the level of syncing is what was asked for, also after the first write', async ({
    skip,
  }) => {
    const handle = given(skip)
    const level = () => Object.values(handle.prepare('PRAGMA synchronous').get() as object)
    const store = await openStore(sqlite(handle), { domains })
    await store.domain('app').log.append('s', { type: 't', data: 1 })
    expect(level()).toEqual([2])
    await store.close()
    handle.close()
  })

  it('may be a process that only needs to outlive itself', async ({ skip }) => {
    const handle = given(skip)
    const store = await openStore(sqlite(handle, { durability: 'process' }), { domains })
    expect(Object.values(handle.prepare('PRAGMA synchronous').get() as object)).toEqual([1])
    await store.close()
    handle.close()
  })

  it('serves synchronous code, and what it wrote is read by another driver', async ({ skip }) => {
    const handle = given(skip)
    const store = openStoreSync(sqlite(handle), { domains })
    store.domain('app').log.append('s', { type: 't', data: 1 })
    store.domain('app').documents('things').put('a', { n: 1 })
    store.close()
    handle.close()
    const again = await openStore(`sqlite:${join(folder, 'app.db')}`, { domains })
    expect(await again.domain('app').log.seq('s')).toBe(1)
    expect((await again.domain('app').documents('things').get('a'))?.value).toEqual({ n: 1 })
    await again.close()
  })
})

describe('a driver version that does not fit the runtime', () => {
  it.each([
    ['better-sqlite3', '13.0.0', '20.19.0', 'npm install better-sqlite3@12'],
    ['better-sqlite3', '13.2.1', '22.13.9', 'npm install better-sqlite3@12'],
    ['better-sqlite3', '14.0.0', '20.20.2', 'npm install better-sqlite3@12'],
    ['@photostructure/sqlite', '2.0.0', '20.20.2', 'npm install @photostructure/sqlite@1'],
  ])(
    '%s %s is refused on Node %s before it is loaded, with the line that installs one that fits',
    (name, version, node, line) => {
      expect(() => checkFit(name, version, node)).toThrow(
        expect.objectContaining({
          code: 'driver-missing',
          hint: expect.stringContaining(line),
          details: { driver: name, version, node },
        }),
      )
    },
  )

  it.each([
    ['better-sqlite3', '12.11.1', '20.19.0'],
    ['better-sqlite3', '13.0.0', '22.14.0'],
    ['better-sqlite3', '13.0.0', '24.0.0'],
    ['@photostructure/sqlite', '1.2.1', '20.19.0'],
    ['@photostructure/sqlite', '2.0.0', '22.0.0'],
    ['another-driver', '99.0.0', '20.19.0'],
  ])('%s %s is taken on Node %s', (name, version, node) => {
    expect(() => checkFit(name, version, node)).not.toThrow()
  })
})

describe('a handle that openHandle gives', () => {
  it('reads what a store on the same file has committed to tables of one’s own, and writes beside it', async () => {
    const file = join(folder, 'app.db')
    const store = await openStore(`sqlite:${file}`, { domains: { app: {} } })
    const handle = openHandle(file)
    handle.exec('CREATE TABLE own (n INTEGER)')
    const commit = (n: number, fails: boolean) =>
      store.domain('app').transaction((tx) => {
        tx.append('s', { type: 'x', data: n })
        tx.tables<SqliteHandle>((db) => {
          db.prepare('INSERT INTO own VALUES (?)').run(n)
          if (fails) throw new Error('undone')
        })
      })
    await commit(1, false)
    await expect(commit(2, true)).rejects.toThrow('undone')
    expect(handle.prepare('SELECT n FROM own').all()).toEqual([{ n: 1 }])
    handle.close()
    await store.close()
  })

  it('waits for a lock for as long as it was told', () => {
    const [handle, other] = [
      openHandle(join(folder, 'app.db')),
      openHandle(join(folder, 'app.db'), { busyTimeoutMs: 1 }),
    ]
    const timeout = (of: SqliteHandle) => Object.values(of.prepare('PRAGMA busy_timeout').get() as object)
    expect([timeout(handle), timeout(other)]).toEqual([[5_000], [1]])
    handle.exec('BEGIN IMMEDIATE')
    expect(() => other.exec('BEGIN IMMEDIATE')).toThrow(/locked/)
    handle.close()
    other.close()
  })
})
