import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type SimulatedAgent, textOf } from '../src/agent.ts'
import { Desk } from '../src/desk.ts'
import { ifDead } from '../src/lease.ts'
import { Reader } from '../src/read.ts'
import { Runner } from '../src/runner.ts'
import { rebuildProjections, verifyProjections } from '../src/shadow.ts'
import { dropSnapshots } from '../src/snapshot.ts'
import { testFolder } from './support/folder.ts'
import { live } from './support/life.ts'
import { seededRandom } from './support/random.ts'
import { strict } from './support/strict.ts'

const folder = testFolder()
let opened = 0
let dataDir: string
let desk: Desk
beforeEach(async () => {
  dataDir = join(folder, String(opened++))
  desk = await Desk.open(dataDir, strict)
})
afterEach(() => desk.close())

const agent: SimulatedAgent = { kind: 'simulated', seed: 'seed', deltas: 30, delayMs: 0 }
/** Long, because a busy machine may hold a process up; short where the lease is what is tested. */
const lease = { leaseMs: 30_000, ...strict }

async function prepare(on: Desk): Promise<void> {
  await on.dispatch({ type: 'project.add', projectId: 'p', title: 'P', workspaceRoot: '/p' })
  await on.dispatch({ type: 'thread.create', projectId: 'p', threadId: 't', title: 'T' })
}

const start = (turnId: string, more: object = {}) => ({
  type: 'turn.start',
  threadId: 't',
  turnId,
  prompt: 'Go',
  agent: { ...agent, ...more },
})

it('leaves tables that replay makes again, row by row, whatever happens', async () => {
  const seed = Number(process.env.SEED ?? 1)
  const refused = await live(desk, seededRandom(seed), 800)
  const counts = new Reader(desk.handle).eventCounts()
  console.log(
    `seed ${seed}: ${desk.state.sequence} events of ${Object.keys(counts).length} types, ${refused} refusals`,
  )
  expect(Object.keys(counts), 'every type of event has happened').toHaveLength(21)
  expect(verifyProjections(desk.file)).toEqual({ sequence: desk.state.sequence, differences: [] })
  expect((await desk.verifyStored()).isSound).toBe(true)
})

it('finds a row that no event made, and one that is missing, and a rebuild mends both', async () => {
  await prepare(desk)
  desk.handle.exec("UPDATE projection_threads SET title = 'Other'")
  desk.handle.exec("INSERT INTO settings VALUES ('ghost', '1')")
  desk.handle.exec('DELETE FROM projection_projects')
  const { differences } = verifyProjections(desk.file)
  expect(differences.map(({ table, stored, replayed }) => [table, stored.length, replayed.length])).toEqual([
    ['projection_projects', 0, 1],
    ['projection_threads', 1, 1],
    ['settings', 1, 0],
  ])
  expect(rebuildProjections(desk.file)).toBe(2)
  expect(verifyProjections(desk.file).differences).toEqual([])
})

it('makes tables anew at the start when they are not of the last event', async () => {
  await prepare(desk)
  desk.snapshot()
  desk.handle.exec('DELETE FROM projection_threads')
  desk.handle.exec('UPDATE projection_progress SET sequence = 1')
  const again = await Desk.open(dataDir, strict)
  expect(again.start, 'without a snapshot, which may be of other events').toEqual({
    snapshot: 0,
    replayed: 2,
    wasRebuilt: true,
  })
  expect(verifyProjections(desk.file).differences).toEqual([])
  await again.close()
})

it('starts from a snapshot and the events behind it with the state that all events give', async () => {
  await prepare(desk)
  desk.snapshot()
  await desk.dispatch(start('u'))
  const fromSnapshot = await Desk.open(dataDir, strict)
  expect(fromSnapshot.start).toEqual({ snapshot: 2, replayed: 2, wasRebuilt: false })
  expect(fromSnapshot.state.toText()).toBe(desk.state.toText())
  await fromSnapshot.close()
  dropSnapshots(desk.handle)
  const fromAll = await Desk.open(dataDir, strict)
  expect(fromAll.start).toEqual({ snapshot: 0, replayed: 4, wasRebuilt: false })
  expect(fromAll.state.toText()).toBe(desk.state.toText())
  await fromAll.close()
})

it('uses no snapshot of another version', async () => {
  await prepare(desk)
  desk.snapshot()
  desk.handle.exec("UPDATE state_snapshots SET version = version + 1, state = 'unreadable'")
  const again = await Desk.open(dataDir, strict)
  expect(again.start.replayed).toBe(2)
  await again.close()
})

it('decides again what another process made different meanwhile', async () => {
  await prepare(desk)
  const other = await Desk.open(dataDir, strict)
  const add = (on: Desk, projectId: string) =>
    on.dispatch({ type: 'project.add', projectId, title: projectId, workspaceRoot: '/same' })
  const results = await Promise.allSettled([add(desk, 'a'), add(other, 'b')])
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const { reason } = results.find(({ status }) => status === 'rejected') as PromiseRejectedResult
  expect(reason).toMatchObject({ code: 'exists' })
  other.catchUp()
  desk.catchUp()
  expect(other.state.toText()).toBe(desk.state.toText())
  await other.close()
})

