/** Processes that run a projection, and processes whose appends keep one, are killed at any moment. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { events } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { type Place, placeKinds } from './places.ts'
import { type Booked, inline, later } from './projection/ledger.ts'
import { append as appendProof } from './proof.ts'

const script = fileURLToPath(new URL('./projection/process.ts', import.meta.url))
const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
const kills = Number(process.env.UNDERPIN_PROJECTION_KILLS ?? 4)

const started = new Set<ChildProcess>()
afterEach(() => {
  for (const child of started) child.kill('SIGKILL')
  started.clear()
})

async function start(task: 'run' | 'append', url: string, name: number): Promise<ChildProcess> {
  const child = fork(script, [task, url, String(name)], { execArgv: ['--import', 'tsx'] })
  started.add(child)
  await once(child, 'message')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) throw new Error(`A process ended by itself, with ${child.exitCode}`)
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

describe.each(placeKinds.filter(({ name }) => name !== 'memory'))(
  'projections on $name',
  ({ make, missing, name }) => {
    let place: Place
    beforeEach(({ skip }) => {
      skip(missing !== '', missing)
      place = make()
    })

    it('miss nothing and double nothing when their processes are killed', async () => {
      const since = performance.now()
      const random = randomOf(seed)
      const url = place.url as string
      const store = await place.open(
        { ledger: { events: events<Booked>(), projections: { inline: [inline] } } },
        { deadlineMs: 20_000 },
      )
      const ledger = store.domain('ledger')
      // Two stand by for the asynchronous one; two append.
      const children = await Promise.all(
        (['run', 'run', 'append', 'append'] as const).map((task, i) => start(task, url, i)),
      )
      for (let i = 0; i < kills; i++) {
        await pause(100 + random() * 300)
        const victim = i % children.length
        await kill(children[victim] as ChildProcess)
        children[victim] = await start(victim < 2 ? 'run' : 'append', url, 4 + i)
      }
      await Promise.all(children.slice(2).map(kill))
      const head = await ledger.head()
      await ledger.projection(later).waitFor(head, { timeoutMs: 15_000 })
      await Promise.all(children.slice(0, 2).map(kill))
      const truth = { sum: 0, count: 0 }
      for (let after = 0, end = 1; after < end; ) {
        const page = await ledger.changes({ after })
        for (const item of page.items)
          if (item.kind === 'event') {
            truth.count++
            truth.sum += item.data.n
          }
        ;[after, end] = [page.next, page.head]
      }
      const [a, b] = [await ledger.projection(inline).get('all'), await ledger.projection(later).get('all')]
      const verified = [await ledger.projection(inline).verify(), await ledger.projection(later).verify()]
      const seconds = (performance.now() - since) / 1_000
      const failed = verified.reduce((sum, { differing }) => sum + differing, 0)
      console.log(
        `${name}: ${kills} kills, ${truth.count} events, seed ${seed}: ${failed} differing keys, ${seconds.toFixed(1)} s`,
      )
      appendProof({
        promise: 'projections survive kills',
        backend: name,
        tried: kills,
        failed,
        unknown: 0,
        seed,
        seconds,
      })
      expect(truth.count).toBeGreaterThan(50)
      expect(a?.value).toEqual(truth)
      expect(b?.value).toEqual(truth)
      expect(verified).toMatchObject([{ ok: true }, { ok: true }])
    }, 120_000)
  },
)
