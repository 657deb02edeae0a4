import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { openStore } from '../src/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-crash-foreign-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A file of another program with a transaction that was never finished, as a kill leaves it: the file and its journal. */
function leaveUnfinished(path: string): void {
  const living = join(folder, 'living.db')
  const connection = connect(living, false)
  connection.exec('CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)')
  connection.exec(
    `INSERT INTO customers WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, hex(zeroblob(100)) FROM n`,
  )
  // Too many pages for the cache: some are written to the file before the end, and their old content to the journal.
  connection.exec('PRAGMA cache_size = 5')
  connection.exec('BEGIN')
  connection.exec("UPDATE customers SET name = 'half'")
  copyFileSync(living, path)
  copyFileSync(`${living}-journal`, `${path}-journal`)
  connection.exec('ROLLBACK')
  connection.close()
}

describe('a file in which another program was killed', () => {
  it('is refused with the journal that undoes the half of its transaction, and not a byte of either is changed', async () => {
    const path = join(folder, 'theirs.db')
    leaveUnfinished(path)
    const before = [readFileSync(path), readFileSync(`${path}-journal`)]
    expect(before[0]?.includes('half')).toBe(true)
    await expect(openStore(`sqlite:${path}`, { domains: { app: {} } })).rejects.toMatchObject({
      code: expect.stringMatching(/^(foreign|unavailable)$/),
    })
    expect([readFileSync(path), readFileSync(`${path}-journal`)]).toEqual(before)

    // What is there is what a kill leaves: the program itself finds its data as they were before the transaction.
    const theirs = connect(path, false)
    expect(theirs.prepare("SELECT count(*) FROM customers WHERE name = 'half'").row()).toEqual([0])
    expect(theirs.prepare('SELECT count(*) FROM customers').row()).toEqual([2000])
    theirs.close()
  })
})
