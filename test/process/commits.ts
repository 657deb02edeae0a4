/** Commits of every kind, chosen at random, by a process that others compete with; and races for one revision. */
import { isUnderpinError } from '../../src/index.ts'
import { randomOf } from '../crash/random.ts'
import type { App } from './app.ts'

export interface CommitPlan {
  readonly name: string
  readonly times: number
  readonly seed: number
}

/** What the process was told of its commits. */
export interface Told {
  /** The positions that were acknowledged. */
  readonly positions: number[]
  /** Commits that were not to stand, and did not: a check failed, or the callback threw. */
  conflicts: number
  thrown: number
  /** Codes of other errors. */
  readonly failures: string[]
}

/** Events of this type are only in commits that cannot stand. */
export const neverType = 'never'

/** Commits under way at once in one process. */
const width = 4
class Thrown extends Error {}
type Pick = <T>(...choices: readonly T[]) => T

export async function commitAtRandom(app: App, { name, times, seed }: CommitPlan): Promise<Told> {
  const told: Told = { positions: [], conflicts: 0, thrown: 0, failures: [] }
  const random = randomOf(seed)
  const pick: Pick = (...choices) =>
    choices[Math.floor(random() * choices.length)] as (typeof choices)[number]
  let next = 0
  const caller = async () => {
    for (let i = next++; i < times; i = next++) {
      const commit = pick(...kinds)
      try {
        told.positions.push(...(await commit(app, pick, `${name}-${i}`)).positions)
      } catch (error) {
        if (isUnderpinError(error, 'conflict')) told.conflicts++
        else if (error instanceof Thrown) told.thrown++
        else told.failures.push(isUnderpinError(error) ? `${error.code}: ${error.message}` : String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: width }, caller))
  return told
}

type Kind = (app: App, pick: Pick, mark: string) => Promise<{ readonly positions: readonly number[] }>

const kinds: readonly Kind[] = [
  /** Never conflicts. */
  (app, pick, mark) => app.log.append(pick('a', 'b', 'c'), { type: 'wrote', data: mark }),
  (app, pick, mark) => app.log.append(pick('a', 'b', 'c'), two(mark), { expect: pick('some', 'none') }),
  /** Where others append too. */
  async (app, pick, mark) => {
    const stream = pick('a', 'b')
    return app.log.append(stream, { type: 'wrote', data: mark }, { expect: await app.log.seq(stream) })
  },
  (app, pick, mark) => app.documents('things').put(pick('x', 'y', 'z'), { n: mark.length, by: mark }),
  async (app, pick, mark) => {
    const id = pick('x', 'y', 'z')
    const expect = (await app.documents('things').get(id))?.revision ?? 'absent'
    return app.documents('things').put(id, { n: 1, by: mark }, { expect })
  },
  (app, pick) => app.documents('things').delete(pick('x', 'y', 'z'), { expect: pick('present', 'absent') }),
  /** All of a transaction, run again as often as it is overtaken. */
  (app, pick, mark) =>
    app.transaction(
      async (tx) => {
        const found = await tx.get('things', pick('counter'))
        tx.put('things', 'counter', { n: (found?.value.n ?? 0) + 1, by: mark })
        tx.append('counted', { type: 'counted', data: (found?.value.n ?? 0) + 1 })
      },
      { retries: 1_000 },
    ),
  /** Rolled back by its own code, before anything is sent. */
  (app, pick, mark) =>
    app.transaction(async (tx) => {
      tx.append(pick('a', 'b'), { type: neverType, data: mark })
      await tx.get('things', 'x')
      throw new Thrown(mark)
    }),
  /** Refused by a check on something that it does not write; all of it must be missing. */
  (app, pick, mark) =>
    app.transaction((tx) => {
      tx.append(pick('a', 'b'), { type: neverType, data: mark })
      tx.put('things', 'never', { n: 0, by: mark })
      tx.checkStream('c', 1_000_000_000)
    }),
]

function two(mark: string) {
  return ['first', 'second'].map((which) => ({ type: 'wrote', data: `${mark} ${which}` }))
}

export interface Race {
  /** The revision, or the seq, that every caller expects of each document or stream; 0 is absent. */
  readonly expected: readonly number[]
  readonly callers: number
  /** Where this process begins, so that no process is the first everywhere. */
  readonly first: number
}

/** Races under way at once in one process: less than all, or one group of commits would win all of them. */
const racesAtOnce = 32

export interface Won {
  /** How many callers of this process won the race for each of them. */
  readonly winners: number[]
  /** The revision or seq that each of them has now. */
  readonly now: number[]
}

/** Takes part in many races at once: in each, only one caller of all processes can find what all of them expect. */
export async function raceForAll(app: App, { expected, callers, first }: Race): Promise<Won> {
  const won: Won = { winners: expected.map(() => 0), now: [...expected] }
  const attempt = async (number: number) => {
    try {
      won.now[number] = await raceFor(app, number, expected[number] ?? 0)
      won.winners[number] = (won.winners[number] ?? 0) + 1
    } catch (error) {
      if (!isUnderpinError(error, 'conflict')) throw error
      const [{ found }] = error.details.failed as readonly [{ found: number }]
      won.now[number] = found
    }
  }
  let next = 0
  const racer = async () => {
    for (let i = next++; i < expected.length; i = next++) {
      const number = (first + i) % expected.length
      await Promise.all(Array.from({ length: callers }, () => attempt(number)))
    }
  }
  await Promise.all(Array.from({ length: racesAtOnce }, racer))
  return won
}

/** Even numbers are streams, odd ones documents. */
async function raceFor(app: App, number: number, expected: number): Promise<number> {
  const name = `race-${number}`
  if (number % 2 === 0) {
    const { seqs } = await app.log.append(name, { type: 'won', data: process.pid }, { expect: expected })
    return seqs[0] as number
  }
  const value = { n: expected, by: String(process.pid) }
  const expect = expected === 0 ? 'absent' : expected
  return (await app.documents('things').put(name, value, { expect })).position
}
