/** What a backfill costs the application that goes on writing, and how well it tells when it will be over. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openStore } from 'underpin'
import { Latencies } from '../latency.ts'
import { describeMachine, type Figure } from '../report.ts'
import type { Places } from '../suite.ts'
import { domains, endsOf, fillSource } from './ends.ts'

const child = fileURLToPath(new URL('child.ts', import.meta.url))

export interface Size {
  readonly records: number
  /** Of each window in which latencies are taken. */
  readonly seconds: number
  readonly rounds: number
}

/**
 * The p99 of the application's appends with the backfill at work in another process, and paused, in turns: what else
 * happens on the machine meets both.
 */
export async function measureApplication(
  places: Places,
  { records, seconds, rounds }: Size,
): Promise<Figure[]> {
  const url = await places.make()
  const { targets } = endsOf(url, 'to postgres')
  console.error(`filling a source with ${records} records`)
  await fillSource({ targets, url, file: '' }, records)
  const app = await begin('app', targets)
  const store = await openStore(targets, { domains })
  const move = await store.move('bench', { to: 'to' })
  const [alone, beside] = [new Latencies(), new Latencies()]
  const ratios: number[] = []
  await pause(2_000)
  await window(app, seconds)
  await move.start()
  await move.pause()
  const mover = await begin('mover', targets)
  for (let round = 0; round < rounds; round++) {
    const without = await window(app, seconds)
    await move.resume()
    await pause(1_500)
    const before = (await move.status()).position
    const besides = await window(app, seconds)
    const { position, head } = await move.status()
    await move.pause()
    await pause(1_500)
    // A window in which nothing was left to copy measures nothing.
    if (head - position < 1_000) break
    console.error(
      `backfill beside the application: ${Math.round((position - before) / seconds)} positions/s, p99 ${p99(without).toFixed(2)} -> ${p99(besides).toFixed(2)} ms`,
    )
    // Nor does one in which the mover had not begun yet.
    if (position === before) continue
    alone.addAll(without.counts)
    beside.addAll(besides.counts)
    ratios.push(p99(besides) / p99(without))
  }
  for (const process of [app, mover]) process.kill('SIGKILL')
  await store.close()
  await places.remove(url)
  const ratio = p99(beside) / p99(alone)
  return [
    {
      on: 'postgres',
      id: 'move-app-p99',
      title: 'p99 of the application’s appends (SQLite) while another process backfills into PostgreSQL',
      value: ratio,
      unit: '× of that without',
      latency: beside.latency,
      peers: { 'without the backfill': { value: p99(alone), ratio, note: 'ms', latency: alone.latency } },
      goal: 'at most 1.3 ×',
      met: ratio <= 1.3,
      spread: [Math.min(...ratios), Math.max(...ratios)],
      note: `of ${ratios.length} rounds of ${seconds} s with and ${seconds} s without, all together; in the middle one ${middleOf(ratios).toFixed(2)} ×`,
      machine: describeMachine(),
    },
  ]
}

async function begin(what: 'app' | 'mover', targets: object): Promise<ChildProcess> {
  const started = fork(child, [what, JSON.stringify(targets)], { execArgv: ['--import', 'tsx'] })
  await once(started, 'message')
  return started
}

async function window(app: ChildProcess, seconds: number): Promise<Latencies> {
  app.send('forget')
  await pause(seconds * 1_000)
  app.send('tell')
  const [counts] = await once(app, 'message')
  const latencies = new Latencies()
  latencies.addAll(counts as (number | null)[])
  return latencies
}

function middleOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

function p99({ latency }: Latencies): number {
  return latency?.p99 ?? Number.NaN
}

/** How far the time that was left, as it was told in the second quarter, was from the time that it took. */
export async function measureEta(places: Places, records: number): Promise<Figure[]> {
  const url = await places.make()
  const { targets } = endsOf(url, 'to postgres')
  console.error(`filling a source with ${records} records`)
  await fillSource({ targets, url, file: '' }, records)
  const store = await openStore(targets, { domains })
  await supersede(store.domain('bench'), records / 20)
  const move = await store.move('bench', { to: 'to' })
  await move.start()
  const told: { readonly at: number; readonly ms: number; readonly low: number; readonly high: number }[] = []
  let all = 0
  await move.catchUp({
    onProgress({ records, recordsLeft, eta }) {
      all ||= records + recordsLeft
      if (eta === undefined || records < all / 4 || records > all / 2) return
      told.push({ at: performance.now(), ms: eta.ms, low: eta.lowMs, high: eta.highMs })
    },
  })
  const end = performance.now()
  await store.close()
  await places.remove(url)
  const errors = told.map(({ at, ms }) => 100 * Math.abs(ms / (end - at) - 1))
  const within = told.filter(({ at, low, high }) => low <= end - at && end - at <= high).length
  const error = middleOf(errors)
  const [first] = told
  const note = `told ${told.length} times, ${within} times with the truth inside the band; at first ${first?.ms.toFixed(0)} ms (${first?.low.toFixed(0)} to ${first?.high.toFixed(0)}), when it took ${(end - (first?.at ?? Number.NaN)).toFixed(0)} ms`
  console.error(note)
  return [
    {
      on: 'postgres',
      id: 'move-eta',
      title: 'error of the time left that a backfill tells in its second quarter, the middle of all',
      value: error,
      unit: '%',
      peers: {},
      goal: 'at most 15 %',
      met: error <= 15,
      spread: [Math.min(...errors), Math.max(...errors)],
      note,
      machine: describeMachine(),
    },
  ]
}

/** Large documents behind all others, most of them in states that are superseded: positions are no measure here. */
async function supersede(
  bench: {
    transaction(work: (t: { put(c: 'things', id: string, value: never): void }) => void): Promise<unknown>
  },
  count: number,
): Promise<void> {
  for (let round = 0; round < 4; round++)
    for (let from = 0; from < count; from += 500)
      await bench.transaction((t) => {
        for (let n = from; n < from + 500; n++) t.put('things', `large-${n}`, 'x'.repeat(1_000) as never)
      })
}
