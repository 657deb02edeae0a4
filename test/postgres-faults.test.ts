import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { count, describeTrial, isWrong, type Trial } from './fault/judge.ts'
import type { Fault } from './fault/proxy.ts'
import type { Site } from './fault/site.ts'
import { openSites, report, sweepAnswers, sweepRequests } from './fault/sweep.ts'
import { type PostgresServer, startPostgres } from './server/postgres.ts'

/** Sites that are busy share two cores; those that wait for a deadline may be many. */
const busy = 8
const many = 40

let server: PostgresServer | string
let sites: readonly Site[] = []
beforeAll(async () => {
  server = await startPostgres(['max_connections=300', 'fsync=off', 'autovacuum=off', 'jit=off'])
  if (typeof server !== 'string') sites = await openSites(server.url, many)
}, 120_000)
afterAll(async () => {
  await Promise.all(sites.map((site) => site.close()))
  if (typeof server !== 'string') await server.stop()
}, 60_000)

async function run(mode: string, sweep: () => Promise<readonly Trial[]>): Promise<readonly Trial[]> {
  const since = performance.now()
  const trials = await sweep()
  const faults = (await Promise.all(sites.map((site) => site.faults()))).flat()
  report(mode, trials, (performance.now() - since) / 1_000)
  expect(trials.filter(isWrong).map(describeTrial)).toEqual([])
  expect(faults).toEqual([])
  return trials
}

describe('a call to PostgreSQL, whatever byte of the answer it happens at,', () => {
  beforeEach(({ skip }) => skip(typeof server === 'string', typeof server === 'string' ? server : ''))

  const undisturbing: readonly [string, string, (after: number) => Fault][] = [
    [
      'succeeds when the rest of the answer comes late',
      'delay',
      (after) => ({ kind: 'delay', after, ms: 5 }),
    ],
    ['succeeds when the rest comes byte by byte', 'slice', (after) => ({ kind: 'slice', after })],
  ]
  it.each(undisturbing)(
    '%s',
    async (_sentence, mode, faultAt) => {
      const trials = await run(mode, () => sweepAnswers(sites.slice(0, busy), faultAt))
      expect(count(trials).succeeded).toBe(trials.length)
    },
    120_000,
  )

  it('is told the truth when the connection is cut, and reads succeed', async () => {
    const trials = await run('cut', () =>
      sweepAnswers(sites.slice(0, busy), (after) => ({ kind: 'cut', after })),
    )
    expect(trials.filter(({ isRead, told }) => isRead && told !== 'done').map(describeTrial)).toEqual([])
  }, 120_000)

  it('is told the truth, within its deadline, when nothing comes any more', async () => {
    await run('blackhole', () => sweepAnswers(sites, (after) => ({ kind: 'blackhole', after })))
  }, 180_000)

  it('is told the truth when a request reaches the server after its session was given up', async () => {
    await run('late', () => sweepRequests(sites.slice(0, busy)))
  }, 120_000)
})
