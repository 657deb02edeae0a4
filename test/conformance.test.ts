import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { afterAll, beforeAll, describe, inject, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { type MemoryBackend, memory } from '../src/backend/memory.ts'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { connect } from '../src/backend/sqlite/driver.ts'
import { sqlite } from '../src/backend/sqlite/sqlite.ts'
import { systemClock } from '../src/clock.ts'
import { laws, runLaw, type Subject } from '../src/conformance/conformance.ts'
import { parseJsonText } from '../src/model/value.ts'
import { standardWrappers } from '../src/store.ts'
import { wrap } from '../src/wrapper/forward.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-conformance-'))
afterAll(() => rmSync(folder, { recursive: true }))

const memorySubject = (): Subject => ({
  open: opened(() => memory()),
  async damage(backend, domain, change) {
    const data = change.kind === 'tombstone' ? {} : { data: parseJsonText('{"n":9}') }
    ;(backend as MemoryBackend).sync.plant(domain, { ...change, at: change.at + 1, ...data })
  },
})

const sqliteSubject = (file: string): Subject => ({
  open: opened(() => sqlite(join(folder, file))),
  reopen: opened(() => sqlite(join(folder, file))),
  async damage(_, domain, change) {
    const table = change.kind === 'event' ? `${domain}__events` : `${domain}__d_${change.collection}`
    const column = change.kind === 'event' ? 'position' : 'revision'
    const connection = connect(join(folder, file), false)
    connection.prepare(`UPDATE "${table}" SET at = at + 1 WHERE ${column} = ?`).run(change.position)
    connection.close()
  },
})

const server = inject('postgres')

const postgresSubject = (query = ''): Subject => {
  const schema = `laws_${randomBytes(4).toString('hex')}`
  const url = 'url' in server ? `${server.url}${query}` : ''
  const open = opened(() => postgres(url, { schema }))
  return {
    open,
    reopen: open,
    async damage(_, domain, change) {
      const table = change.kind === 'event' ? `${domain}__events` : `${domain}__d_${change.collection}`
      const column = change.kind === 'event' ? 'position' : 'revision'
      const client = new pg.Client(url)
      await client.connect()
      await client.query(`UPDATE "${schema}"."${table}" SET at = at + 1 WHERE ${column} = $1`, [
        change.position,
      ])
      await client.end()
    },
  }
}

const wrapped = (subject: Subject): Subject => {
  const around = (backend: Backend) => wrap(backend, standardWrappers(systemClock, 10_000))
  const { reopen, damage } = subject
  return {
    open: async () => around(await subject.open()),
    ...(reopen === undefined ? {} : { reopen: async () => around(await reopen()) }),
    // Memory is damaged through the backend itself, which the wrappers hide.
    ...(damage === undefined || reopen === undefined ? {} : { damage }),
  }
}

function opened(make: () => Backend) {
  return async () => {
    const backend = make()
    await backend.open()
    return backend
  }
}

/** Those that need a server, and why it is not there. */
const needsServer = /^postgres/

const subjects: Record<string, () => Subject> = {
  memory: memorySubject,
  'memory, wrapped': () => wrapped(memorySubject()),
  sqlite: () => sqliteSubject('bare.db'),
  'sqlite, wrapped': () => wrapped(sqliteSubject('wrapped.db')),
  'sqlite in memory': () => ({ open: opened(() => sqlite('sqlite::memory:')) }),
  postgres: () => postgresSubject(),
  'postgres, wrapped': () => wrapped(postgresSubject()),
  'postgres, unprepared': () => postgresSubject('?prepare=false'),
  PGlite: () => ({ open: opened(() => postgres(new PGlite())) }),
}

describe.each(Object.keys(subjects))('%s', (name) => {
  const subject = subjects[name]?.() as Subject
  let backend: Backend
  const missing = needsServer.test(name) && 'reason' in server ? server.reason : undefined
  beforeAll(async () => {
    if (missing === undefined) backend = await subject.open()
    // PGlite starts a database inside the process, which takes its time on a busy machine.
  }, 60_000)
  afterAll(() => backend?.close())

  for (const law of laws) {
    it(`law ${law.law}: ${law.name}`, async ({ skip }) => {
      skip(missing !== undefined, missing)
      const { result, reason, error } = await runLaw(law, subject, backend)
      if (result === 'skipped') skip(reason)
      if (result === 'failed') throw error
    })
  }
})
