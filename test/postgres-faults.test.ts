import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { count, describeTrial, isWrong, judge, type Trial } from './fault/judge.ts'
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

async function run(
  mode: string,
  size: number,
  sweep: (sites: readonly Site[]) => Promise<readonly Trial[]>,
): Promise<readonly Trial[]> {
  const since = performance.now()
  const used = sites.slice(0, size)
  const trials = await sweep(used)
  const faults = (await Promise.all(used.map((site) => site.faults()))).flat()
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
      const trials = await run(mode, busy, (used) => sweepAnswers(used, faultAt))
      expect(count(trials).succeeded).toBe(trials.length)
    },
    120_000,
  )

  it('is told the truth when the connection is cut, and reads succeed', async () => {
    const trials = await run('cut', busy, (used) => sweepAnswers(used, (after) => ({ kind: 'cut', after })))
    expect(trials.filter(({ isRead, told }) => isRead && told !== 'done').map(describeTrial)).toEqual([])
  }, 120_000)

  it('is told the truth, within its deadline, when nothing comes any more', async () => {
    await run('blackhole', many, (used) => sweepAnswers(used, (after) => ({ kind: 'blackhole', after })))
  }, 180_000)

  it('is told the truth when a request reaches the server after its session was given up', async () => {
    await run('late', busy, sweepRequests)
  }, 120_000)
})

describe('the judge of a trial', () => {
  const trial: Trial = {
    operation: 'append',
    isRead: false,
    place: 'nowhere',
    hasStruck: true,
    isDelivered: false,
    told: 'done',
    isRight: true,
    ms: 1,
    limitMs: 10,
    width: 2,
    taken: 2,
    found: 2,
  }
  const absent = { taken: 0, found: 0 }

  it.each([
    ['an acknowledged write that is not there', absent, 'lost'],
    ['a write that is there twice', { taken: 4, found: 4 }, 'doubled'],
    ['a document put twice, of which the feed shows the last', { taken: 4, found: 2 }, 'doubled'],
    ['a double whose outcome was unknown', { told: 'unknown', taken: 4 }, 'doubled'],
    ['a write of which a part is there', { taken: 1, found: 1 }, 'half'],
    ['a failed write that is there', { told: 'unavailable' }, 'failed, but is there'],
    ['positions that are not those of the records', { isRight: false }, 'wrong answer'],
    ['a call that ended after its deadline', { ms: 11 }, 'late'],
  ] as const)('names %s', (_what, change, verdict) => {
    const planted = { ...trial, ...change }
    expect(judge(planted)).toBe(verdict)
    expect(isWrong(planted)).toBe(true)
  })

  it.each([
    ['an acknowledged write that is there once', {}, 'succeeded'],
    ['an unknown write that is there once', { told: 'unknown' }, 'unknown, is there'],
    ['an unknown write that is not there', { told: 'unknown', ...absent }, 'unknown, is not there'],
    ['a failed write that is not there', { told: 'timeout', ...absent }, 'failed, is not there'],
  ] as const)('accepts %s', (_what, change, verdict) => {
    const truthful = { ...trial, ...change }
    expect(judge(truthful)).toBe(verdict)
    expect(isWrong(truthful)).toBe(false)
  })
})
