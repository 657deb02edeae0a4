import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { openBackend, openStore, systemClock } from '../src/index.ts'
import { runUntil, step, watchFiles } from './blob/steps.ts'
import { domains, fill, linkUrl, live, openExports, tenant } from './export/life.ts'
import { type Place, placeKinds } from './places.ts'
import { append } from './proof.ts'

const child = fileURLToPath(new URL('./export/child.ts', import.meta.url))
/**
 * Of how many steps one is tried, from a random one on: all of them with UNDERPIN_KILL_STRIDE=1. A process takes long to
 * start, and a commit to PostgreSQL longer than one to memory.
 */
const given = Number(process.env.UNDERPIN_KILL_STRIDE ?? 0)
const strides = { killed: given || 12, memory: given || 6, sqlite: given || 7, postgres: given || 9 }
const seed = Number(process.env.UNDERPIN_SEED ?? randomBytes(4).readUInt32LE())

function firstOf(stride: number): number {
  return 1 + (seed % stride)
}

async function run(...args: string[]): Promise<string> {
  const started = spawn(process.execPath, ['--import', 'tsx', child, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  started.stdout.on('data', (text: Buffer) => {
    said += text.toString()
  })
  await once(started, 'close')
  return said.trim()
}

/** What happened to an export, in order. */
type Made = Awaited<ReturnType<typeof openExports>>
const later = { ...systemClock, now: () => Date.now() + 8 * 86_400_000 }

async function auditOf(exports: Made, id: string): Promise<string[]> {
  const types: string[] = []
  for await (const { type, data } of exports.audit(tenant)) if (data.export === id) types.push(type)
  return types
}

/** The places of this test: stores on a backend whose commits a piece of work can be stopped before and behind. */
async function openStepping(backend: Backend) {
  const commit = backend.commit.bind(backend)
  ;(backend as { commit: Backend['commit'] }).commit = async (...args) => {
    await step('the beginning of a commit')
    const outcomes = await commit(...args)
    await step('the end of a commit')
    return outcomes
  }
  return openStore(backend, { domains })
}

interface Judged {
  readonly tried: number
  readonly faults: readonly string[]
}

/** Whether an export that was cut off and gone on with is as one that was not. */
async function faultsOf(exports: Made, id: string, bytes: Buffer, expected: Buffer, downloads: number) {
  const faults: string[] = []
  if (!bytes.equals(expected)) faults.push(`${id}: other bytes`)
  const audit = await auditOf(exports, id)
  const rest = audit.splice(2)
  const isComplete = audit.join() === 'export.requested,export.ready'
  const isCounted = rest.length >= 1 && rest.length <= downloads
  if (!isComplete || !isCounted || rest.some((type) => type !== 'export.downloaded'))
    faults.push(`${id}: ${[...audit, ...rest].join()}`)
  return faults
}

/** Lets everything expire, as a worker a week later does. */
async function expireAll(place: Place, folder: string): Promise<string[]> {
  const store = await place.open(domains, { clock: later })
  const exports = await openExports(store.domain('app'), folder)
  const over = new AbortController()
  const working = exports.work({ signal: over.signal, pollMs: 20, concurrency: 8 })
  const list = () => exports.list(tenant, { limit: 1_000 })
  while ((await list()).some(({ state }) => state === 'ready')) await pause(20)
  over.abort()
  await working
  const faults: string[] = []
  for (const { id } of await list()) {
    const expired = (await auditOf(exports, id)).filter((type) => type === 'export.expired')
    if (expired.length !== 1) faults.push(`${id}: expired ${expired.length} times`)
    await expect(exports.link(tenant, id, { url: linkUrl })).rejects.toMatchObject({ code: 'conflict' })
  }
  return faults
}

async function killEverywhere(
  place: Place,
  folder: string,
): Promise<Judged & { kills: Map<string, number> }> {
  const store = await place.open(domains)
  await fill(store.domain('app') as never)
  const exports = await openExports(store.domain('app'), folder)
  const expected = await live(exports, 'unkilled')
  expect(expected.toString().split('\r\n')).toHaveLength(2_502)
  const kills = new Map<string, number>()
  const faults: string[] = []
  for (let at = firstOf(strides.killed); ; at += strides.killed) {
    const id = `killed-${at}`
    const said = await run(place.url ?? '', folder, id, String(at))
    if (said.startsWith('ended')) break
    if (!said.startsWith('killed at')) throw new Error(`The process of step ${at} said: ${said}`)
    kills.set(said, (kills.get(said) ?? 0) + 1)
    faults.push(...(await faultsOf(exports, id, await live(exports, id), expected, 2)))
  }
  faults.push(...(await expireAll(place, folder)))
  return { tried: [...kills.values()].reduce((sum, count) => sum + count, 0), faults, kills }
}

/** Stops it at every step, in this process; the one that was stopped wakes up when another has done its work. */
async function stopEverywhere(place: Place, folder: string, stride: number): Promise<Judged> {
  // What is stopped gives no sign of life either, on memory as elsewhere: its commits stop too.
  const shared = place.url === undefined ? memory() : undefined
  const made = async () => {
    const store = await openStepping(shared ?? (await openBackend(place.url ?? '')))
    return { store, exports: await openExports(store.domain('app'), folder) }
  }
  const [first, second] = [await made(), await made()]
  await fill(first.store.domain('app') as never)
  const expected = await live(second.exports, 'unstopped')
  const faults: string[] = []
  let tried = 0
  for (let at = firstOf(stride); ; at += stride) {
    const id = `stopped-${at}`
    const stopped = await runUntil(at, () => live(first.exports, id))
    if (!stopped.isStopped) {
      for (const { store } of [first, second]) await store.close()
      return { tried, faults }
    }
    tried++
    faults.push(...(await faultsOf(second.exports, id, await live(second.exports, id), expected, 2)))
    faults.push(...(await faultsOf(second.exports, id, await stopped.resume(), expected, 3)))
  }
}

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-export-kill-'))
  return () => rmSync(folder, { recursive: true, force: true })
})

function report(backend: string, how: string, { tried, faults }: Judged, since: number): void {
  const seconds = (performance.now() - since) / 1_000
  const promise = `an export ${how} and gone on with has the same bytes and a complete audit`
  append({ promise, backend, tried, failed: faults.length, unknown: 0, seed, seconds })
  console.log(
    `seed ${seed}, ${backend}: ${tried} exports ${how}; ${faults.length} with other bytes or an incomplete audit; ${seconds.toFixed(1)} s`,
  )
}

describe.each(placeKinds)('an export on $name', ({ name, make, missing }) => {
  it('that is stopped at any step goes on elsewhere to the same bytes, and harms nothing when it wakes up', {
    timeout: 200_000,
  }, async ({ skip }) => {
    skip(missing !== '', missing)
    const since = performance.now()
    await watchFiles()
    const judged = await stopEverywhere(make(), folder, strides[name])
    report(name, 'stopped at a step', judged, since)
    expect(judged.faults).toEqual([])
    expect(judged.tried * strides[name]).toBeGreaterThan(15)
  })

  it('whose process is killed goes on to the same bytes, with a complete audit, and expires once', {
    timeout: 400_000,
  }, async ({ skip }) => {
    skip(missing !== '', missing)
    skip(name === 'memory', 'memory does not outlive a process')
    const since = performance.now()
    const judged = await killEverywhere(make(), folder)
    report(name, 'killed by SIGKILL', judged, since)
    console.log([...judged.kills].map(([what, count]) => `${what}: ${count}`).join(', '))
    expect(judged.faults).toEqual([])
    expect(judged.tried * strides.killed).toBeGreaterThan(20)
  })
})
