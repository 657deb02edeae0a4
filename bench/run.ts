/** One case on one peer, in a process of its own: `tsx bench/run.ts '{"kind":"append",…}' peer folder`. Prints JSON. */
import { peers } from './peer/index.ts'
import type { Peer } from './peer/peer.ts'
import { event } from './work.ts'

export type Work =
  | { readonly kind: 'append'; readonly streams: number; readonly callers: number; readonly count: number }
  | { readonly kind: 'read stream'; readonly count: number }
  | { readonly kind: 'feed'; readonly count: number }
  | { readonly kind: 'put'; readonly callers: number; readonly count: number }
  | { readonly kind: 'get'; readonly callers: number; readonly count: number }
  | { readonly kind: 'get synchronously'; readonly count: number }

export interface Run {
  /** Operations per second. */
  readonly rate: number
  readonly done: number
  readonly failed: number
  /** Acknowledged and not found afterwards. */
  readonly lost: number
  readonly durability: string
}

/** A slow peer is stopped after so many seconds; its rate is what it reached by then. */
const longestSeconds = 6

const [work, name, folder] = process.argv.slice(2)
if (work === undefined || name === undefined || folder === undefined)
  throw new Error('usage: run.ts WORK PEER FOLDER')
const openPeer = await peers[name]?.()
if (openPeer === undefined) throw new Error(`no peer ${name}`)
const peer = await openPeer(folder)
const run = await measure(JSON.parse(work), peer)
process.stdout.write(`${JSON.stringify(run)}\n`)
await peer.close()
process.exit(0)

async function measure(work: Work, peer: Peer): Promise<Run> {
  switch (work.kind) {
    case 'append': {
      const { append } = required(peer, 'append')
      // Warm up on the streams that will be used, so that nobody is measured while being compiled.
      const warm = Math.min(20_000, work.count)
      const warmed = await callers(warm, work.callers, 2, (n) =>
        append(`stream-${n % work.streams}`, event(n)),
      )
      const ran = await callers(work.count, work.callers, longestSeconds, (n) =>
        append(`stream-${n % work.streams}`, event(n)),
      )
      const kept = peer.count === undefined ? undefined : await peer.count()
      const lost = kept === undefined ? 0 : Math.max(0, warmed.done + ran.done - kept)
      return { ...ran, lost, durability: peer.durability }
    }
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
    case 'put': {
      const { put } = required(peer, 'put')
      await callers(20_000, work.callers, 2, (n) => put(`thing-${n % 10_000}`, event(n).data))
      const ran = await callers(work.count, work.callers, longestSeconds, (n) =>
        put(`thing-${n % 10_000}`, event(n).data),
      )
      return { ...ran, lost: 0, durability: peer.durability }
    }
    case 'get': {
      const { put, get } = required(peer, 'put', 'get')
      await callers(1_000, 64, 60, (n) => put(`thing-${n}`, event(n).data))
      await callers(20_000, work.callers, 2, (n) => get(`thing-${n % 1_000}`))
      const ran = await callers(work.count, work.callers, longestSeconds, (n) =>
        get(`thing-${(n * 7) % 1_000}`),
      )
      return { ...ran, lost: 0, durability: peer.durability }
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
  }
}

/** Runs `count` operations from so many callers, each waiting for its answer before it asks again. */
async function callers(count: number, width: number, seconds: number, run: (n: number) => Promise<unknown>) {
  let next = 0
  let done = 0
  let failed = 0
  const since = performance.now()
  const until = since + seconds * 1_000
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count && performance.now() < until) {
        try {
          await run(next++)
          done++
        } catch {
          failed++
        }
      }
    }),
  )
  return { rate: done / ((performance.now() - since) / 1_000), done, failed }
}

async function timed(peer: Peer, run: () => Promise<number>): Promise<Run> {
  const since = performance.now()
  const done = await run()
  const rate = done / ((performance.now() - since) / 1_000)
  return { rate, done, failed: 0, lost: 0, durability: peer.durability }
}

function required<K extends keyof Peer>(peer: Peer, ...verbs: K[]): Required<Pick<Peer, K>> {
  for (const verb of verbs) if (peer[verb] === undefined) throw new Error(`this peer has no ${String(verb)}`)
  return peer as Required<Pick<Peer, K>>
}
