import { constants } from 'node:buffer'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Database, openDatabase } from '../src/database.ts'
import type { DeskEvent } from '../src/event.ts'
import { EventStore, replayPages } from '../src/event-store.ts'
import { migrate } from '../src/migration.ts'
import { testFolder } from './support/folder.ts'

const folder = testFolder()
let opened = 0
let dataDir: string
let database: Database
beforeEach(async () => {
  dataDir = join(folder, 'not', 'there', 'yet', String(opened++))
  database = await openDatabase(dataDir)
})
afterEach(() => database.close())

const project = (projectId: string): DeskEvent => ({
  type: 'project.added',
  data: { projectId, title: projectId, workspaceRoot: `/${projectId}`, defaultModel: 'm' },
})
const setting = (key: string, value: number): DeskEvent => ({ type: 'setting.changed', data: { key, value } })
const storeOf = ({ desk, handle }: Database) => new EventStore(desk, handle)

describe('the event store', () => {
  it('gives events back with the sequence and the time that the table says', async () => {
    const store = storeOf(database)
    const stored = await store.appendAll([project('a'), setting('b', 1), project('c')])
    expect(stored.map(({ sequence, type }) => [sequence, type])).toEqual([
      [1, 'project.added'],
      [2, 'setting.changed'],
      [3, 'project.added'],
    ])
    expect([...store.replayAll()]).toEqual(stored)
    const rows = database.handle.prepare('SELECT * FROM events ORDER BY sequence').all()
    expect(rows.map((row) => ({ ...(row as object) }))).toEqual(
      stored.map(({ sequence, type, data, storedAt }) => ({
        sequence,
        event_type: type,
        payload: JSON.stringify(data),
        stored_at: storedAt,
      })),
    )
  })

  it('writes all events and their rows, or none', async () => {
    const store = storeOf(database)
    await store.appendAll([project('a')])
    await expect(store.appendAll([setting('b', 1), project('a')])).rejects.toThrow(/UNIQUE/)
    const stale = new Map([['projects', 0]])
    await expect(store.appendAll([setting('b', 1), project('d')], { expect: stale })).rejects.toMatchObject({
      code: 'conflict',
    })
    expect([...store.replayAll()]).toHaveLength(1)
    expect(database.handle.prepare('SELECT key FROM settings').all()).toEqual([])
    expect(await store.appendAll([])).toEqual([])
  })

  it('replays from a sequence, over the ends of its pages', async () => {
    const store = storeOf(database)
    for (let page = 0; page < 9; page++)
      await store.appendAll(Array.from({ length: 500 }, (_, i) => setting('k', page * 500 + i)))
    const sequences = [...store.replayFrom(1_999)].map(({ sequence }) => sequence)
    expect(sequences).toEqual(Array.from({ length: 2_501 }, (_, i) => 2_000 + i))
    expect([...store.replayFrom(4_500)]).toEqual([])
  })

  it('reads pages that fit a string, were each event as large as the store takes', async () => {
    const largest = 1_048_576
    const store = storeOf(database)
    const event = (bytes: number): DeskEvent => ({
      type: 'setting.changed',
      data: { key: 'k', value: 'x'.repeat(bytes - '{"key":"k","value":""}'.length) },
    })
    await store.appendAll([event(largest)])
    await expect(store.appendAll([event(largest + 1)])).rejects.toMatchObject({ code: 'too-large' })
    for (let i = 0; i < 3; i++)
      await store.appendAll(Array.from({ length: 1_000 }, (_, value) => setting('k', value)))
    const pages = [...replayPages(database.handle, 0)].map(({ length }) => length)
    expect(pages.reduce((sum, length) => sum + length)).toBe(3_001)
    expect(Math.max(...pages) * (largest + 100)).toBeLessThan(constants.MAX_STRING_LENGTH)
  })

  it('keeps what it was given, whatever the text', async () => {
    const text = '"quoted", \\, \u2028, {"[',
      key = 'odd'
    const store = storeOf(database)
    await store.appendAll([
      { type: 'setting.changed', data: { key, value: { [text]: [text, null, 1.5e300] } } },
    ])
    const [event] = store.replayAll()
    expect(event?.data).toEqual({ key, value: { [text]: [text, null, 1.5e300] } })
  })

  it('finds all again after it was closed', async () => {
    const stored = await storeOf(database).appendAll([project('a'), setting('b', 1)])
    await database.close()
    database = await openDatabase(dataDir)
    expect([...storeOf(database).replayAll()]).toEqual(stored)
  })
})

describe('migrations', () => {
  const applied = () =>
    database.handle
      .prepare('SELECT name, applied_at AS at FROM desk_migrations ORDER BY number')
      .all()
      .map((row) => ({ ...(row as { name: string; at: string }) }))

  it('are applied once, in order, and make the indexes', async () => {
    const first = applied()
    expect(first.map(({ name }) => name)).toEqual(['001_initial.sql', '002_state_snapshots.sql'])
    await database.close()
    database = await openDatabase(dataDir)
    expect(applied()).toEqual(first)
    const indexes = database.handle
      .prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'idx_%' ORDER BY name")
      .all()
      .map((row) => (row as { name: string }).name)
    expect(indexes).toEqual(
      expect.arrayContaining(['idx_events_sequence', 'idx_messages_turn', 'idx_turns_thread']),
    )
  })

  it('refuse a database that a newer version wrote', async () => {
    database.handle.exec("INSERT INTO desk_migrations VALUES (3, '003_later.sql', 'x', '2027-01-01')")
    await expect(openDatabase(dataDir)).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringContaining('003_later.sql'),
    })
  })

  it('refuse a migration whose text was changed', async () => {
    database.handle.exec("UPDATE desk_migrations SET checksum = 'x' WHERE number = 2")
    await expect(openDatabase(dataDir)).rejects.toMatchObject({ code: 'mismatch' })
  })

  it('leave nothing of themselves when one of them fails', () => {
    const from = join(folder, 'broken')
    mkdirSync(from)
    writeFileSync(join(from, '001_fine.sql'), 'CREATE TABLE fine (n INTEGER)')
    writeFileSync(join(from, '002_broken.sql'), 'CREATE TABLE broken (')
    database.handle.exec('DROP TABLE desk_migrations')
    expect(() => migrate(database.handle, new Date(0), pathToFileURL(`${from}/`))).toThrow(
      /incomplete|syntax/,
    )
    const left = database.handle
      .prepare("SELECT name FROM sqlite_master WHERE name IN ('fine', 'desk_migrations')")
      .all()
    expect(left).toEqual([])
  })
})
