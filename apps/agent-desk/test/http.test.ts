import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SimulatedAgent, textOf } from '../src/agent.ts'
import type { StoredDeskEvent } from '../src/event.ts'
import type { MessageView, TurnView } from '../src/read.ts'
import { type Served, serve } from '../src/serve.ts'
import { readEvents } from './support/event-source.ts'
import { testFolder } from './support/folder.ts'

const folder = testFolder()
const failures: unknown[] = []
let served: Served
beforeAll(async () => {
  const config = { dataDir: join(folder, 'http'), port: 0, leaseMs: 30_000 }
  served = await serve(config, (error) => failures.push(error))
  await post({ type: 'project.add', projectId: 'p', title: 'Parser', workspaceRoot: './parser' })
  await post({ type: 'thread.create', projectId: 'p', threadId: 't', title: 'Mend it', branch: 'fix' })
})
afterAll(async () => {
  await served.close()
  expect(failures).toEqual([])
})

async function post(command: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const body = typeof command === 'string' ? command : JSON.stringify(command)
  const response = await fetch(`${served.url}/commands`, { method: 'POST', body })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function get(path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${served.url}${path}`)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const agent: SimulatedAgent = { kind: 'simulated', seed: 'http', deltas: 20, delayMs: 2 }
const turn = (turnId: string, threadId = 't') => ({
  type: 'turn.start',
  threadId,
  turnId,
  prompt: 'Go',
  agent,
})

/** The events of a thread until a turn has ended. */
async function eventsUntilEnd(turnId: string, after: number, thread?: string): Promise<StoredDeskEvent[]> {
  const events: StoredDeskEvent[] = []
  for await (const event of readEvents(served.url, { after, ...(thread && { thread }) })) {
    events.push(event)
    if (event.type === 'turn.completed' && event.data.turnId === turnId) break
  }
  return events
}

describe('commands', () => {
  it('answer with what happened, and with 200 if that was nothing', async () => {
    const set = { type: 'setting.set', key: 'theme', value: 'dark' }
    const first = await post(set)
    expect(first).toMatchObject({ status: 201, body: { events: [{ type: 'setting.changed' }] } })
    expect(await post(set)).toEqual({ status: 200, body: { command: set, events: [] } })
    expect((await get('/settings')).body).toEqual({ settings: { theme: 'dark' } })
  })

  it.each([
    ['{', 400, 'invalid'],
    [{ type: 'project.add' }, 400, 'invalid'],
    [{ type: 'thread.create', projectId: 'none', title: 'T' }, 404, 'not-found'],
    [{ type: 'project.add', projectId: 'p', title: 'T', workspaceRoot: '/x' }, 409, 'exists'],
    [{ type: 'turn.resume', turnId: 'none' }, 404, 'not-found'],
  ])('that cannot be done say why: %j is %i %s', async (command, status, code) => {
    expect(await post(command)).toMatchObject({ status, body: { error: { code } } })
  })

  it.each([
    ['half of an emoji', '\ud83d', 400, 'invalid'],
    ['more than a mebibyte', 'x'.repeat(1_100_000), 413, 'too-large'],
  ])('that the store refuses are no failure of the desk: %s', async (_, value, status, code) => {
    expect(await post({ type: 'setting.set', key: 'refused', value })).toMatchObject({
      status,
      body: { error: { code } },
    })
    expect((await get('/settings')).body).not.toHaveProperty('settings.refused')
    expect(failures).toEqual([])
  })

  it('of an agent outside stream a turn, and a lost answer is asked for again without harm', async () => {
    await post({ type: 'thread.create', projectId: 'p', threadId: 'out', title: 'Outside' })
    await post({ ...turn('out', 'out'), agent: { kind: 'external' } })
    await post({ type: 'turn.begin', turnId: 'out', messageId: 'said' })
    const delta = { type: 'message.append', messageId: 'said', index: 0, texts: ['Hello'] }
    expect([(await post(delta)).status, (await post(delta)).status]).toEqual([201, 200])
    expect(await post({ ...delta, index: 2 })).toMatchObject({
      status: 409,
      body: { error: { code: 'gap' } },
    })
    const file = { path: 'a.ts', kind: 'added', additions: 1, deletions: 0 }
    await post({ type: 'turn.complete', turnId: 'out', checkpoint: { ref: 'c', files: [file] } })
    expect((await get('/threads/out')).body).toMatchObject({
      latestTurnId: 'out',
      turns: [{ turnId: 'out', state: 'completed', checkpointRef: 'c' }],
      checkpoints: [{ ref: 'c', status: 'ready', files: [file] }],
    })
    const { messages } = (await get('/turns/out')).body as { messages: MessageView[] }
    expect(messages.map(({ role, text, isStreaming }) => [role, text, isStreaming])).toEqual([
      ['user', 'Go', false],
      ['assistant', 'Hello', false],
    ])
  })
})

describe('server-sent events', () => {
  it('stream a turn as deltas, which together are its text', async () => {
    const [reading] = [eventsUntilEnd('live', served.desk.state.sequence, 't'), await post(turn('live'))]
    const events = await reading
    const text = events.map((event) => (event.type === 'message.delta' ? event.data.text : '')).join('')
    expect(text).toBe(textOf(agent))
    expect(events.map(({ type }) => type)).toEqual([
      'turn.requested',
      'message.added',
      'turn.started',
      'message.started',
      ...Array.from({ length: agent.deltas }, () => 'message.delta'),
      'message.finished',
      'checkpoint.created',
      'turn.completed',
    ])
  })

  it('go on behind Last-Event-ID without gap or double, however often the connection breaks', async () => {
    await post({ type: 'thread.create', projectId: 'p', threadId: 'broken', title: 'Broken' })
    const before = served.desk.state.sequence
    await post(turn('broken', 'broken'))
    const sequences: number[] = []
    for (let isOver = false; !isOver; ) {
      let left = 5
      for await (const event of readEvents(served.url, { after: sequences.at(-1) ?? before })) {
        sequences.push(event.sequence)
        isOver = event.type === 'turn.completed' && event.data.turnId === 'broken'
        if (isOver || --left === 0) break
      }
    }
    expect(sequences).toEqual(Array.from({ length: sequences.length }, (_, i) => before + 1 + i))
    expect(sequences.length).toBeGreaterThan(agent.deltas)
  })

  it('of a thread leave out a thread whose id begins the same', async () => {
    for (const threadId of ['same', 'same-too'])
      await post({ type: 'thread.create', projectId: 'p', threadId, title: threadId })
    const before = served.desk.state.sequence
    await post(turn('other', 'same-too'))
    await post(turn('mine', 'same'))
    const threads = (await eventsUntilEnd('mine', before, 'same')).map(
      ({ data }) => 'threadId' in data && data.threadId,
    )
    expect(new Set(threads)).toEqual(new Set(['same']))
  })

  it.each(['x', '-1', '1.5', '999999'])('from %s are refused: it is no sequence of this desk', async (id) => {
    const response = await fetch(`${served.url}/events/stream`, { headers: { 'last-event-id': id } })
    expect([response.status, await response.json()]).toMatchObject([400, { error: { code: 'invalid' } }])
  })
})

describe('reading', () => {
  it('pages through the events', async () => {
    const { body } = await get('/events?after=1&limit=1')
    expect(body).toMatchObject({ events: [{ sequence: 2, type: 'thread.created' }], next: 2 })
    expect((await get('/events?limit=0')).status).toBe(400)
  })

  it('shows projects and threads with all that was said of them', async () => {
    const { body } = await get('/projects')
    expect(body).toMatchObject({
      projects: [{ projectId: 'p', title: 'Parser', defaultModel: 'simulated-1' }],
    })
    const { threads } = (await get('/projects/p/threads')).body as { threads: { threadId: string }[] }
    expect(threads[0]).toMatchObject({ threadId: 't', branch: 'fix', worktreePath: null, deletedAt: null })
    expect((await get('/projects/none')).status).toBe(404)
    expect((await get('/nowhere')).status).toBe(404)
  })

  it('shows who has to be resumed or abandoned', async () => {
    await post({ type: 'thread.create', projectId: 'p', threadId: 'stopped', title: 'Stopped' })
    await post({ ...turn('stopped', 'stopped'), agent: { ...agent, delayMs: 1_000 } })
    await post({ type: 'turn.interrupt', turnId: 'stopped', reason: 'lunch' })
    const { turns } = (await get('/turns')).body as { turns: TurnView[] }
    expect(turns).toMatchObject([{ turnId: 'stopped', state: 'interrupted', reason: 'lunch' }])
    expect((await post({ type: 'turn.abandon', turnId: 'stopped' })).status).toBe(201)
    expect((await get('/turns')).body).toEqual({ turns: [] })
  })
})

describe('a browser', () => {
  /** The status of a command with headers that `fetch` would not send. */
  async function statusWith(headers: Record<string, string>): Promise<number | undefined> {
    const options = { method: 'POST', headers: { 'content-type': 'text/plain', ...headers } }
    const asking = request(`${served.url}/commands`, options)
    asking.end(JSON.stringify({ type: 'setting.set', key: 'page', value: 1 }))
    const [response] = (await once(asking, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }

  it('commands nothing for a page of another origin, or of a name that was made to point here', async () => {
    const before = served.desk.state.sequence
    expect(await statusWith({ origin: 'https://example.com' })).toBe(403)
    expect(await statusWith({ origin: 'null' })).toBe(403)
    expect(await statusWith({ origin: 'http://127.0.0.1:1' })).toBe(403)
    expect(await statusWith({ host: 'example.com', origin: 'http://example.com' })).toBe(403)
    expect(await statusWith({ host: 'example.com' })).toBe(403)
    expect(served.desk.state.sequence).toBe(before)
  })

  it('commands for a page of the desk itself', async () => {
    expect(await statusWith({ origin: served.url })).toBe(201)
    const local = `localhost:${new URL(served.url).port}`
    expect(await statusWith({ host: local, origin: `http://${local}` })).toBe(200)
  })
})
