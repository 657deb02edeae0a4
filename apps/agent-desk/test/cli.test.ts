/** The command line, in processes of its own, beside a server on the same data. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type SimulatedAgent, textOf } from '../src/agent.ts'
import { openDatabase } from '../src/database.ts'
import { testFolder } from './support/folder.ts'
import { Server } from './support/server.ts'

const dataDir = join(testFolder(), 'desk')
const cli = fileURLToPath(new URL('../src/cli.ts', import.meta.url))

function desk(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const run = spawnSync(process.execPath, ['--import', 'tsx', cli, '--data-dir', dataDir, ...args], {
    encoding: 'utf8',
  })
  return { status: run.status, stdout: run.stdout, stderr: run.stderr }
}

let server: Server
beforeAll(async () => {
  server = await Server.start(dataDir)
})
afterAll(() => server.kill())

it('walks through a turn beside a running server, which sees all of it', async () => {
  expect(desk('project', 'add', 'Parser', '--workspace-root', '/w', '--project-id', 'p').status).toBe(0)
  await server.send({ type: 'thread.create', projectId: 'p', threadId: 't', title: 'T' })
  const turn = desk('turn', 'start', 't', 'Mend it', '--turn-id', 'u', '--deltas', '12', '--delay-ms', '1')
  const agent: SimulatedAgent = { kind: 'simulated', seed: 'Mend it', deltas: 12, delayMs: 1 }
  expect(turn).toEqual({ status: 0, stdout: `${textOf(agent)}\n`, stderr: 'turn u: completed\n' })
  expect(await server.get('/turns/u')).toMatchObject({
    state: 'completed',
    messages: [{}, { text: textOf(agent) }],
  })
})

it('says what was refused, and ends with 2', () => {
  expect(desk('thread', 'new', 'none', 'T')).toEqual({
    status: 2,
    stdout: '',
    stderr: 'not-found: There is no project none\n',
  })
})

it('replays what is stored as JSON lines', () => {
  const lines = desk('replay', '--from', '1').stdout.trim().split('\n')
  const events = lines.map((line) => JSON.parse(line) as { sequence: number; type: string })
  expect(events[0]).toMatchObject({ sequence: 2, type: 'thread.created' })
  expect(events.at(-1)).toMatchObject({ sequence: events.length + 1, type: 'turn.completed' })
})

it('finds with verify what was changed by hand, ends with 4, and mends it with rebuild', async () => {
  expect(desk('verify').status).toBe(0)
  const database = await openDatabase(dataDir)
  database.handle.exec("UPDATE projection_projects SET title = 'Changed'")
  await database.close()
  const found = desk('verify')
  expect([found.status, JSON.parse(found.stdout)]).toMatchObject([
    4,
    { damaged: [], isStateEqual: true, tables: [{ table: 'projection_projects' }] },
  ])
  expect(desk('rebuild').status).toBe(0)
  expect(desk('verify').status).toBe(0)
})

it('ends the server with 0 when it is told to stop', async () => {
  expect(await server.stop()).toBe(0)
})

it('serves on when a request fails, says what failed, and ends with 0', async () => {
  const folder = join(dataDir, 'failing')
  const failing = await Server.start(folder)
  const { handle, close } = await openDatabase(folder)
  handle.exec('DROP TABLE settings')
  await close()
  await expect(failing.get('/settings')).rejects.toThrow(/500 .*internal/)
  expect(await failing.get('/projects')).toEqual({ projects: [] })
  expect(await failing.stop()).toBe(0)
})
