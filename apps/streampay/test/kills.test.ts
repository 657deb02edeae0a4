/**
 * Money under fire: 64 callers settle, withdraw, pause and start few streams through three real servers, which are killed
 * with SIGKILL and replaced, and one of which is stopped for longer than its locks last and wakes up in the middle of what
 * others have gone on with. Each payment is made once, and none above what was earned.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, it } from 'vitest'
import { accrue } from '../lib/money.ts'
import type { StreamRecord } from '../lib/stream.ts'
import { Client } from '../scripts/client.ts'
import { type Facts, judge, type Paid } from '../scripts/ledger.ts'
import { Fleet, kinds, missing, newUrl } from './places.ts'

const callers = 64
/** Of the whole test: a busy machine takes its time. */
const timeoutMs = 180_000
const kills = 2
/** Longer than a lock outlives its holder: 2,000. */
const frozenMs = 3_000
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
const terms = { sender: 'a', recipient: 'b', currency: 'EUR', deposit: 10 ** 9, ratePerHour: 36_000_000 }

const fleets: Fleet[] = []
afterAll(async () => {
  for (const fleet of fleets) await fleet.stop()
})

/** Numbers in [0, 1) that the seed decides. */
function randomBy(start: number): () => number {
  let state = start
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

describe.concurrent.each(kinds)('three servers on %s', (kind) => {
  it(
    `pay no more than was earned, and each payment once, while they are killed and stopped (seed ${seed})`,
    async ({ expect, skip }) => {
      skip(missing(kind) !== '', missing(kind))
      const fleet = new Fleet(newUrl(kind))
      fleets.push(fleet)
      await fleet.start(3)
      const client = new Client(() => fleet.addresses)
      const versions = new Map<string, number[]>()
      const since = Date.now()
      for (let n = 0; n < 3; n++) {
        const { body } = await client.post('/streams', { body: terms })
        const started = await client.post(`/streams/${body.id}/start`)
        versions.set(body.id, [body.version, started.body.version])
      }
      const ids = [...versions.keys()]
      const paid: Paid[] = []
      const over = new AbortController()
      const call = async (number: number) => {
        const random = randomBy(seed + number)
        while (!over.signal.aborted) {
          const stream = ids[Math.floor(random() * ids.length)] as string
          const drawn = random()
          if (drawn < 0.5) {
            const amount = 1 + Math.floor(random() * 2_000)
            const { status, key, body } = await client.post(`/streams/${stream}/withdraw`, {
              body: { amount },
            })
            expect([200, 409, 422]).toContain(status)
            if (status === 200) paid.push({ stream, key, amount, version: body.version })
          } else {
            const kind = drawn < 0.8 ? 'settle' : drawn < 0.9 ? 'pause' : 'start'
            const { status, body } = await client.post(`/streams/${stream}/${kind}`)
            expect([200, 409]).toContain(status)
            if (status === 200) versions.get(stream)?.push(body.version)
          }
        }
      }
      const calling = Promise.all(Array.from({ length: callers }, (_, number) => call(number)))
      const random = randomBy(seed)
      await pause(500)
      await fleet.servers[Math.floor(random() * fleet.servers.length)]?.freeze(frozenMs)
      for (let n = 0; n < kills; n++) {
        await fleet.replace(Math.floor(random() * fleet.servers.length))
        await pause(500)
      }
      over.abort()
      await calling
      const streams: Facts['streams'][number][] = []
      for (const id of ids) {
        const record = (await client.get(`/streams/${id}`)).body as StreamRecord
        const { accrued } = (await client.get(`/streams/${id}/balance`)).body
        const accruedAtMost = accrue(record.ratePerHour, Date.now() - since, record.deposit)
        streams.push({ record, accrued, accruedAtMost, activity: await activityOf(client, id) })
      }
      expect(judge({ paid, versions, streams })).toEqual([])
      expect(client.counts.errors).toBe(0)
      expect(paid.length).toBeGreaterThan(20)
      console.log(
        `${kind}: ${client.counts.requests} requests of ${callers} callers, ${kills} servers killed, 1 stopped for ${frozenMs} ms, ${client.counts.repeats} asked again, ${paid.length} payments`,
      )
    },
    timeoutMs,
  )
})

async function activityOf(client: Client, id: string) {
  const items = []
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const query: string = cursor === '' ? '' : `&cursor=${cursor}`
    const { body } = await client.get(`/streams/${id}/activity?limit=200${query}`)
    items.push(...body.items)
    cursor = body.cursor
  }
  return items
}
