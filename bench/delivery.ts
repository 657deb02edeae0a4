/** How long after its commit an event reaches the handler of a subscription: from before the append is called. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openStore } from 'underpin'
import { Latencies } from './latency.ts'
import { describeMachine, type Figure } from './report.ts'
import type { On, Places } from './suite.ts'

/** Milliseconds of the machine's monotonic clock, the same in all processes. */
const now = () => performance.timeOrigin + performance.now()

interface Measure {
  readonly id: string
  readonly title: string
  readonly on: On
  readonly url: string
  readonly count: number
  readonly goalMs: number
  /** The events are appended by another process. */
  readonly isElsewhere: boolean
}

/** On SQLite and in memory within a process; on PostgreSQL within one and across two. */
export async function measureDelivery(on: On, places: Places, count: number): Promise<readonly Figure[]> {
  const place = await places.make()
  try {
    const here = { on, count, goalMs: 2, isElsewhere: false }
    if (on === 'sqlite') {
      return [
        await measure({
          ...here,
          id: 'delivery-memory',
          title: 'commit to handler, in memory',
          url: 'memory:',
        }),
        await measure({
          ...here,
          id: 'delivery',
          title: 'commit to handler, same process',
          url: `sqlite:${place}/app.db`,
        }),
      ]
    }
    const title = 'commit to handler, across two processes, with NOTIFY'
    return [
      await measure({ on, count, goalMs: 10, isElsewhere: true, id: 'delivery-across', title, url: place }),
    ]
  } finally {
    await places.remove(place)
  }
}

async function measure({ id, title, on, url, count, goalMs, isElsewhere }: Measure): Promise<Figure> {
  const store = await openStore(url, { domains: { bench: {} } })
  const bench = store.domain('bench')
  const latencies = new Latencies()
  const stop = new AbortController()
  let taken = 0
  let finish = () => {}
  const all = new Promise<void>((resolve) => {
    finish = resolve
  })
  const running = bench
    .subscription({
      name: 'delivery',
      filter: { types: ['sent'] },
      handle(item) {
        if (item.kind === 'event') latencies.add(now() - Number(item.data))
        if (++taken === count) finish()
      },
    })
    .run({ signal: stop.signal })
  await sleep(500)
  const since = performance.now()
  if (isElsewhere) await sendElsewhere(url, count)
  else await send(bench, count)
  await Promise.race([all, running])
  const rate = count / ((performance.now() - since) / 1_000)
  stop.abort()
  await running
  await store.close()
  const { p50 = Number.NaN } = latencies.latency ?? {}
  return {
    on,
    id,
    title,
    value: p50,
    unit: 'ms (p50)',
    latency: latencies.latency,
    peers: {},
    goal: `p50 at most ${goalMs} ms`,
    met: p50 <= goalMs,
    spread: [p50, p50],
    note: `${count} events, one after another with pauses, ${rate.toFixed(0)}/s`,
    machine: describeMachine(),
  }
}

type Sender = {
  readonly log: { append(stream: string, event: { type: string; data: number }): Promise<unknown> }
}

/** With pauses of up to 4 ms, so that each is awaited by an idle reader. */
async function send(bench: Sender, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await sleep(Math.random() * 4)
    await bench.log.append('s', { type: 'sent', data: now() })
  }
}

async function sendElsewhere(url: string, count: number): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), [url, String(count)], { execArgv: ['--import', 'tsx'] })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`The sender failed (${code})`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url = '', count = '0'] = process.argv.slice(2)
  const store = await openStore(url, { domains: { bench: {} } })
  await send(store.domain('bench'), Number(count))
  await store.close()
}
