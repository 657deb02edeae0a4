/**
 * A process of a measured move: `fork('bench/move/child.ts', ['app' | 'mover', TARGETS])`. The application appends, each
 * of its callers after a pause, and tells its latencies when asked; the mover copies until it is stopped.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from 'underpin'
import { Latencies } from '../latency.ts'
import { event } from '../work.ts'
import { domains } from './ends.ts'

const [what, targets] = process.argv.slice(2) as ['app' | 'mover', string]
const store = await openStore(JSON.parse(targets), { domains })
if (what === 'app') await append()
else await copy()

async function append(): Promise<never> {
  const bench = store.domain('bench')
  let latencies = new Latencies()
  process.on('message', (message) => {
    if (message === 'tell') process.send?.(latencies.counts)
    latencies = new Latencies()
  })
  process.send?.('ready')
  const caller = async (n: number) => {
    for (let i = 0; ; i++) {
      await pause(10 + 20 * Math.random())
      const since = performance.now()
      await bench.log.append(`app-${n}`, event(i))
      latencies.add(performance.now() - since)
    }
  }
  return Promise.race(Array.from({ length: 8 }, (_, n) => caller(n)))
}

async function copy(): Promise<void> {
  const move = await store.move('bench', { to: 'to' })
  await move.start()
  process.send?.('ready')
  await move.run({ signal: new AbortController().signal })
}
