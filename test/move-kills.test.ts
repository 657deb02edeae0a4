/**
 * The kill matrix of moves: whatever dies at whichever call that changes what stays, nobody is stuck, nothing is lost, and
 * at no moment there are two authorities. UNDERPIN_MOVE_KILLS says how many trials within this process, UNDERPIN_SEED
 * repeats where they die. Processes of their own, killed with SIGKILL, are in move-kills-processes.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type Backend, openBackend } from '../src/index.ts'
import type { Moment } from './move/proof/fate.ts'
import { inLanes, rowsOf, spread, table } from './move/proof/matrix.ts'
import { attempt, type Case, type Sides, type Trial, type Victim } from './move/proof/trial.ts'
import { type Way, ways } from './move/proof/way.ts'
import { placePairs } from './places.ts'
import { append } from './proof.ts'
import { type PostgresServer, startPostgres } from './server/postgres.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
const total = Number(process.env.UNDERPIN_MOVE_KILLS ?? 500)
/** Trials at once: most of one is waiting. */
const lanes = 8
const timeout = 60_000 + total * 2_000

/** The part of the trials that each pair has: what answers at once has more. */
const parts = { memory: 8, sqlite: 4, postgres: 1 } as const
const pairs = placePairs.map((pair) => ({ ...pair, part: parts[pair.a.name] * parts[pair.b.name] }))
const whole = pairs.reduce((sum, { part }) => sum + part, 0)

const all: Trial[] = []
let domains = 0
const newDomain = () => `d${domains++}`

afterAll(() => {
  const struck = all.filter(({ hasStruck }) => hasStruck)
  console.log(`${table(rowsOf(all))}\n${struck.length} kills`)
})

/** Every moment of every way, as it goes when nothing dies. */
async function momentsOf(sides: Sides): Promise<{ way: Way; moment: Moment }[]> {
  const moments: { way: Way; moment: Moment }[] = []
  for (const way of ways) {
    const { calls, stuck } = await attempt(sides, {
      ...{ domain: newDomain(), way, victim: 'coordinator', takesBack: false },
    })
    expect(stuck).toBe('')
    for (const nth of calls.keys())
      for (const when of ['before', 'after'] as const) moments.push({ way, moment: { nth: nth + 1, when } })
  }
  return moments
}

function conclude(name: string, trials: readonly Trial[], since: number): void {
  all.push(...trials)
  const isWrong = ({ stuck, wrong, doubleAuthorities }: Trial) =>
    stuck !== '' || wrong > 0 || doubleAuthorities > 0
  const struck = trials.filter(({ hasStruck }) => hasStruck)
  const acknowledged = trials.reduce((sum, trial) => sum + trial.acknowledged, 0)
  const seconds = Math.round((performance.now() - since) / 100) / 10
  console.log(
    `${name}: ${struck.length} kills under ${acknowledged} acknowledged writes, wrong: ${trials.filter(isWrong).length} (seed ${seed}, ${seconds} s)`,
  )
  append({
    promise: 'moves: whatever dies at whatever step, one command goes on, nothing is lost, one authority',
    backend: name,
    tried: struck.length,
    failed: trials.filter(isWrong).length,
    unknown: trials.length - struck.length,
    seed,
    seconds,
  })
  expect(trials.filter(isWrong).slice(0, 3)).toEqual([])
  expect(struck.length).toBeGreaterThan(0)
}

describe.each(pairs)('a move from $name', ({ name, a, b, missing, part }) => {
  const sides = {} as { a: Backend; b: Backend }
  beforeAll(async () => {
    if (missing !== '') return
    const [from, to] = [a.make().url, b.make().url]
    sides.a = from === undefined ? memory() : await openBackend(from)
    sides.b = to === undefined ? memory() : await openBackend(to)
    await Promise.all([sides.a.open(), sides.b.open()])
  })
  afterAll(() => Promise.all([sides.a?.close(), sides.b?.close()]))

  it('survives its coordinator and its writers, whenever they die', { timeout }, async ({ skip }) => {
    skip(missing !== '', missing)
    const since = performance.now()
    const moments = await momentsOf(sides)
    const count = Math.ceil((total * part) / whole)
    const cases = spread(moments, count, seed).map(({ way, moment }, i): Case => {
      const victim: Victim = i % 5 === 4 ? 'writer' : 'coordinator'
      return { domain: newDomain(), way, moment, victim, takesBack: i % 3 === 2 }
    })
    conclude(name, await inLanes(cases, lanes, (one) => attempt(sides, one)), since)
  })
})

describe('a move between two PostgreSQL servers that crash', () => {
  let [source, target]: [PostgresServer | string, PostgresServer | string] = ['', '']
  beforeAll(async () => {
    // Of its own: the other tests use the one that all share.
    ;[source, target] = await Promise.all([
      startPostgres(['max_connections=50']),
      startPostgres(['max_connections=50']),
    ])
  }, 60_000)
  afterAll(async () => {
    for (const server of [source, target]) if (typeof server !== 'string') await server.stop()
  })

  it('survives the crash of either, whenever it comes', { timeout }, async ({ skip }) => {
    // Reason: startPostgres says why this machine can start no server.
    if (typeof source === 'string') return skip(source)
    if (typeof target === 'string') return skip(target)
    const servers = { 'source server': source, 'target server': target } as const
    const since = performance.now()
    const sides = { a: await openBackend(source.url), b: await openBackend(target.url) }
    await Promise.all([sides.a.open(), sides.b.open()])
    const moments = await momentsOf(sides)
    const cases = spread(moments, Math.ceil(total / 150), seed).map(({ way, moment }, i): Case => {
      const victim = i % 2 === 0 ? 'source server' : 'target server'
      const restart = () => servers[victim].restart?.() ?? Promise.resolve()
      return { domain: newDomain(), way, moment, victim, takesBack: false, restart }
    })
    const trials = await inLanes(cases, 1, (one) => attempt(sides, one))
    await Promise.all([sides.a.close(), sides.b.close()])
    conclude('two PostgreSQL servers', trials, since)
  })
})
