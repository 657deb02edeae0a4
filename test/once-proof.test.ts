import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Domain } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { type Place, placeKinds } from './places.ts'
import { askAll, type Reply } from './process/asking.ts'
import { append } from './proof.ts'

const operations = Number(process.env.UNDERPIN_ONCE_OPERATIONS ?? 400)
const rounds = Math.max(2, Math.ceil(operations / 2_000))
const seed = Number(process.env.UNDERPIN_SEED ?? 1 + Math.floor(Math.random() * 1_000_000))
const callers = 32

/** Somebody who asks: a process of its own, or another view of a store in memory. */
interface Asker {
  ask(list: readonly number[]): Promise<readonly Reply[]>
  /** Ends it at once, whatever it is doing. What it was asked is lost. */
  kill(): Promise<void>
}

const children = new Set<ChildProcess>()
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
})

async function processAsker(url: string): Promise<Asker> {
  const worker = fileURLToPath(new URL('./process/retrier.ts', import.meta.url))
  const child = fork(worker, [url], { execArgv: ['--import', 'tsx'] })
  children.add(child)
  await once(child, 'message')
  return {
    ask(list) {
      child.send({ operations: list, callers })
      return new Promise((resolve) => {
        child.once('message', (replies: Reply[]) => resolve(replies))
        child.once('exit', () => resolve([]))
      })
    },
    async kill() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
      children.delete(child)
    },
  }
}

async function askerOf(place: Place): Promise<Asker> {
  if (place.url !== undefined) return processAsker(place.url)
  const app = (await place.open({ app: {} })).domain('app') as Domain
  return { ask: (list) => askAll(app, { operations: list, callers }), kill: async () => undefined }
}

/** Effects that happened twice, that were told of and are not there, and answers that differ from one another. */
function judge(effects: readonly number[], replies: readonly Reply[]) {
  const seen = new Set<number>()
  const told = new Map<number, string>()
  const wrong = { doubled: 0, lost: 0, wrongReplies: 0, firstsTwice: 0 }
  const firsts = new Set<number>()
  for (const operation of effects) {
    if (seen.has(operation)) wrong.doubled++
    seen.add(operation)
  }
  for (const { operation, value, isReplay } of replies) {
    if (value === undefined) continue
    if (!seen.has(operation)) wrong.lost++
    if ((told.get(operation) ?? value) !== value) wrong.wrongReplies++
    told.set(operation, value)
    if (isReplay) continue
    if (firsts.has(operation)) wrong.firstsTwice++
    firsts.add(operation)
  }
  return wrong
}

describe.each(placeKinds)(
  'operations that are asked for again and again on $name',
  ({ name, make, missing }) => {
    beforeEach(({ skip }) => skip(missing !== '', missing))

    it(
      `happen once each: ${operations} of them, 1 to 5 times, from three processes that are killed and restarted`,
      async () => {
        console.log(`UNDERPIN_SEED=${seed}`)
        const since = performance.now()
        const random = randomOf(seed)
        const place = make()
        const app = (await place.open({ app: {} })).domain('app') as Domain
        const askers = await Promise.all([askerOf(place), askerOf(place), askerOf(place)])
        const replies: Reply[] = []
        let asked = 0
        let kills = 0
        const each = Math.ceil(operations / rounds)
        for (let round = 0; round < rounds; round++) {
          const lists: number[][] = askers.map(() => [])
          for (let i = round * each; i < Math.min(operations, (round + 1) * each); i++)
            for (let times = 1 + Math.floor(5 * random()); times > 0; times--) {
              lists[Math.floor(askers.length * random())]?.push(i)
              asked++
            }
          const answers = askers.map((asker, i) => asker.ask(lists[i] ?? []))
          if (place.url !== undefined) {
            await pause(300 * random())
            const victim = Math.floor(askers.length * random())
            await askers[victim]?.kill()
            kills++
            askers[victim] = await askerOf(place)
            answers.push((askers[victim] as Asker).ask(lists[victim] ?? []))
          }
          for (const answer of answers) replies.push(...(await answer))
        }
        // After a restart of everybody, every operation once more.
        await Promise.all(askers.map((asker) => asker.kill()))
        const restarted = await askerOf(place)
        const last = await restarted.ask(Array.from({ length: operations }, (_, i) => i))
        replies.push(...last)
        const effects: number[] = []
        for (let after = 0; ; ) {
          const { events, next } = await app.log.read('effects', { after })
          effects.push(...events.map(({ data }) => data as number))
          if (next?.after === undefined) break
          after = next.after
        }
        const wrong = judge(effects, replies)
        const unknown = replies.filter(({ code }) => code !== undefined)
        const seconds = (performance.now() - since) / 1_000
        console.log(
          `${name}: ${operations} operations, asked for ${asked + operations} times, ${replies.length} answers, ${kills} kills:`,
          wrong,
          `without an outcome: ${unknown.length}`,
        )
        const failed = Object.values(wrong).reduce((a, b) => a + b)
        append({
          promise: 'once: no doubled effects',
          backend: name,
          tried: operations,
          failed,
          unknown: unknown.length,
          seed,
          seconds,
        })
        expect(failed).toBe(0)
        expect(effects.length).toBe(operations)
        expect(unknown).toEqual([])
        expect(last.every(({ isReplay }) => isReplay)).toBe(true)
      },
      60_000 + 100 * operations,
    )
  },
)

describe('the judge of operations', () => {
  it('finds doubled effects, lost ones, and answers that differ', () => {
    const did = (operation: number, value: string, isReplay = false) => ({ operation, value, isReplay })
    const none = { doubled: 0, lost: 0, wrongReplies: 0, firstsTwice: 0 }
    expect(
      judge([1, 2], [did(1, 'a'), did(1, 'a', true), did(2, 'b'), { operation: 3, code: 'unknown' }]),
    ).toEqual(none)
    expect(judge([1, 1], [did(1, 'a')])).toEqual({ ...none, doubled: 1 })
    expect(judge([], [did(1, 'a')])).toEqual({ ...none, lost: 1 })
    expect(judge([1], [did(1, 'a'), did(1, 'b', true)])).toEqual({ ...none, wrongReplies: 1 })
    expect(judge([1], [did(1, 'a'), did(1, 'a')])).toEqual({ ...none, firstsTwice: 1 })
  })
})
