import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import type { ChildJob } from './crash/child.ts'
import { isWrong, record, type Trial } from './crash/proof.ts'
import { randomOf } from './crash/random.ts'
import { childCommand, run } from './crash/run.ts'
import { makeScript, type Verbs } from './crash/script.ts'
import { type Call, callsIn, counted, killedAt, traced, whyNoStrace } from './crash/strace.ts'
import { readSyncOrder } from './crash/sync-order.ts'
import { examineAll, inPairs } from './crash/trial.ts'
import { append } from './proof.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-crash-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Kills in each mode; UNDERPIN_CRASH_RUNS and UNDERPIN_CRASH_SEED change them. */
const runs = Number(process.env.UNDERPIN_CRASH_RUNS ?? 6)
const seed = Number(process.env.UNDERPIN_CRASH_SEED ?? Date.now() % 1_000_000)
const timeout = 60_000 + runs * 5_000
const noStrace = whyNoStrace()

let files = 0
function newJob(verbs: Verbs, jobSeed: number, batches: number, query = ''): ChildJob & { path: string } {
  const path = join(folder, `${files++}.db`)
  return { path, url: `sqlite:${path}${query}`, verbs, seed: jobSeed, batches }
}

/** Nothing wrong in any trial, and what was wrong in the first that had something. */
function expectClean(promise: string, trials: readonly Trial[], began: number): void {
  const { tried } = record(promise, trials, seed, (performance.now() - began) / 1_000)
  expect(trials.find(isWrong)).toBeUndefined()
  expect(tried).toBeGreaterThan(0)
}

/** Without strace nothing stops a process at a system call; .ci/run installs none, the machine may have it. */
function needStrace({ skip, task }: TestContext): void {
  if (noStrace === undefined) return
  console.log(`${task.name}: skipped, ${noStrace}`)
  skip(`strace cannot be used here: ${noStrace}`)
}

describe('a process that is killed as it makes its file', () => {
  it('leaves one that opens, whatever write or sync it was killed at', { timeout }, async (context) => {
    needStrace(context)
    const began = performance.now()
    const sample = newJob('asynchronous', seed, 1)
    const log = join(folder, 'making.log')
    await run(counted(log, sample.path, childCommand(sample)))
    // All calls of the switch to WAL mode, which ends with the removal of the journal, and some behind it.
    const calls = callsIn(log)
    const first = calls.slice(0, calls.findIndex(({ name }) => name.startsWith('unlink')) + 4)
    expect(first.length).toBeGreaterThan(4)
    const killed = await inPairs(first, async (call) => {
      const job = newJob('asynchronous', seed, 1)
      return { job, ended: await run(killedAt(call, job.path, childCommand(job))) }
    })
    expectClean('SIGKILL as the file is made', await examineAll(killed), began)
  })
})

describe.each(['asynchronous', 'synchronous'] as const)('a process with the %s verbs on SQLite', (verbs) => {
  it('killed at random moments, leaves every acknowledged commit once and none half', {
    timeout,
  }, async () => {
    const began = performance.now()
    const random = randomOf(seed)
    const moments = Array.from({ length: runs }, () => ({
      lines: random(),
      ms: random() * 5,
      seed: random(),
    }))
    const killed = await inPairs(moments, async ({ lines, ms, seed: jobSeed }) => {
      const job = newJob(verbs, Math.floor(jobSeed * 2 ** 31), 150)
      // Not in the last part, so that the process does not end before its death reaches it.
      const all = makeScript(job.seed, job.verbs, job.batches).flat().length
      const moment = { lines: 1 + Math.floor(lines * all * 0.85), ms }
      return { job, ended: await run(childCommand(job), moment) }
    })
    const trials = await examineAll(killed)
    expectClean(`SIGKILL at random moments, ${verbs} verbs`, trials, began)
  })

  it('killed at any write or sync of the file, leaves every acknowledged commit once and none half', {
    timeout,
  }, async (context) => {
    needStrace(context)
    const began = performance.now()
    const sample = newJob(verbs, seed, 12)
    const log = join(folder, `${verbs}.log`)
    await run(counted(log, sample.path, childCommand(sample)))
    const calls = callsIn(log)
    const [writes, others] = [calls.filter(isWrite), calls.filter((call) => !isWrite(call))]
    const chosen = [...spread(writes, Math.ceil(runs / 2)), ...spread(others, Math.floor(runs / 2))]
    const killed = await inPairs(chosen, async (call) => {
      const job = newJob(verbs, seed, 12)
      return { job, ended: await run(killedAt(call, job.path, childCommand(job))) }
    })
    const trials = await examineAll(killed)
    expectClean(`SIGKILL at a write or sync of the file, ${verbs} verbs`, trials, began)
  })

  it('acknowledges a commit after the sync of the log that holds it', { timeout }, async (context) => {
    needStrace(context)
    const began = performance.now()
    const job = newJob(verbs, seed, 40)
    const order = await traceOf(job)
    const all = makeScript(job.seed, job.verbs, job.batches)
      .flat()
      .map(({ n }) => n)
    append({
      promise: `Acknowledged after the sync of the log, ${verbs} verbs`,
      backend: 'sqlite',
      tried: order.acknowledged.length,
      failed: order.unsynced.length,
      unknown: 0,
      seed,
      seconds: Math.round((performance.now() - began) / 100) / 10,
    })
    console.log(`${verbs}: ${order.acknowledged.length} acknowledgements, ${order.syncs} syncs of the log`)
    expect([...order.acknowledged].sort((a, b) => a - b)).toEqual(all)
    expect(order.unsynced).toEqual([])
  })

  it('is caught acknowledging before the sync where the durability is not asked for', {
    timeout,
  }, async (context) => {
    needStrace(context)
    const order = await traceOf(newJob(verbs, seed, 40, '?durability=process'))
    expect(order.unsynced.length).toBeGreaterThan(order.acknowledged.length / 2)
  })
})

/** Writes are many: half of the kills are at the syncs, truncations and removals of files between them. */
function isWrite({ name }: Call): boolean {
  return name.includes('write')
}

/** So many calls at equal distances, beginning at another one for another seed. */
function spread(calls: readonly Call[], count: number): readonly Call[] {
  const step = calls.length / Math.min(count, calls.length)
  const offset = randomOf(seed)()
  const places = Array.from({ length: calls.length / step }, (_, i) => Math.floor((i + offset) * step))
  return places.flatMap((place) => calls[place] ?? [])
}

async function traceOf(job: ChildJob & { path: string }) {
  const log = `${job.path}.log`
  await run(traced(log, childCommand(job)))
  const batches = makeScript(job.seed, job.verbs, job.batches)
  const batchOf = new Map(
    batches.flatMap((batch, i) => batch.map(({ n }) => [n, job.verbs === 'synchronous' ? n : i] as const)),
  )
  return readSyncOrder(readFileSync(log, 'utf8'), job.path, (n) => batchOf.get(n) ?? -1)
}
