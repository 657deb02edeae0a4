/**
 * Coordinators, writers, and all processes at once killed with SIGKILL while a domain is moved to and fro: at calls that
 * change what stays, and at random. UNDERPIN_MOVE_SIGKILLS says how many, UNDERPIN_SEED repeats the moments.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { type Backend, type Move, openBackend } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { watchAuthorities } from './move/proof/authorities.ts'
import type { CoordinatorJob } from './move/proof/coordinator.ts'
import { type MortalCrew, processes } from './move/proof/crew.ts'
import { judge, sumOf } from './move/proof/judge.ts'
import { type Row, table } from './move/proof/matrix.ts'
import { drive, resolve, type Verb } from './move/proof/way.ts'
import { areSound, readWhole, untilQuiet } from './move/proof/whole.ts'
import { type AppStore, endMark, openApp } from './move/proof/work.ts'
import { placePairs } from './places.ts'
import { append } from './proof.ts'
import { compiled } from './subscription/compiled.ts'

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
const pairs = placePairs
  .filter(({ a, b }) => a.name !== 'memory' && b.name !== 'memory')
  // Of two alike there is no more to learn than of two that are not.
  .filter(({ a, b }) => a.name !== b.name || process.env.UNDERPIN_MOVE_SIGKILLS !== undefined)
const kills = Math.ceil(Number(process.env.UNDERPIN_MOVE_SIGKILLS ?? 12) / pairs.length)
const workers = 3
const who = { seed, paceMs: 15, ttlMs: 1_500, patienceMs: 20_000 }
/** More calls than a cutover makes that change what stays: some moments never come. */
const callsMax = 7

const rows: Row[] = []
afterAll(() => console.log(table(rows)))

interface Scene {
  readonly target: { readonly a: string; readonly b: string }
  readonly crew: MortalCrew
  readonly store: AppStore
  readonly move: Move
  readonly random: () => number
}

/** Drives a verb in a process of its own, which dies. Says where it did; empty if it came to its end before. */
async function driveAndDie({ target, random }: Scene, verb: Verb): Promise<string> {
  const isRandom = random() < 0.3
  const moment = {
    nth: 1 + Math.floor(random() * callsMax),
    when: random() < 0.5 ? ('before' as const) : ('after' as const),
  }
  const job: CoordinatorJob = { target, verb, ...(!isRandom && { moment }) }
  const child = fork(compiled('test/move/proof/coordinator.ts'), [JSON.stringify(job)], {
    ...{ execArgv: [], stdio: ['ignore', 'pipe', 'inherit', 'ipc'] },
  })
  let point = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (point += text))
  const ended = once(child, 'close')
  await Promise.race([once(child, 'message'), ended])
  if (isRandom) void pause(30 * random()).then(() => child.kill('SIGKILL'))
  await ended
  return child.signalCode === 'SIGKILL' ? point || `at random ${verb}: anywhere` : ''
}

/** Whether writers go on: the head moves by more than who was at it before can move it. */
async function goesOn(store: AppStore): Promise<boolean> {
  const app = store.domain('app')
  const before = await app.head()
  for (const until = performance.now() + 10_000; performance.now() < until; await pause(5))
    if ((await app.head()) > before + 10) return true
  return false
}

function note(point: string, victim: string, stuck: string, doubleAuthorities: number): void {
  let row = rows.find((one) => one.point === point && one.victim === victim)
  if (row === undefined) {
    row = { point, victim, tried: 0, stuck: 0, wrong: 0, doubleAuthorities: 0 }
    rows.push(row)
  }
  row.tried++
  row.stuck += stuck === '' ? 0 : 1
  row.doubleAuthorities += doubleAuthorities
}

describe.each(pairs)('a move from $name, with processes that are killed', ({ name, a, b, missing }) => {
  it(
    `goes on behind each of ${kills} kills with one command, and loses nothing`,
    async ({ skip }) => {
      skip(missing !== '', missing)
      const since = performance.now()
      const random = randomOf(seed)
      const target = { a: a.make().url as string, b: b.make().url as string }
      const store = await openApp(target)
      const crew = processes(target, who)
      const hire = (count: number) => Promise.all(Array.from({ length: count }, () => crew.hire()))
      await hire(workers)
      const move = await store.move('app', { from: 'a', to: 'b' })
      const scene: Scene = { target, crew, store, move, random }
      const watched = { a: await openBackend(target.a), b: await openBackend(target.b) }
      await Promise.all([watched.a.open(), watched.b.open()])
      const ending = new AbortController()
      const watching = watchAuthorities(watched, 'app', ending.signal, () => pause(2))
      const stucks: string[] = []
      let tried = 0
      await drive(move, 'start')
      await drive(move, 'copy')
      await drive(move, 'verify')
      for (let i = 0; tried < kills && i < 3 * kills; i++) {
        const verb: Verb = (await move.status()).phase === 'reversed' ? 'rollback' : 'cutover'
        const point = await driveAndDie(scene, verb)
        if (point === '') continue
        tried++
        const victim =
          i % 5 === 3
            ? 'coordinator and all writers'
            : i % 5 === 1
              ? 'coordinator and a writer'
              : 'coordinator'
        const dead = victim === 'coordinator' ? 0 : victim === 'coordinator and a writer' ? 1 : workers
        for (let n = 0; n < dead; n++) await crew.kill(random)
        const stuck = await resolve(move, verb, false)
        await hire(dead)
        const isOn = await goesOn(store)
        note(point, victim, isOn ? stuck : 'no writer goes on', 0)
        if (stuck !== '' || !isOn) stucks.push(`${point}: ${stuck} ${isOn}`)
      }
      await crew.end()
      await untilQuiet(store, who.ttlMs)
      await store.domain('app').log.append('the-end', { type: endMark, data: null })
      const told = await crew.over()
      ending.abort()
      const { doubles, looks } = await watching
      await drive(move, 'copy')
      expect(await move.verify()).toMatchObject({ isEqual: true, differences: [] })
      expect(await areSound(store)).toBe(true)
      const verdict = { ...judge(told, await readWhole(store)), errors: 0 }
      const seconds = Math.round((performance.now() - since) / 100) / 10
      const errors = told.filter((entry) => entry.kind === 'failed')
      console.log(
        `${name}: ${tried} coordinators killed with SIGKILL, stuck ${stucks.length}; ${looks} looks, two authorities ${doubles}; ` +
          `${told.length} calls, ${errors.length} failed, ${JSON.stringify(verdict)} (seed ${seed}, ${seconds} s)`,
      )
      append({
        promise: 'moves: whoever is killed with SIGKILL, one command goes on, nothing is lost, one authority',
        backend: name,
        tried,
        failed: sumOf(verdict) + stucks.length + doubles,
        unknown: 0,
        seed,
        seconds,
      })
      await Promise.all([watched.a, watched.b].map((backend: Backend) => backend.close()))
      await store.close()
      await crew.close()
      expect(stucks).toEqual([])
      expect(doubles).toBe(0)
      expect(sumOf(verdict), JSON.stringify(verdict)).toBe(0)
      expect(tried).toBeGreaterThan(0)
    },
    120_000 + kills * 10_000,
  )
})