it('deletes no project in which another process begins a turn meanwhile, be its thread old or new', async () => {
  await prepare(desk)
  const other = await Desk.open(dataDir, strict)
  const remove = { type: 'project.delete', projectId: 'p' }
  for (const threadId of ['t', 'new']) {
    meanwhile(async () => {
      if (threadId === 'new')
        await other.dispatch({ type: 'thread.create', projectId: 'p', threadId, title: 'New' })
      await other.dispatch({ ...start(`in-${threadId}`), threadId })
    })
    await expect(desk.dispatch(remove)).rejects.toMatchObject({
      code: 'wrong-state',
      message: expect.stringContaining(`in-${threadId}`),
    })
    await desk.dispatch({ type: 'turn.abandon', turnId: `in-${threadId}` })
  }
  meanwhile(() => other.dispatch({ type: 'thread.create', projectId: 'p', threadId: 'idle', title: 'Idle' }))
  expect((await desk.dispatch(remove)).events).toHaveLength(1)
  await expect(other.dispatch(start('late'))).rejects.toMatchObject({ code: 'not-found' })
  await other.close()
})

/** Lets something happen once, between the next decision and its commit. */
function meanwhile(happens: () => Promise<unknown>): void {
  const appendAll = desk.events.appendAll.bind(desk.events)
  vi.spyOn(desk.events, 'appendAll').mockImplementationOnce(async (...args) => {
    await happens()
    return appendAll(...args)
  })
}

it('streams a turn to its end, with its checkpoint', async () => {
  await prepare(desk)
  const runner = await Runner.begin(desk, lease)
  await runner.dispatch(start('u'))
  await runner.finished('u')
  const reader = new Reader(desk.handle)
  const turn = reader.turn('u')
  expect(turn).toMatchObject({ state: 'completed', threadId: 't' })
  expect(reader.checkpoints('t').map(({ ref, status }) => [ref, status])).toEqual([
    [turn.checkpointRef, 'ready'],
  ])
  expect(reader.messages('u').map(({ role, text, isStreaming }) => [role, text, isStreaming])).toEqual([
    ['user', 'Go', false],
    ['assistant', textOf(agent), false],
  ])
  await runner.stop()
})

it('interrupts what runs when it stops, and another process goes on with it to the same text', async () => {
  await prepare(desk)
  const runner = await Runner.begin(desk, lease)
  await runner.dispatch(start('u', { delayMs: 5 }))
  while ((desk.state.messages.get(desk.state.turns.get('u')?.messageId ?? '')?.deltas ?? 0) < 3)
    await new Promise((resolve) => setTimeout(resolve, 2))
  await runner.stop()
  const reader = new Reader(desk.handle)
  expect(reader.interrupted()).toMatchObject([{ turnId: 'u', reason: 'the process was stopped' }])
  await expect(runner.dispatch({ type: 'turn.resume', turnId: 'u' })).rejects.toMatchObject({
    code: 'unavailable',
  })
  const next = await Runner.begin(desk, lease)
  await next.dispatch({ type: 'turn.resume', turnId: 'u' })
  await next.finished('u')
  expect(reader.messages('u').at(-1)?.text).toBe(textOf(agent))
  await next.stop()
})

it('leaves the turns of a living process alone, and interrupts those of one that is gone', async () => {
  await prepare(desk)
  const other = await Desk.open(dataDir, strict)
  const turnIn = () => new Reader(other.handle).turn('u')
  const runner = await Runner.begin(desk, { ...lease, leaseMs: 10_000 })
  await runner.dispatch(start('u', { deltas: 1_000, delayMs: 20 }))
  const others = { leaseMs: 500, signal: new AbortController().signal }
  expect(await ifDead(other.runtime, runner.id, others, () => expect.unreachable('it lives'))).toBe(false)
  expect(turnIn().state).toBe('running')
  await runner.dispatch({ type: 'turn.interrupt', turnId: 'u' })
  await runner.finished('u')
  await desk.dispatch({ type: 'turn.resume', turnId: 'u', runner: 'one-that-died' })
  const watcher = await Runner.begin(other, { ...lease, leaseMs: 500 })
  while (turnIn().state === 'running') await new Promise((resolve) => setTimeout(resolve, 10))
  expect(turnIn()).toMatchObject({ state: 'interrupted', reason: 'the process that ran it is gone' })
  await Promise.all([runner.stop(), watcher.stop()])
  await other.close()
})

it('stops a turn that somebody interrupts or abandons, and says nothing more of it', async () => {
  await prepare(desk)
  const runner = await Runner.begin(desk, lease)
  await runner.dispatch(start('u', { delayMs: 50 }))
  await runner.dispatch({ type: 'turn.abandon', turnId: 'u' })
  await runner.finished('u')
  const types = [...desk.events.replayAll()].map(({ type }) => type)
  expect(types.filter((type) => type.startsWith('turn.')).at(-1)).toBe('turn.abandoned')
  await runner.stop()
})
