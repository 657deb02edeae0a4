import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { Process } from './process/pool.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-start-'))
let processes: Process[]
beforeAll(async () => {
  processes = await Process.start(5)
}, 60_000)
afterAll(async () => {
  await Promise.all(processes.map((process) => process.end()))
  rmSync(folder, { recursive: true })
})

/** What the file says that was done to it. */
function look(path: string) {
  const connection = connect(path, true)
  const rows = (sql: string) => connection.prepare(sql).rows()
  const found = {
    migrations: rows('SELECT name FROM underpin_migrations').flat(),
    fences: rows('SELECT domain, role, epoch, head FROM underpin_fences'),
    definitions: rows('SELECT id, revision FROM "app__s_collections"'),
    columns: rows(
      "SELECT name FROM pragma_table_xinfo('app__d_things') WHERE name LIKE 'f_%' ORDER BY name",
    ).flat(),
    intact: rows('PRAGMA integrity_check').flat(),
  }
  connection.close()
  return found
}

describe('processes that start together on a file that is not there', () => {
  it.each([
    ['asynchronously', 'async'],
    ['synchronously', 'sync'],
    ['some one way and some the other', 'mixed'],
  ])(
    'make it once: migrations, domain and collection (%s)',
    async (_how, how) => {
      const rounds = 20
      for (let round = 0; round < rounds; round++) {
        const path = join(folder, how, `${round}.db`)
        const heads = await Promise.all(
          processes.map((process, i) =>
            process.call('open', { path, isSync: how === 'sync' || (how === 'mixed' && i % 2 === 0) }),
          ),
        )
        expect(heads).toEqual(processes.map(() => 1))
        expect(look(path)).toEqual({
          migrations: ['001-fences.sql'],
          fences: [['app', 'authority', 1, 1]],
          definitions: [['things', 1]],
          columns: ['f_by', 'f_n'],
          intact: ['ok'],
        })
      }
      console.log(`${processes.length} processes, ${how}: ${rounds} files made, each once`)
    },
    120_000,
  )
})
