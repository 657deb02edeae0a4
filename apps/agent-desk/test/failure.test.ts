/** What a server does when something under it fails once: it says so, and goes on. */
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Desk } from '../src/desk.ts'
import { type Served, serve } from '../src/serve.ts'
import { readEvents } from './support/event-source.ts'
import { testFolder } from './support/folder.ts'

const folder = testFolder()
/** Outlasts the stalls of a busy machine. */
const leaseMs = 2_000
const failure = new Error('The disk is away')
const failures: unknown[] = []
let opened = 0
let served: Served | undefined
beforeEach(() => {
  failures.length = 0
})
afterEach(async () => {
  vi.restoreAllMocks()
  await served?.close()
  served = undefined
})

async function begin(): Promise<Served> {
  const config = { dataDir: join(folder, String(opened++)), port: 0, leaseMs }
  served = await serve(config, (error) => failures.push(error))
  return served
}

async function health({ url }: Served): Promise<object> {
  const response = await fetch(`${url}/health`)
  return { status: response.status, ...((await response.json()) as object) }
}

const shows = (on: Served, state: object) =>
  vi.waitFor(async () => expect(await health(on)).toMatchObject(state), { timeout: 30_000 })

async function prepare({ desk }: Served): Promise<void> {
  await desk.dispatch({ type: 'project.add', projectId: 'p', title: 'P', workspaceRoot: '/p' })
  await desk.dispatch({ type: 'thread.create', projectId: 'p', threadId: 't', title: 'T' })
}

const start = {
  type: 'turn.start',
  threadId: 't',
  turnId: 'u',
  prompt: 'Go',
  agent: { kind: 'simulated', seed: 's', deltas: 1_000, delayMs: 20 },
}

async function post({ url }: Served, command: object): Promise<number> {
  const response = await fetch(`${url}/commands`, { method: 'POST', body: JSON.stringify(command) })
  await response.arrayBuffer()
  return response.status
}

it('tells its readers what they waited for when the feed has failed, and says meanwhile that they wait', async () => {
  const live = () => ({
    [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(failure) }),
  })
  const feed = vi.spyOn(Desk.prototype, 'feed', 'get').mockReturnValue({ live } as never)
  const server = await begin()
  expect(await health(server)).toMatchObject({ status: 503, isHealthy: false, isTelling: false })
  const reading = readEvents(server.url, { after: 0 }).next()
  await prepare(server)
  feed.mockRestore()
  expect((await reading).value).toMatchObject({ sequence: 1, type: 'project.added' })
  await shows(server, { status: 200, isHealthy: true, isTelling: true })
  expect(new Set(failures)).toEqual(new Set([failure]))
})

it('interrupts its turns when holding its lease fails, and takes turns again when it has it', async () => {
  let fail = () => {}
  const failing = new Promise<void>((_, reject) => {
    fail = () => reject(failure)
  })
  const withLock = (_: string, work: (lock: object) => Promise<void>) =>
    Promise.race([failing, work({ signal: new AbortController().signal })])
  const runtime = vi.spyOn(Desk.prototype, 'runtime', 'get').mockReturnValue({ withLock } as never)
  const server = await begin()
  await prepare(server)
  expect(await post(server, start)).toBe(201)
  fail()
  await shows(server, { status: 503, isTaking: false, isTelling: true })
  runtime.mockRestore()
  await shows(server, { status: 200, isTaking: true })
  expect(await post(server, { type: 'turn.resume', turnId: 'u' })).toBe(201)
  expect(new Set(failures)).toEqual(new Set([failure]))
})

it('looks after the turns of processes that are gone when looking has failed once', async () => {
  const server = await begin()
  await prepare(server)
  vi.spyOn(server.desk, 'catchUp').mockImplementationOnce(() => {
    throw failure
  })
  await vi.waitFor(() => expect(failures).toEqual([failure]), { timeout: 30_000 })
  await server.desk.dispatch({ ...start, runner: 'one-that-died' })
  const stateOf = () => server.desk.state.turns.get('u')?.state
  await vi.waitFor(() => expect(stateOf()).toBe('interrupted'), { timeout: 30_000 })
  await shows(server, { status: 200, isTaking: true })
})

it('stores what was asked for when the snapshot behind it cannot be taken, and takes one later', async () => {
  const dataDir = join(folder, String(opened++))
  const onError = (error: unknown) => failures.push(error)
  const desk = await Desk.open(dataDir, { onError, snapshotEvery: 2 })
  const full =
    "CREATE TRIGGER full BEFORE INSERT ON state_snapshots BEGIN SELECT RAISE(ABORT, 'The disk is full'); END"
  desk.handle.exec(full)
  const add = (projectId: string, on = desk) =>
    on.dispatch({ type: 'project.add', projectId, title: 'P', workspaceRoot: `/${projectId}` })
  for (const projectId of ['a', 'b', 'c']) expect((await add(projectId)).events).toHaveLength(1)
  expect(failures.map(String)).toEqual([expect.stringContaining('The disk is full')])
  desk.handle.exec('DROP TRIGGER full')
  await add('d')
  await desk.close()
  const again = await Desk.open(dataDir, { onError })
  expect(again.start).toMatchObject({ snapshot: 4, replayed: 0 })
  expect(again.state.projects.size).toBe(4)
  again.handle.exec(full)
  await add('e', again)
  await again.close()
  expect(failures).toHaveLength(2)
})
