import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { FakeClock } from 'underpin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeCursor, openRepositories } from '../lib/db.ts'
import type { StreamRecord } from '../lib/stream.ts'
import { Client } from '../scripts/client.ts'
import { allPages } from '../scripts/rollout/load.ts'
import { createApp } from '../src/app.ts'
import { openapi } from '../src/openapi.ts'
import { Fleet, kinds, missing, newFolder, newUrl } from './places.ts'

/** A thousand units a second: enough to see in the time that a request takes. */
const terms = { sender: 'ada', recipient: 'bob', currency: 'EUR', deposit: 10 ** 9, ratePerHour: 3_600_000 }

describe.each(['memory', ...kinds] as const)('a server on %s', (kind) => {
  const why = kind === 'memory' ? '' : missing(kind)
  let fleet: Fleet
  let client: Client
  beforeAll(async () => {
    if (why !== '') return
    fleet = new Fleet(kind === 'memory' ? 'memory:' : newUrl(kind))
    await fleet.start(1)
    client = new Client(() => fleet.addresses)
  })
  afterAll(() => fleet?.stop())
  const test = it.skipIf(why !== '')
  const named = (name: string) => (why === '' ? name : `${name} (skipped: ${why})`)

  async function started(more: Partial<typeof terms> = {}): Promise<string> {
    const { body } = await client.post('/streams', { body: { ...terms, ...more } })
    expect((await client.post(`/streams/${body.id}/start`)).status).toBe(200)
    return body.id
  }

  test(named('takes a stream from its draft to its end'), async () => {
    const { status, headers, body } = await client.post('/streams', { body: terms })
    expect([status, headers.get('location'), headers.get('etag')]).toEqual([
      201,
      `/streams/${body.id}`,
      '"1"',
    ])
    expect(body).toMatchObject({ ...terms, status: 'draft', settled: 0, withdrawn: 0, refunded: 0 })
    for (const [command, after] of [
      ['start', 'active'],
      ['pause', 'paused'],
      ['start', 'active'],
      ['settle', 'active'],
      ['stop', 'stopped'],
      ['settle', 'stopped'],
    ]) {
      const answer = await client.post(`/streams/${body.id}/${command}`)
      expect([answer.status, answer.body.status]).toEqual([200, after])
    }
    const { body: balance } = await client.get(`/streams/${body.id}/balance`)
    expect(balance.available).toBeGreaterThan(0)
    const paid = await client.post(`/streams/${body.id}/withdraw`)
    expect(paid.body.withdrawn).toBe(balance.available)
    expect(paid.body.settled + paid.body.refunded).toBe(terms.deposit)
    const more = await client.post(`/streams/${body.id}/withdraw`, { body: { amount: 1 } })
    expect([more.status, more.body.detail]).toEqual([422, '0 can be withdrawn, not 1'])
    const types = (await client.get(`/streams/${body.id}/activity`)).body.items.map(
      ({ type }: { type: string }) => type.slice('stream.'.length),
    )
    expect(types).toEqual([
      'created',
      'started',
      'paused',
      'started',
      'settled',
      'stopped',
      'settled',
      'withdrawn',
    ])
    const users = await Promise.all(['ada', 'bob', 'eve'].map((wallet) => client.get(`/users/${wallet}`)))
    expect(users.map(({ status: found }) => found)).toEqual([200, 200, 404])
  })

  test(named('does what is asked twice once, and says the same'), async () => {
    const first = await client.post('/streams', { key: 'k-1', body: terms })
    const again = await client.post('/streams', { key: 'k-1', body: terms })
    expect([again.text, again.headers.get('idempotency-replayed')]).toEqual([first.text, 'true'])
    const other = await client.post('/streams', { key: 'k-1', body: { ...terms, deposit: 1 } })
    expect(other.status).toBe(422)
    const tenant = await client.post('/streams', { key: 'k-1', body: terms, headers: { 'x-tenant': 'eve' } })
    expect(tenant.body.id).not.toBe(first.body.id)
    const refused = await client.post(`/streams/${first.body.id}/pause`, { key: 'k-2' })
    await client.post(`/streams/${first.body.id}/start`)
    const refusedAgain = await client.post(`/streams/${first.body.id}/pause`, { key: 'k-2' })
    expect([refused.status, refusedAgain.status, refusedAgain.text]).toEqual([409, 409, refused.text])
    for (const path of ['/streams', `/streams/${first.body.id}/settle`, '/exports']) {
      const { status } = await fetch(`${fleet.addresses[0]}${path}`, { method: 'POST', body: '{}' })
      expect(status).toBe(400)
    }
  })

  test(named('changes a stream only as it is known, with If-Match'), async () => {
    const id = await started()
    const match = (tag: string) => client.post(`/streams/${id}/settle`, { headers: { 'if-match': tag } })
    const answers = []
    for (const tag of ['"1"', 'W/"2"', 'x', '"1", "2"', '*', '"3"']) answers.push((await match(tag)).status)
    expect(answers).toEqual([412, 412, 412, 200, 200, 412])
    const again = { key: 'corrected', headers: { 'if-match': '"1"' } }
    expect((await client.post(`/streams/${id}/settle`, again)).status).toBe(412)
    again.headers['if-match'] = '"4"'
    expect((await client.post(`/streams/${id}/settle`, again)).status).toBe(412)
    const known = await client.get(`/streams/${id}`, { 'if-none-match': '"4"' })
    expect([known.status, known.text, known.headers.get('etag')]).toEqual([304, '', '"4"'])
    expect((await client.get(`/streams/${id}`, { 'if-none-match': '"3"' })).status).toBe(200)
  })

  test(named('lists streams in pages that neither skip nor repeat, whatever changes meanwhile'), async () => {
    const ids: string[] = []
    for (let n = 0; n < 7; n++) ids.push(await started({ sender: 'page' }))
    const before: string[] = (await allPages(client, '/streams?limit=200')).map(({ id }) => id)
    const found: string[] = []
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const { body } = await client.get(`/streams?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`)
      found.push(...body.items.map(({ id }: { id: string }) => id))
      if (cursor === '') await started({ sender: 'page' })
      if (cursor === '') await client.post(`/streams/${ids[6]}/pause`)
      cursor = body.cursor
    }
    expect(found.slice(0, before.length)).toEqual(before)
    expect(found).toHaveLength(before.length + 1)
    const paused = await allPages(client, '/streams?status=paused&limit=1')
    expect(paused.map(({ id }) => id)).toContain(ids[6])
    expect(new Set(paused.map(({ status }) => status))).toEqual(new Set(['paused']))
    const last = await client.get(`/streams?cursor=${encodeCursor(found.at(-1) as string)}`)
    expect(last.body).toEqual({ items: [] })
  })

  test(named('pages the activity of one type'), async () => {
    const id = await started()
    for (let n = 0; n < 3; n++) await client.post(`/streams/${id}/settle`)
    const settled = await allPages(client, '/activity?type=stream.settled&limit=2')
    expect(settled.filter(({ stream }) => stream === id)).toHaveLength(3)
    expect(new Set(settled.map(({ type }) => type))).toEqual(new Set(['stream.settled']))
  })

  test(named('refuses what makes no sense, and writes nothing'), async () => {
    const count = (await allPages(client, '/streams?limit=200')).length
    for (const wrong of [
      { deposit: 0 },
      { deposit: 0.5 },
      { deposit: 2 ** 53 },
      { ratePerHour: -1 },
      { ratePerHour: '7' },
      { currency: 'euro' },
      { sender: '' },
      { more: 1 },
    ])
      expect((await client.post('/streams', { body: { ...terms, ...wrong } })).status).toBe(400)
    const id = await started()
    for (const amount of [0, -1, 1.5, '1', 2 ** 53])
      expect((await client.post(`/streams/${id}/withdraw`, { body: { amount } })).status).toBe(400)
    for (const path of ['/streams?limit=0', '/streams?limit=201', '/streams?status=x', '/streams?x=1'])
      expect((await client.get(path)).status).toBe(400)
    for (const cursor of ['x', encodeCursor('none'), '%00'])
      expect((await client.get(`/streams?cursor=${cursor}`)).status).toBe(400)
    for (const path of ['/streams/none', '/streams/none/balance', '/streams/none/activity', '/none'])
      expect((await client.get(path)).status).toBe(404)
    expect((await client.post('/streams/none/settle')).status).toBe(404)
    expect((await allPages(client, '/streams?limit=200')).length).toBe(count + 1)
  })

  test(named('makes exports that only their tenant has, with links that cannot be forged'), async () => {
    const id = await started({ sender: 'tenant-1' })
    await started({ sender: 'tenant-2' })
    const mine = { 'x-tenant': 'tenant-1' }
    const body = { kind: 'streams', format: 'ndjson' }
    const asked = await client.post('/exports', { body, headers: mine })
    const path = asked.headers.get('location') as string
    expect((await client.post('/exports', { body, headers: mine, key: asked.key })).body).toEqual(asked.body)
    let found = await client.get(path, mine)
    for (; found.body.state !== 'ready'; found = await client.get(path, mine))
      expect(['requested', 'running']).toContain(found.body.state)
    const file = await fetch(found.body.link)
    const rows = (await file.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(rows.map((row) => row.id)).toEqual([id])
    expect((await fetch(found.body.link.replace('tenant-1', 'tenant-2'))).status).toBe(403)
    expect((await client.get(path, { 'x-tenant': 'tenant-2' })).status).toBe(404)
    expect((await client.get('/exports')).status).toBe(400)
    const { body: audit } = await client.get('/exports/audit', mine)
    expect(audit.items.map(({ type }: { type: string }) => type)).toEqual([
      'export.requested',
      'export.ready',
      'export.downloaded',
    ])
  })

  test(named('answers what is under way when it is told to end'), async () => {
    const own = new Fleet(kind === 'memory' ? 'memory:' : newUrl(kind))
    await own.start(1)
    const address = own.addresses[0] as string
    // The server has begun with it when it says to go on.
    const asked = request(`${address}/streams`, {
      method: 'POST',
      headers: { expect: '100-continue', 'idempotency-key': 'k', 'content-type': 'application/json' },
    })
    asked.flushHeaders()
    await once(asked, 'continue')
    const stopped = own.stop()
    await untilRefused(address)
    asked.end(JSON.stringify(terms))
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    response.resume()
    expect([response.statusCode, await stopped]).toEqual([201, [0]])
  })
})

