import { createHash } from 'node:crypto'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { isBusy, translate } from '../src/backend/sqlite/error.ts'
import { openStore } from '../src/index.ts'
import { openStoreSync } from '../src/sync.ts'

let folder: string
let workshop: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-files-'))
  workshop = mkdtempSync(join(tmpdir(), 'underpin-workshop-'))
})
afterEach(() => {
  for (const path of [folder, workshop]) rmSync(path, { recursive: true, force: true })
})

const domains = { app: {} }
const open = (name: string) => openStore(`sqlite:${join(folder, name)}`, { domains })

/** What lies in the folder, to the byte. */
function contents(): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted()
  return Object.fromEntries(
    names.map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex'),
    ]),
  )
}

/** A database file that nobody has open, as its application left it: made elsewhere, then put here whole. */
function place(
  name: string,
  sql: string,
  journal: 'WAL' | 'DELETE' = 'WAL',
  from = join(workshop, name),
): string {
  const connection = connect(from, false)
  connection.prepare(`PRAGMA journal_mode = ${journal}`).rows()
  connection.exec(sql)
  connection.prepare('PRAGMA wal_checkpoint(TRUNCATE)').rows()
  connection.close()
  copyFileSync(from, join(folder, name))
  return join(folder, name)
}

/** One of our own files, with two events in it, changed by this SQL. */
async function placeOurs(name: string, sql = ''): Promise<string> {
  const path = join(workshop, name)
  const store = await openStore(`sqlite:${path}`, { domains })
  await store.domain('app').log.append('s', [
    { type: 't', data: 1 },
    { type: 't', data: 2 },
  ])
  await store.close()
  return place(name, sql, 'WAL', path)
}

async function expectRefused(name: string, error: object): Promise<void> {
  const before = contents()
  await expect(open(name)).rejects.toMatchObject(error)
  expect(() => openStoreSync(`sqlite:${join(folder, name)}`, { domains })).toThrow(
    expect.objectContaining({ code: (error as { code: string }).code }),
  )
  expect(contents()).toEqual(before)
}

async function expectTaken(name: string): Promise<void> {
  const store = await open(name)
  await store.domain('app').log.append('s', { type: 't', data: 'new' })
  await store.close()
  const again = await open(name)
  const { events } = await again.domain('app').log.read('s', { backwards: true, limit: 1 })
  await again.close()
  expect(events[0]?.data).toBe('new')
}

const customers =
  "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO customers VALUES (1, 'Ada')"

