/**
 * `npm run traffic [-- <threads> <seconds>]`: concurrent turns against a server in a process of its own. Every thread has
 * an agent that sends delta behind delta, as fast as they are acknowledged, and a reader of the thread's events. Measured
 * is the time from the command to its answer, and to the delivery of its event. Half as many simulated turns run beside.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyProjections } from '../src/shadow.ts'
import { readEvents } from '../test/support/event-source.ts'
import { Server } from '../test/support/server.ts'

const threads = Number(process.argv[2] ?? 20)
const seconds = Number(process.argv[3] ?? 10)
const deltasInTurn = 100

const folder = mkdtempSync(join(tmpdir(), 'agent-desk-traffic-'))
const server = await Server.start(folder, 5_000)
const answered: number[] = []
const delivered: number[] = []
const errors: unknown[] = []
let turns = 0

try {
  await server.send({ type: 'project.add', projectId: 'p', title: 'Traffic', workspaceRoot: '/work' })
  const over = AbortSignal.timeout(seconds * 1_000)
  const since = performance.now()
  await Promise.all([
    ...Array.from({ length: threads }, (_, i) => talk(`agent-${i}`, over)),
    ...Array.from({ length: Math.ceil(threads / 2) }, (_, i) => simulate(`simulated-${i}`, over)),
  ])
  const elapsed = (performance.now() - since) / 1_000
  const { sequence } = await server.get<{ sequence: number }>('/health')
  console.log(`${availableParallelism()} CPUs, load ${loadavg()[0]?.toFixed(1)}; ${elapsed.toFixed(1)} s`)
  console.log(
    `${turns} turns of agents outside on ${threads} threads, ${sequence} events (${Math.round(sequence / elapsed)}/s)`,
  )
  console.log(`${delivered.length} deltas sent one by one (${Math.round(delivered.length / elapsed)}/s)`)
  console.log(`from command to answer: ${summary(answered)}`)
  console.log(`from command to delivery: ${summary(delivered)}`)
  console.log(`errors: ${errors.length}${errors.length > 0 ? `, the first: ${String(errors[0])}` : ''}`)
} finally {
  await server.stop()
}
console.log(`tables differ from replay: ${verifyProjections(join(folder, 'desk.db')).differences.length}`)
rmSync(folder, { recursive: true, force: true })
if (errors.length > 0) process.exitCode = 1

/** Turns of an agent outside, one behind the other, and a reader that must see every delta of them in order. */
async function talk(threadId: string, over: AbortSignal): Promise<void> {
  const sentAt = new Map<string, number>()
  const reading = new AbortController()
  await server.send({ type: 'thread.create', projectId: 'p', threadId, title: threadId })
  const reader = read(threadId, sentAt, reading.signal)
  for (let n = 0; !over.aborted; n++) {
    const [turnId, messageId] = [`${threadId}-${n}`, `m-${threadId}-${n}`]
    const start = { type: 'turn.start', threadId, turnId, prompt: 'Go on', agent: { kind: 'external' } }
    await attempt(() => server.send(start))
    await attempt(() => server.send({ type: 'turn.begin', turnId, messageId }))
    for (let index = 0; index < deltasInTurn && !over.aborted; index++)
      await attempt(async () => {
        const at = performance.now()
        sentAt.set(`${messageId}/${index}`, at)
        await server.send({ type: 'message.append', messageId, index, texts: ['some words '] })
        answered.push(performance.now() - at)
      })
    await attempt(() => server.send({ type: 'turn.complete', turnId }))
    turns++
  }
  while (sentAt.size > 0 && errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  reading.abort()
  await reader
}

async function read(thread: string, sentAt: Map<string, number>, signal: AbortSignal): Promise<void> {
  for await (const event of readEvents(server.url, { after: 0, thread, signal })) {
    if (event.type !== 'message.delta') continue
    const key = `${event.data.messageId}/${event.data.index}`
    const at = sentAt.get(key)
    if (at === undefined) errors.push(new Error(`${key} was delivered twice, or was never sent`))
    else delivered.push(performance.now() - at)
    sentAt.delete(key)
  }
}

/** Turns of the simulated agent, which the server runs. */
async function simulate(threadId: string, over: AbortSignal): Promise<void> {
  await server.send({ type: 'thread.create', projectId: 'p', threadId, title: threadId })
  for (let n = 0; !over.aborted; n++) {
    const agent = { kind: 'simulated', seed: `${n}`, deltas: 50, delayMs: 10 }
    const turnId = `${threadId}-${n}`
    const reading = new AbortController()
    const ended = (async () => {
      for await (const { type } of readEvents(server.url, { thread: threadId, signal: reading.signal }))
        if (type === 'turn.completed') break
    })()
    await attempt(() => server.send({ type: 'turn.start', threadId, turnId, prompt: 'Go on', agent }))
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5_000))])
    reading.abort()
    await ended
  }
}

async function attempt(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    errors.push(error)
  }
}

function summary(times: number[]): string {
  const sorted = times.sort((a, b) => a - b)
  const at = (part: number) => `${(sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1)} ms`
  return `p50 ${at(0.5)}, p99 ${at(0.99)}, most ${at(0.9999)}`
}
