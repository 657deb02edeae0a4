/**
 * One case on one peer, in a process of its own: `tsx bench/run.ts '{"kind":"append",…}' PEER PLACE`. The place is a
 * folder, or the URL of an empty database. Prints JSON.
 */
import { drive } from './drive.ts'
import { appendTogether } from './fleet.ts'
import type { Latency } from './latency.ts'
import { openerOf } from './peer/index.ts'
import type { Peer } from './peer/peer.ts'
import { event } from './work.ts'

export type Work =
  | { readonly kind: 'append'; readonly streams: number; readonly callers: number; readonly count: number }
  | Together
  | { readonly kind: 'read stream'; readonly count: number }
  | { readonly kind: 'feed'; readonly count: number }
  /** The state of a stream of so many events, over and over; from a snapshot and 100 events, or from all. */
  | {
      readonly kind: 'state'
      readonly events: number
      readonly hasSnapshot: boolean
      readonly count: number
    }
  /** Pages that are decoded already, folded in memory, several times over. */
  | { readonly kind: 'fold'; readonly count: number; readonly times: number }
  | { readonly kind: 'put'; readonly callers: number; readonly count: number }
  | { readonly kind: 'get'; readonly callers: number; readonly count: number }
  /** Each caller takes a lock of its own, or all take the same one. */
  | { readonly kind: 'lock'; readonly callers: number; readonly keys: number; readonly count: number }
  | { readonly kind: 'get synchronously'; readonly count: number }
  | { readonly kind: 'enqueue'; readonly callers: number; readonly count: number }
  | { readonly kind: 'work off'; readonly count: number }
  /** All records of one store into another. */
  | { readonly kind: 'copy'; readonly count: number }
  | { readonly kind: 'apply'; readonly events: number; readonly documents: number }

/** Several processes append for so many seconds, on one domain or spread over several. */
export interface Together {
  readonly kind: 'append together'
  readonly processes: number
  readonly domains: number
  readonly streams: number
  /** In each process. */
  readonly callers: number
  readonly seconds: number
}

export interface Run {
  /** Operations per second. */
  readonly rate: number
  readonly done: number
  readonly failed: number
  /** Acknowledged and not found afterwards. */
  readonly lost: number
  readonly durability: string
  /** Where callers wait for an answer to each call. */
  readonly latency?: Latency | undefined
}

/** A slow peer is stopped after so many seconds; its rate is what it reached by then. */
const longestSeconds = 6

const [json, name, place] = process.argv.slice(2)
if (json === undefined || name === undefined || place === undefined)
  throw new Error('usage: run.ts WORK PEER PLACE')
const work: Work = JSON.parse(json)
const run = work.kind === 'append together' ? await appendTogether(work, name, place) : await runAlone(work)
process.stdout.write(`${JSON.stringify(run)}\n`)
process.exit(0)

async function runAlone(work: Exclude<Work, Together>): Promise<Run> {
  const open = await openerOf(name as string)
  const peer = await open(place as string)
  const run = await measure(work, peer)
  await peer.close()
  return run
}

