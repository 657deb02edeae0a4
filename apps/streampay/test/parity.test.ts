/** The checks of parity before and behind a cutover are given what is wrong in each way they look for. */
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { schemaOf } from '../lib/repositories/open.ts'
import { type Kept, Load } from '../scripts/rollout/load.ts'
import {
  compareOrder,
  orderOf,
  replay,
  singleWriter,
  sqlOrder,
  sqlReplay,
} from '../scripts/rollout/parity.ts'
import { type Fault, serve } from './faults.ts'
import { missing, newUrl } from './places.ts'

const sound: Fault = () => undefined
const loadOf = (address: string) => new Load(() => [address])

it.each<[string, string[], number]>([
  ['nothing in the same order', ['a', 'b', 'c'], 0],
  ['two that changed places', ['b', 'a', 'c'], 2],
  ['one that is lost', ['a', 'b'], 1],
  ['one too many', ['a', 'b', 'c', 'd'], 1],
])('the comparison of orders finds %s', (_what, after, differences) =>
  expect(compareOrder('order', ['a', 'b', 'c'], after).differences).toBe(differences),
)

describe('the replay', () => {
  it.each<[string, (answer: Response) => Response, number]>([
    ['nothing where all is the same', (answer) => answer, 0],
    ['another status', ({ body, headers }) => new Response(body, { status: 202, headers }), 3],
    ['another text', ({ status, headers }) => new Response('{}', { status, headers }), 3],
    ['another version', (answer) => withHeader(answer, 'etag', '"9"'), 3],
    [
      'an answer that does not say it is one again',
      (answer) => withHeader(answer, 'idempotency-replayed'),
      3,
    ],
  ])('finds %s', async (_what, change, differences) => {
    let isAgain = false
    const load = loadOf(
      await serve((request, answer) => (isAgain ? answer(request).then(change) : undefined)),
    )
    const kept = await keptOf(load)
    isAgain = true
    expect(await replay(load, kept)).toMatchObject({ compared: 3, differences })
  })

  it('finds work that is done again', async () => {
    const load = loadOf(await serve(sound))
    const kept = await keptOf(load)
    const forgotten = kept.map(({ answer, ...one }) => ({
      ...one,
      answer: { ...answer, key: `${answer.key}2` },
    }))
    expect((await replay(load, forgotten)).differences).toBe(3)
  })
})

describe('the check for a single writer', () => {
  it.each<[string, number | undefined, number]>([
    ['nothing where one has all and the others nothing', undefined, 0],
    ['24 who have it', 200, 23 + 23],
    ['nobody who has it', 422, 1 + 1],
  ])('finds %s', async (_what, status, differences) => {
    const address = await serve((request, answer) =>
      status !== undefined && request.url.endsWith('/withdraw')
        ? answer(request).then(({ body, headers }) => new Response(body, { status, headers }))
        : undefined,
    )
    expect(await singleWriter(loadOf(address))).toMatchObject({ compared: 24, differences })
  })
})

it('the tables have the order and the answers, and any other is found', async ({ skip }) => {
  skip(missing('postgres') !== '', missing('postgres'))
  const url = newUrl('postgres')
  const load = loadOf(await serve(sound, url))
  const kept = await keptOf(load)
  const [first, ...others] = await orderOf(load, Date.now())
  const plain = new URL(url)
  plain.searchParams.delete('schema')
  const client = new pg.Client({ connectionString: plain.href })
  await client.connect()
  try {
    await client.query(`SET search_path = ${schemaOf(url)}`)
    const order = await sqlOrder(client, Date.now())
    expect(order).toEqual([first, ...others])
    expect(await sqlOrder(client, 0)).toEqual([])
    expect((await sqlReplay(client, kept)).differences).toBe(0)
    const changed = kept.map((one) => ({ ...one, answer: { ...one.answer, text: '{}' } }))
    expect((await sqlReplay(client, changed)).differences).toBe(3)
    const unknown = kept.map((one) => ({ ...one, path: `${one.path}/none` }))
    expect((await sqlReplay(client, unknown)).differences).toBe(3)
  } finally {
    await client.end()
  }
})

/** Three answers to keep: one of ten requests is. */
async function keptOf(load: Load): Promise<readonly Kept[]> {
  for (let n = 0; n < 30; n++) await load.create()
  return load.kept
}

function withHeader(answer: Response, name: string, value?: string): Response {
  const headers = new Headers(answer.headers)
  if (value === undefined) headers.delete(name)
  else headers.set(name, value)
  return new Response(answer.body, { status: answer.status, headers })
}
