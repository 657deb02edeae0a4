/** One of several processes that append: `fork('bench/worker.ts', [WORK, PEER, PLACE, DOMAIN])`. See fleet.ts. */
import { once } from 'node:events'
import { type Driven, drive } from './drive.ts'
import { openerOf } from './peer/index.ts'
import type { Together } from './run.ts'
import { event } from './work.ts'

export interface Worked {
  readonly done: number
  readonly failed: number
  readonly seconds: number
  readonly counts: readonly number[]
}

const [json, name, place, domain] = process.argv.slice(2) as [string, string, string, string]
const { callers, streams, seconds }: Together = JSON.parse(json)
const open = await openerOf(name)
const peer = await open(place, domain)
const { append } = peer
if (append === undefined) throw new Error('this peer has no append')
const appendOne = (n: number) => append.call(peer, `stream-${n % streams}`, event(n))
await say(await drive({ count: Number.POSITIVE_INFINITY, callers, seconds: Math.min(2, seconds) }, appendOne))
await once(process, 'message')
await say(await drive({ count: Number.POSITIVE_INFINITY, callers, seconds }, appendOne))
await peer.close()
process.disconnect()
process.exit(0)

async function say({ done, failed, seconds, latencies }: Driven): Promise<void> {
  const worked: Worked = { done, failed, seconds, counts: latencies.counts }
  await new Promise((resolve) => process.send?.(worked, resolve))
}