async function measure(work: Exclude<Work, Together>, peer: Peer): Promise<Run> {
  switch (work.kind) {
    case 'append':
      return measureAppend(work, peer)
    case 'read stream': {
      const { fill, readStream } = required(peer, 'fill', 'readStream')
      const streams = Math.max(1, work.count / 1_000)
      await fill(streams, 1_000)
      await readStream('stream-0')
      return timed(peer, async () => {
        let found = 0
        for (let round = 0; round < 3; round++)
          for (let s = 0; s < streams; s++) found += await readStream(`stream-${s}`)
        if (found !== streams * 3_000) throw new Error(`${found} events read`)
        return found
      })
    }
    case 'feed': {
      const { fill, readAll } = required(peer, 'fill', 'readAll')
      await fill(work.count / 200, 200)
      return timed(peer, async () => {
        const found = await readAll()
        if (found !== work.count) throw new Error(`${found} events read`)
        return found
      })
    }
    case 'state': {
      const { fill, state } = required(peer, 'fill', 'state')
      await fill(1, work.events - 100)
      if (work.hasSnapshot) await state('stream-0', true)
      await fill(1, 100)
      const seq = await state('stream-0', false)
      if (seq !== work.events) throw new Error(`${seq} events folded`)
      return timed(peer, async () => {
        for (let n = 0; n < work.count; n++) await state('stream-0', false)
        return work.count
      })
    }
    case 'fold': {
      const { fold } = required(peer, 'fold')
      const take = await fold(work.count)
      take()
      return timed(peer, async () => {
        for (let i = 0; i < work.times; i++) take()
        return work.count * work.times
      })
    }
    case 'put': {
      const { put } = required(peer, 'put')
      return driven(work, peer, (n) => put(`thing-${n % 10_000}`, event(n).data))
    }
    case 'get': {
      const { put, get } = required(peer, 'put', 'get')
      await drive({ count: 1_000, callers: 64, seconds: 60 }, (n) => put(`thing-${n}`, event(n).data))
      return driven(work, peer, (n) => get(`thing-${(n * 7) % 1_000}`))
    }
    case 'lock': {
      const { lock } = required(peer, 'lock')
      return driven(work, peer, (n) => lock(`lock-${n % work.keys}`))
    }
    case 'get synchronously': {
      const { put, getSync } = required(peer, 'put', 'getSync')
      for (let n = 0; n < 1_000; n++) await put(`thing-${n}`, event(n).data)
      for (let n = 0; n < 5_000; n++) getSync(`thing-${n % 1_000}`)
      return timed(peer, async () => {
        for (let n = 0; n < work.count; n++) getSync(`thing-${(n * 7) % 1_000}`)
        return work.count
      })
    }
    case 'enqueue': {
      const { enqueue } = required(peer, 'enqueue')
      return driven(work, peer, (n) => enqueue(n))
    }
    case 'work off': {
      const { enqueue, workOff } = required(peer, 'enqueue', 'workOff')
      await drive({ count: work.count, callers: 64, seconds: 600 }, (n) => enqueue(n))
      return timed(peer, async () => {
        await workOff(work.count)
        return work.count
      })
    }
    case 'copy': {
      const { copy } = required(peer, 'copy')
      return timed(peer, await copy(work.count))
    }
    case 'apply': {
      const { follow } = required(peer, 'follow')
      const { makeFeed } = await import('./feed.ts')
      const pages = await makeFeed(work.events, work.documents)
      const take = await follow()
      return timed(peer, async () => {
        for (const page of pages) await take(page)
        return pages.reduce((sum, { items }) => sum + items.length, 0)
      })
    }
  }
}

async function measureAppend(work: Extract<Work, { kind: 'append' }>, peer: Peer): Promise<Run> {
  const { append } = required(peer, 'append')
  const appendOne = (n: number) => append(`stream-${n % work.streams}`, event(n))
  // Warm up on the streams that will be used, so that nobody is measured while being compiled.
  const warm = { count: Math.min(20_000, work.count), callers: work.callers, seconds: 2 }
  const warmed = await drive(warm, appendOne)
  const { rate, done, failed, latencies } = await drive({ ...work, seconds: longestSeconds }, appendOne)
  const kept = peer.count === undefined ? undefined : await peer.count()
  const lost = kept === undefined ? 0 : Math.max(0, warmed.done + done - kept)
  return { rate, done, failed, lost, durability: peer.durability, latency: latencies.latency }
}

/** Warms up, and measures. */
async function driven(
  work: { readonly callers: number; readonly count: number },
  peer: Peer,
  call: (n: number) => Promise<unknown>,
): Promise<Run> {
  await drive({ count: Math.min(20_000, work.count), callers: work.callers, seconds: 2 }, call)
  const { rate, done, failed, latencies } = await drive({ ...work, seconds: longestSeconds }, call)
  return { rate, done, failed, lost: 0, durability: peer.durability, latency: latencies.latency }
}

async function timed(peer: Peer, run: () => Promise<number>): Promise<Run> {
  const since = performance.now()
  const done = await run()
  const rate = done / ((performance.now() - since) / 1_000)
  return { rate, done, failed: 0, lost: 0, durability: peer.durability }
}

function required<K extends keyof Peer>(peer: Peer, ...verbs: K[]): Required<Pick<Peer, K>> {
  for (const verb of verbs) if (peer[verb] === undefined) throw new Error(`this peer has no ${String(verb)}`)
  return peer as Peer & Required<Pick<Peer, K>>
}
