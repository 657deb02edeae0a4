/** kill -9 in the middle of streaming turns: what was acknowledged is there, once. Real processes, random moments. */
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { type SimulatedAgent, textOf } from '../src/agent.ts'
import type { StoredDeskEvent } from '../src/event.ts'
import type { MessageView, TurnView } from '../src/read.ts'
import { verifyProjections } from '../src/shadow.ts'
import { readEvents } from './support/event-source.ts'
import { testFolder } from './support/folder.ts'
import { seededRandom } from './support/random.ts'
import { Server } from './support/server.ts'

const folder = testFolder()
const kills = 5
const threads = ['t1', 't2', 't3'] as const
const deltas = 300

let server: Server | undefined
afterEach(() => server?.kill())

const agentOf = (thread: string): SimulatedAgent => ({ kind: 'simulated', seed: thread, deltas, delayMs: 3 })

/** What a reader has seen, over all the servers that it was connected to. */
class Seen {
  readonly events: StoredDeskEvent[] = []
  readonly #waiting: { at: number; resolve: () => void }[] = []

  get last(): number {
    return this.events.at(-1)?.sequence ?? 0
  }

  async follow(url: string): Promise<void> {
    for await (const event of readEvents(url, { after: this.last })) {
      this.events.push(event)
      for (const { at, resolve } of this.#waiting) if (event.sequence >= at) resolve()
    }
  }

  /** Resolves when the event with a sequence has come. */
  reach(at: number): Promise<void> {
    if (this.last >= at) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ at, resolve }))
  }
}

/** An agent outside, which sends its deltas one by one and counts only what was acknowledged. */
class Outside {
  acknowledged = 0

  async speak(to: Server): Promise<void> {
    try {
      for (; this.acknowledged < deltas; this.acknowledged++)
        await to.send({
          type: 'message.append',
          messageId: 'outside',
          index: this.acknowledged,
          texts: [`${this.acknowledged} `],
        })
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
    }
  }
}

/** Waits until every turn is interrupted or completed, and lets those go on that were interrupted: so many. */
async function resumeAll(to: Server): Promise<number> {
  for (;;) {
    const turns = await Promise.all(threads.map((thread) => to.get<TurnView>(`/turns/turn-${thread}`)))
    if (turns.every(({ state }) => state === 'interrupted' || state === 'completed')) {
      const interrupted = turns.filter(({ state }) => state === 'interrupted')
      for (const { turnId } of interrupted) await to.send({ type: 'turn.resume', turnId })
      return interrupted.length
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

it('loses no acknowledged delta and doubles none, however often the server is killed', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  const random = seededRandom(seed)
  const dataDir = join(folder, 'kills')
  const [seen, outside] = [new Seen(), new Outside()]
  server = await Server.start(dataDir)
  await server.send({ type: 'project.add', projectId: 'p', title: 'Project', workspaceRoot: '/work' })
  for (const thread of [...threads, 'outside'])
    await server.send({ type: 'thread.create', projectId: 'p', threadId: thread, title: thread })
  for (const thread of threads) {
    const turn = { type: 'turn.start', threadId: thread, turnId: `turn-${thread}`, prompt: 'Go on' }
    await server.send({ ...turn, agent: agentOf(thread) })
  }
  const turn = { type: 'turn.start', threadId: 'outside', turnId: 'turn-outside', prompt: 'Go on' }
  await server.send({ ...turn, agent: { kind: 'external' } })
  await server.send({ type: 'turn.begin', turnId: 'turn-outside', messageId: 'outside' })

  let interrupted = 0
  for (let kill = 1; kill <= kills; kill++) {
    const [reader, speaker] = [seen.follow(server.url), outside.speak(server)]
    await seen.reach(seen.last + 40 + Math.floor(120 * random()))
    await server.kill()
    await Promise.all([reader, speaker])
    server = await Server.start(dataDir)
    interrupted += await resumeAll(server)
  }
  const reader = seen.follow(server.url)
  await outside.speak(server)
  await server.send({ type: 'turn.complete', turnId: 'turn-outside' })
  while ((await resumeAll(server)) > 0);
  const { sequence } = await server.get<{ sequence: number }>('/health')
  await seen.reach(sequence)

  const sequences = seen.events.map((event) => event.sequence)
  const doubled = sequences.length - new Set(sequences).size
  const texts = await Promise.all(threads.map((thread) => textIn(server as Server, `turn-${thread}`)))
  const outsideText = await textIn(server, 'turn-outside')
  expect(await server.stop()).toBe(0)
  await reader
  const streamed = seen.events.filter(({ type }) => type === 'message.delta').length
  console.log(
    `seed ${seed}: ${kills} kills, ${interrupted} turns interrupted and resumed; ${streamed} deltas seen by the reader, ${outside.acknowledged} acknowledged to the agent outside; lost ${sequence - new Set(sequences).size}, doubled ${doubled}`,
  )
  expect(sequences).toEqual(Array.from({ length: sequence }, (_, i) => i + 1))
  expect(texts).toEqual(threads.map((thread) => textOf(agentOf(thread))))
  expect(outsideText).toBe(Array.from({ length: deltas }, (_, i) => `${i} `).join(''))
  expect(interrupted).toBeGreaterThan(0)
  expect(verifyProjections(join(dataDir, 'desk.db')).differences).toEqual([])
}, 90_000)

async function textIn(server: Server, turnId: string): Promise<string | undefined> {
  const { messages } = await server.get<{ messages: MessageView[] }>(`/turns/${turnId}`)
  return messages.find(({ role }) => role === 'assistant')?.text
}
