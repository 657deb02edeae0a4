/** `npm run smoke [-- <url>]`: a turn from end to end, against a running server, or one that is started for it. */
import { strict as assert } from 'node:assert'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type SimulatedAgent, textOf } from '../src/agent.ts'
import type { MessageView, TurnView } from '../src/read.ts'
import { readEvents } from '../test/support/event-source.ts'
import { Server } from '../test/support/server.ts'

const given = process.argv[2]
const folder = mkdtempSync(join(tmpdir(), 'agent-desk-smoke-'))
const server = given === undefined ? await Server.start(folder) : Server.at(given)
try {
  const [projectId, threadId, turnId] = [randomUUID(), randomUUID(), randomUUID()]
  const agent: SimulatedAgent = { kind: 'simulated', seed: 'smoke', deltas: 25, delayMs: 5 }
  await server.send({ type: 'project.add', projectId, title: 'Smoke', workspaceRoot: `/smoke/${projectId}` })
  await server.send({ type: 'thread.create', projectId, threadId, title: 'Does it work?' })
  const { sequence } = await server.get<{ sequence: number }>('/health')
  console.log(`project and thread made; the desk is at event ${sequence}`)

  await server.send({ type: 'turn.start', threadId, turnId, prompt: 'Say something', agent })
  let streamed = ''
  for await (const { type, data } of readEvents(server.url, { after: sequence, thread: threadId })) {
    if (type === 'message.delta') streamed += data.text
    if (type === 'turn.completed') break
  }
  assert.equal(streamed, textOf(agent))
  console.log(`turn streamed: ${streamed}`)

  const turn = await server.get<TurnView & { messages: MessageView[] }>(`/turns/${turnId}`)
  assert.equal(turn.state, 'completed')
  assert.equal(turn.messages.at(-1)?.text, streamed)
  assert.equal((await server.command({ type: 'turn.resume', turnId })).status, 409)
  assert.equal((await server.command({ type: 'turn.resume', turnId: 'none' })).status, 404)
  console.log('the tables say the same; what cannot be done is refused')
} finally {
  if (given === undefined) assert.equal(await server.stop(), 0)
  rmSync(folder, { recursive: true, force: true })
}
console.log('smoke: all well')
