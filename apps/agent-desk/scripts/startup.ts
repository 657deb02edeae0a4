/**
 * `npm run startup [-- <events> <folder>]`: how long a start takes with 1,000,000 events, from all of them and from a
 * snapshot. The database is made once, by the desk's own event store, and kept for the next run. The machine may be shared, so
 * that wall clock alone says little: CPU seconds are printed too.
 */
import { existsSync, statSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { deltaOf, filesOf, type SimulatedAgent } from '../src/agent.ts'
import { openDatabase } from '../src/database.ts'
import { Desk } from '../src/desk.ts'
import type { DeskEvent } from '../src/event.ts'
import { EventStore } from '../src/event-store.ts'
import { dropSnapshots } from '../src/snapshot.ts'

const wanted = Number(process.argv[2] ?? 1_000_000)
const folder = resolve(process.argv[3] ?? `reports/startup-${wanted}`)
const [projects, threads, deltas, repeats] = [20, 2_000, 112, 3]

const fail = (error: unknown) => {
  throw error
}

if (!existsSync(join(folder, 'desk.db'))) await measured('make the database', () => make(folder))
const bytes = statSync(join(folder, 'desk.db')).size
console.log(
  `${wanted} events, ${Math.round(bytes / 1e6)} MB; ${availableParallelism()} CPUs, load ${loadavg()[0]?.toFixed(1)}`,
)
for (let i = 0; i < repeats; i++) {
  const database = await openDatabase(folder)
  dropSnapshots(database.handle)
  await database.close()
  const desk = await measured('start from all events', () => Desk.open(folder, { onError: fail }))
  const { turns, messages } = desk.state
  console.log(`  replayed ${desk.start.replayed}: ${turns.size} turns, ${messages.size} messages in memory`)
  await measured('take a snapshot', () => desk.snapshot())
  await desk.close()
  const again = await measured('start from the snapshot', () => Desk.open(folder, { onError: fail }))
  console.log(`  snapshot of event ${again.start.snapshot}, replayed ${again.start.replayed}`)
  await again.close()
}

async function make(dataDir: string): Promise<void> {
  const database = await openDatabase(dataDir)
  const store = new EventStore(database.desk, database.handle)
  let page: DeskEvent[] = []
  let left = wanted
  for (const event of history()) {
    page.push(event)
    left--
    if (page.length < 2_000 && left > 0) continue
    await store.appendAll(page)
    page = []
    if (left === 0) break
  }
  await database.close()
}

/** What a desk may have been through: turn behind turn, in one thread after the other. */
function* history(): Generator<DeskEvent> {
  for (let p = 0; p < projects; p++) {
    const data = {
      projectId: `p${p}`,
      title: `Project ${p}`,
      workspaceRoot: `./project-${p}`,
      defaultModel: 'simulated-1',
    }
    yield { type: 'project.added', data }
  }
  const fields = { title: 'A thread', model: 'simulated-1', branch: null, worktreePath: null }
  for (let t = 0; t < threads; t++)
    yield { type: 'thread.created', data: { threadId: `t${t}`, projectId: `p${t % projects}`, ...fields } }
  for (let n = 0; ; n++) yield* turn(`t${n % threads}`, `turn-${n}`)
}

function* turn(threadId: string, turnId: string): Generator<DeskEvent> {
  const agent: SimulatedAgent = { kind: 'simulated', seed: turnId, deltas, delayMs: 0 }
  const [ids, messageId] = [{ threadId, turnId }, `message-${turnId}`]
  yield { type: 'turn.requested', data: { ...ids, agent, runner: 'startup' } }
  yield {
    type: 'message.added',
    data: { ...ids, messageId: `prompt-${turnId}`, role: 'user', text: 'Go on' },
  }
  yield { type: 'turn.started', data: ids }
  yield { type: 'message.started', data: { ...ids, messageId, role: 'assistant' } }
  for (let index = 0; index < deltas; index++)
    yield { type: 'message.delta', data: { ...ids, messageId, index, text: deltaOf(agent, index) } }
  yield { type: 'message.finished', data: { ...ids, messageId } }
  yield { type: 'checkpoint.created', data: { ...ids, ref: `checkpoint-${turnId}`, files: filesOf(agent) } }
  yield { type: 'turn.completed', data: ids }
}

async function measured<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  const [since, cpu] = [performance.now(), process.cpuUsage()]
  const result = await work()
  const { user, system } = process.cpuUsage(cpu)
  const [wallMs, cpuMs] = [performance.now() - since, (user + system) / 1_000]
  console.log(`${what}: ${Math.round(wallMs)} ms, of CPU ${Math.round(cpuMs)} ms`)
  return result
}
