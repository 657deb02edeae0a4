/**
 * Cutovers and rollbacks under an application at work, on every ordered pair of backends. UNDERPIN_CUTOVERS says how many
 * in all, UNDERPIN_SEED repeats what the callers do.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type Backend, isUnderpinError, openBackend } from '../src/index.ts'
import { defaultSettings } from '../src/move/settings.ts'
import { type Crew, processes, views } from './move/proof/crew.ts'
import { type Comparisons, compared, noComparisons } from './move/proof/frozen.ts'
import { judge, nothingWrong, sumOf } from './move/proof/judge.ts'
import { anyway } from './move/proof/way.ts'
import { areSound, readWhole, untilQuiet } from './move/proof/whole.ts'
import { type AppStore, endMark, openApp } from './move/proof/work.ts'
import { type PlaceKind, placePairs } from './places.ts'
import { append } from './proof.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
/** 200 for the whole proof. */
const cutovers = Math.ceil(Number(process.env.UNDERPIN_CUTOVERS ?? 2 * placePairs.length) / placePairs.length)
const workers = 4
/** Nobody dies here: leases outlast every stall of a busy machine. */
const who = { seed, paceMs: 10, ttlMs: 15_000, patienceMs: 20_000 }

interface Field {
  readonly crew: Crew
  readonly store: AppStore
  /** The operator's, which compares both sides at each cutover. */
  readonly operator: AppStore
  readonly into: Comparisons
}

/** The application: four processes, or, where an end is in memory, four stores of this one. */
async function open(a: PlaceKind, b: PlaceKind): Promise<Field> {
  const target = { a: a.make().url ?? memory(), b: b.make().url ?? memory() }
  const into = noComparisons()
  const [own, other] = await Promise.all([target.a, target.b].map(backendOf))
  const operator = await openApp(compared({ a: own as Backend, b: other as Backend }, into))
  const store = await openApp(target)
  // What is written in memory has to be copied to where that takes longer.
  const crew = isApart(target) ? processes(target, who) : views(target, { ...who, paceMs: 3 * who.paceMs })
  await Promise.all(Array.from({ length: workers }, () => crew.hire()))
  return { crew, store, operator, into }
}

const backendOf = (place: string | Backend) => (typeof place === 'string' ? openBackend(place) : place)

function isApart(target: { a: string | Backend; b: string | Backend }): target is { a: string; b: string } {
  return typeof target.a === 'string' && typeof target.b === 'string'
}

describe.each(placePairs)('cutovers and rollbacks, $name', ({ a, b, name, missing }) => {
  let field: Field
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    field = await open(a, b)
  }, 60_000)
  afterEach(async () => {
    await field?.crew.close()
    await field?.operator.close()
    await field?.store.close()
  })

  it(
    `lose, double and reorder nothing, and nobody notices: ${cutovers}`,
    async () => {
      const since = performance.now()
      const { crew, store, operator, into } = field
      const move = await operator.move('app', { from: 'a', to: 'b' })
      // One end answers within the call, the other over a network: that is what is moved here.
      const gates = { ...defaultSettings.gates, latencyFactor: 1e9 }
      // What writers in memory leave to be copied behind the seal may take a busy machine longer than callers would wait for.
      await move.start({ by: 'the proof', settings: { gates, maxPauseMs: 20_000 } })
      await move.catchUp()
      expect(await move.verify()).toMatchObject({ isEqual: true, differences: [] })
      const copiedMs = performance.now() - since
      const pauses: number[] = []
      for (let i = 0; i < cutovers; i++) {
        const ending = new AbortController()
        // A mover may be told by the fence that the two have changed places: that is how it ends.
        const mirroring = move.run({ signal: ending.signal }).catch((error: unknown) => {
          if (!isUnderpinError(error, 'fenced')) throw error
        })
        try {
          // Under traffic for a while: how much is written and mirrored meanwhile differs from run to run.
          await pause(200)
          const beforeMs = into.ms
          const { pauseMs } = i % 2 === 0 ? await move.cutover(anyway) : await move.rollback(anyway)
          pauses.push((pauseMs ?? 0) - (into.ms - beforeMs))
        } finally {
          ending.abort()
          await mirroring
        }
      }
      await crew.end()
      const endedMs = performance.now() - since
      await untilQuiet(store, who.ttlMs)
      const quietMs = performance.now() - since
      await store.domain('app').log.append('the-end', { type: endMark, data: null })
      const told = await crew.over()
      await move.catchUp()
      expect(await move.verify()).toMatchObject({ isEqual: true, differences: [] })
      expect(await areSound(store)).toBe(true)

      const verdict = judge(told, await readWhole(store))
      const done = told.filter(({ kind }) => kind === 'done').length
      const failed = told.filter((entry) => entry.kind === 'failed')
      const seconds = Math.round((performance.now() - since) / 100) / 10
      console.log(
        `${name}: ${pauses.length} cutovers under ${told.length} calls (${done} acknowledged writes), pauses ${pauses.map(Math.round)} ms; ` +
          `${into.records} records compared at heads ${into.heads}, ${into.differences.length} differ; ` +
          `${JSON.stringify(verdict)} (seed ${seed}, copied, cut over, quiet and over behind ${[copiedMs, endedMs, quietMs].map((ms) => (ms / 1_000).toFixed(1))} and ${seconds} s)`,
      )
      if (failed.length > 0) console.log(failed.slice(0, 5))
      append({
        promise:
          'moves: a cutover or rollback under load loses, doubles and reorders nothing, and no caller notices',
        backend: name,
        tried: pauses.length,
        failed: sumOf(verdict) + into.differences.length,
        unknown: 0,
        seed,
        seconds,
      })
      expect(verdict).toEqual(nothingWrong)
      expect(into.differences.slice(0, 3)).toEqual([])
      expect(into.heads.length).toBe(cutovers)
      expect(done).toBeGreaterThan(20)
    },
    60_000 + cutovers * 10_000,
  )
})