describe('a file that is not ours is refused as foreign, and no byte of it or beside it changes', () => {
  it.each(['WAL', 'DELETE'] as const)(
    'when it is a database with the tables of another application, in %s mode',
    async (journal) => {
      place('theirs.db', customers, journal)
      await expectRefused('theirs.db', {
        code: 'foreign',
        details: { found: ['customers'] },
        hint: expect.stringMatching(/Nothing was changed.*sqlite\(handle\)/),
      })
      expect(Object.keys(contents())).toEqual(['theirs.db'])
    },
  )

  it('when its path has characters that mean something in a URL', async () => {
    place('100% ours #1 äö.db', customers)
    await expectRefused('100% ours #1 äö.db', { code: 'foreign' })
  })

  it('when it holds only a view', async () => {
    place('view.db', 'CREATE VIEW greeting AS SELECT 1')
    await expectRefused('view.db', { code: 'foreign', details: { found: ['greeting'] } })
  })

  it('when its application has it open, and is not disturbed', async () => {
    const path = join(folder, 'theirs.db')
    const theirs = connect(path, false)
    theirs.prepare('PRAGMA journal_mode = WAL').rows()
    theirs.exec(customers)
    theirs.exec('BEGIN IMMEDIATE')
    theirs.exec("INSERT INTO customers VALUES (2, 'Bob')")
    const files = () => ['theirs.db', 'theirs.db-wal'].map((name) => contents()[name])
    const before = files()
    await expect(open('theirs.db')).rejects.toMatchObject({ code: 'foreign' })
    expect(files()).toEqual(before)
    theirs.exec('COMMIT')
    expect(theirs.prepare('SELECT count(*) FROM customers').row()).toEqual([2])
    theirs.close()
  })

  it.each([
    ['a text', 'Dear diary,\n'.repeat(500)],
    ['a short text', 'hi'],
    ['JSON', JSON.stringify({ orders: [1, 2, 3] })],
    ['an image', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')],
  ])('when it is %s', async (_what, content) => {
    writeFileSync(join(folder, 'notes'), content)
    await expectRefused('notes', {
      code: 'foreign',
      message: expect.stringMatching(/not a SQLite database/),
      hint: expect.stringMatching(/Nothing was changed/),
    })
  })
})

describe('a file of ours that this version must not touch is refused, and no byte of it or beside it changes', () => {
  it('when a newer version has written it', async () => {
    await placeOurs('future.db', "INSERT INTO underpin_migrations VALUES (2, '002-later.sql', 'abc')")
    await expectRefused('future.db', {
      code: 'unsupported',
      details: { migration: '002-later.sql', known: 1 },
      hint: expect.stringMatching(/Update the package; nothing was changed/),
    })
    expect(Object.keys(contents())).toEqual(['future.db'])
  })

  it('when a migration was applied to it in another form', async () => {
    await placeOurs('changed.db', "UPDATE underpin_migrations SET checksum = 'abc'")
    await expectRefused('changed.db', {
      code: 'damaged',
      message: expect.stringMatching(/001-fences\.sql/),
      details: { migration: '001-fences.sql', applied: 'abc' },
    })
    expect(Object.keys(contents())).toEqual(['changed.db'])
  })

  it.each([50, 512, 4096, 8192])('when it was cut after %i bytes', async (bytes) => {
    const path = await placeOurs('cut.db')
    writeFileSync(path, readFileSync(path).subarray(0, bytes))
    await expectRefused('cut.db', { code: 'damaged', hint: expect.stringMatching(/backup/) })
  })
})

describe('a file is taken', () => {
  it('when it is not there yet', async () => {
    await expectTaken('new.db')
  })

  it('when it is there and empty', async () => {
    writeFileSync(join(folder, 'empty.db'), '')
    await expectTaken('empty.db')
  })

  it('when it is a database with nothing in it', async () => {
    place('bare.db', 'CREATE TABLE gone (id INTEGER); DROP TABLE gone; PRAGMA user_version = 7')
    await expectTaken('bare.db')
  })

  it('when it is ours, with all that is in it', async () => {
    await placeOurs('ours.db')
    await expectTaken('ours.db')
    const store = await open('ours.db')
    expect((await store.domain('app').log.read('s')).events.map(({ data }) => data)).toEqual([1, 2, 'new'])
    await store.close()
  })
})

describe('a file that another holds locked', () => {
  it.each(['run', 'rows', 'row'] as const)(
    'fails a call of the driver with a code that is understood (%s)',
    (verb) => {
      const path = join(folder, 'locked.db')
      const [holder, other] = [connect(path, false), connect(path, false)]
      holder.exec('BEGIN EXCLUSIVE')
      const attempt = () => other.prepare('BEGIN IMMEDIATE')[verb]()
      expect(attempt).toThrow(/locked/)
      try {
        attempt()
      } catch (error) {
        expect(isBusy(error)).toBe(true)
        expect(translate(error, 'it')).toMatchObject({ code: 'unavailable' })
      }
      holder.exec('ROLLBACK')
      other.close()
      holder.close()
    },
  )
})

describe('a store that was closed', () => {
  it('leaves everything in the one file: a copy of that file alone is the whole', async () => {
    const store = await open('app.db')
    for (let i = 1; i <= 50; i++) await store.domain('app').log.append('s', { type: 't', data: i })
    await store.close()
    copyFileSync(join(folder, 'app.db'), join(folder, 'copy.db'))
    const copy = await open('copy.db')
    expect(await copy.domain('app').log.seq('s')).toBe(50)
    await copy.close()
  })

  it('may be closed while another reads: nothing is lost, and the other goes on', async () => {
    const [one, two] = [await open('app.db'), await open('app.db')]
    await one.domain('app').log.append('s', { type: 't', data: 1 })
    await one.close()
    await two.domain('app').log.append('s', { type: 't', data: 2 })
    expect(await two.domain('app').log.seq('s')).toBe(2)
    await two.close()
    const again = await open('app.db')
    expect(await again.domain('app').log.seq('s')).toBe(2)
    await again.close()
  })
})