/** Waits until no connection is taken any more. */
async function untilRefused(address: string): Promise<void> {
  const { port } = new URL(address)
  for (let isOpen = true; isOpen; ) {
    const socket = connect(Number(port), '127.0.0.1')
    isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
  }
}

it('a key gets the same answer for a week, and is a new request behind it', async () => {
  const week = 7 * 24 * 3_600_000
  const clock = new FakeClock()
  const exports = { folder: newFolder(), keys: [{ id: '1', secret: 'x'.repeat(32) }] }
  const repositories = await openRepositories('memory:', { exports, clock })
  try {
    const app = createApp({ repositories, clock, onDefect: (error) => expect.fail(String(error)) })
    const create = async () => {
      const headers = { 'idempotency-key': 'k', 'content-type': 'application/json' }
      const answer = await app.request('/streams', { method: 'POST', headers, body: JSON.stringify(terms) })
      return ((await answer.json()) as StreamRecord).id
    }
    const first = await create()
    await clock.advance(week - 1)
    expect(await create()).toBe(first)
    await clock.advance(1)
    expect(await create()).not.toBe(first)
  } finally {
    await repositories.close()
  }
})

it('the OpenAPI document has every route and no other, and the page shows it', async () => {
  const exports = { folder: newFolder(), keys: [{ id: '1', secret: 'x'.repeat(32) }] }
  const repositories = await openRepositories('memory:', { exports })
  try {
    const app = createApp({
      repositories,
      clock: { now: () => 0 },
      onDefect: (error) => expect.fail(String(error)),
    })
    const routes = app.routes.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
    const documented = Object.entries(openapi.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    const shown = ['GET /openapi.json', 'GET /']
    expect(new Set(routes)).toEqual(new Set([...documented, ...shown]))
    const page = await (await app.request('/')).text()
    for (const path of Object.keys(openapi.paths)) expect(page).toContain(`data-path="${path}"`)
    expect(page).not.toMatch(/(src|href)="(https?:)?\/\//)
  } finally {
    await repositories.close()
  }
})
