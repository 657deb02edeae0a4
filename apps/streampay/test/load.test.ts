/** The judge of the rollout's users is given servers that are wrong in each way they look for. */
import { describe, expect, it } from 'vitest'
import type { StreamRecord } from '../lib/stream.ts'
import { Load } from '../scripts/rollout/load.ts'
import { type Fault, type Handler, serve } from './faults.ts'

/** The fault, once, in the first request of that method and path; `done` resolves when it was answered. */
function first(
  method: string,
  path: RegExp,
  instead: (request: Request, sound: Handler) => Promise<Response>,
) {
  let isDue = true
  let resolve = () => {}
  const done = new Promise<void>((told) => {
    resolve = told
  })
  const fault: Fault = (request, sound) => {
    if (!isDue || request.method !== method || !path.test(new URL(request.url).pathname)) return undefined
    isDue = false
    return instead(request, sound).finally(resolve)
  }
  return { fault, done }
}

/** The effect once more, for a key that nobody asked with. */
async function twice(request: Request, sound: Handler): Promise<Response> {
  const again = new Request(request.clone(), {
    headers: { ...headersOf(request), 'idempotency-key': 'again' },
  })
  const answer = await sound(request)
  await sound(again)
  return answer
}

/** As if there were no such thing: nothing is done. */
async function without(request: Request): Promise<Response> {
  await request.arrayBuffer()
  return Response.json({ title: 'Not Found' }, { status: 404 })
}

/** The record as it was a change before. */
async function stale(request: Request, sound: Handler): Promise<Response> {
  const answer = await sound(request)
  const read = (await answer.json()) as StreamRecord
  return Response.json({ ...read, version: read.version - 1 })
}

function headersOf({ headers }: Request): Record<string, string> {
  return Object.fromEntries(headers)
}

const record = /^\/streams\/[^/]+$/
describe('the judge of the load', () => {
  it('finds nothing where servers are right', async () => {
    const { fault, done } = first('POST', /withdraw$/, (request, sound) => sound(request))
    expect(await judged(fault, done)).toEqual([])
  })

  it.each<[string, ReturnType<typeof first>, RegExp]>([
    ['a stream created twice', first('POST', /^\/streams$/, twice), /is listed, and nobody was told of it/],
    [
      'a settlement made twice',
      first('POST', /settle$/, twice),
      /version \d+ of \d+ was lost, or told to nob/,
    ],
    ['a payment made twice', first('POST', /withdraw$/, twice), /\d payments, \d+ asked for|acknowledged/],
    ['a stream away for a moment', first('GET', record, without), /: read was answered 404/],
    ['a list away for a moment', first('GET', /^\/streams$/, without), /the list was answered 404/],
    ['a change refused', first('POST', /settle$/, without), /: settle was answered 404/],
    ['a payment refused', first('POST', /withdraw$/, without), /: withdraw was answered 404/],
    ['a read from behind', first('GET', record, stale), /version \d+ was told, and \d+ read behind it/],
  ])('finds %s', async (_what, { fault, done }, wrong) =>
    expect((await judged(fault, done)).join('\n')).toMatch(wrong),
  )

  async function judged(fault: Fault, done: Promise<void>): Promise<readonly string[]> {
    const address = await serve(fault)
    const load = new Load(() => [address])
    load.begin(2)
    await done
    await load.end()
    return load.judge()
  }
})

it('a user who fails is told of at the end, and not before', async () => {
  const { fault, done } = first('POST', /^\/streams$/, without)
  const address = await serve(fault)
  const load = new Load(() => [address])
  load.begin(2)
  await done
  await expect(load.end()).rejects.toThrow('A stream was not created: 404')
})
