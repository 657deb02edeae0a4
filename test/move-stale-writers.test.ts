/**
 * Writers that are stopped with a commit in hand, which names the epoch of then, and woken when authority has moved on: the
 * old side accepts nothing of them. UNDERPIN_STALE_WRITERS says how many there are on all pairs together.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type Backend, type Domain, type NewEvent, openBackend, openStore } from '../src/index.ts'
import { defaultSettings } from '../src/move/settings.ts'
import { Gate } from './move/proof/gate.ts'
import type { Stopped } from './move/proof/stopped.ts'
import { placePairs } from './places.ts'
import { append } from './proof.ts'
import { compiled } from './subscription/compiled.ts'

const count = Math.ceil(Number(process.env.UNDERPIN_STALE_WRITERS ?? 108) / placePairs.length)
const processCount = 3
/** One end may answer within the call, the other over a network. */
const settings = { gates: { ...defaultSettings.gates, latencyFactor: 1e9 } }

const domains = { app: { collections: { things: {} } } } as const
type App = Domain<NewEvent, { things: unknown }>

/** What a writer has in hand: a commit of each kind, with its mark. */
const kinds: readonly ((app: App, mark: string) => Promise<unknown>)[] = [
  (app, mark) => app.log.append('stale', { type: 'wrote', data: mark }),
  (app, mark) => app.log.append(`own ${mark}`, { type: 'wrote', data: mark }, { expect: 'none' }),
  (app, mark) => app.log.append('stale', { type: 'wrote', data: mark }, { id: `id ${mark}` }),
  (app, mark) =>
    app.transaction((tx) => {
      tx.append('stale', { type: 'wrote', data: mark })
      tx.put('things', mark, 1, { expect: 'absent' })
    }),
]

async function marksIn(app: App): Promise<string[]> {
  const marks: string[] = []
  for (let [after, head] = [0, 1]; after < head; ) {
    const page = await app.changes({ after })
    for (const item of page.items) if (item.kind === 'event') marks.push(String(item.data))
    ;[after, head] = [page.next, page.head]
  }
  return marks
}

interface Told {
  readonly kinds: number
  /** What the old side said to the commits in hand. */
  readonly atTheDoor: readonly string[]
  readonly told: readonly string[]
  /** Marks that are not there once. */
  readonly wrong: readonly string[]
}

function conclude(name: string, { atTheDoor, told, wrong }: Told, since: number): void {
  const accepted = atTheDoor.filter((outcome) => outcome !== 'fenced').length
  console.log(
    `${name}: ${atTheDoor.length} commits in hand, accepted by the old side ${accepted}, not there once ${wrong.length}`,
  )
  append({
    promise:
      'moves: a writer that was stopped before the seal and woken after the decision writes nothing on the old side',
    backend: name,
    tried: atTheDoor.length,
    failed: accepted + wrong.length,
    unknown: 0,
    seed: 0,
    seconds: Math.round((performance.now() - since) / 100) / 10,
  })
  expect(atTheDoor.filter((outcome) => outcome !== 'fenced')).toEqual([])
  expect(told.filter((outcome) => outcome !== 'done')).toEqual([])
  expect(wrong).toEqual([])
}

describe.each(placePairs)(
  'writers that were stopped before a cutover from $name',
  ({ name, a, b, missing }) => {
    const closing: (() => Promise<void>)[] = []
    beforeEach(({ skip }) => {
      skip(missing !== '', missing)
    })
    afterEach(async () => {
      for (const close of closing.splice(0)) await close()
    })

    it(`write nothing on the old side, and once on the new one: ${count} of them`, async () => {
      const since = performance.now()
      const [left, right] = await Promise.all(
        [a, b].map((kind): Promise<Backend> | Backend => {
          const { url } = kind.make()
          return url === undefined ? memory() : openBackend(url)
        }),
      )
      const sides = { a: left as Backend, b: right as Backend }
      const operator = await openStore(sides, { domains })
      closing.push(() => operator.close())
      const writers = await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const gate = new Gate(sides.a)
          const app = (await openStore({ a: gate, b: sides.b }, { domains, deadlineMs: 30_000 })).domain(
            'app',
          )
          await app.log.append('warm', { type: 'wrote', data: `warm ${i}` })
          return { gate, app, mark: `mark ${i}`, kind: kinds[i % kinds.length] as (typeof kinds)[number] }
        }),
      )
      const writing = writers.map(async ({ gate, app, mark, kind }) => {
        const inHand = gate.shut()
        const told = kind(app, mark).then(
          () => 'done',
          (error: unknown) => String(error),
        )
        await inHand
        return { told }
      })
      const inHand = await Promise.all(writing)
      const wake = async (part: number) => {
        for (const [i, { gate }] of writers.entries())
          if (i % 3 === part) {
            gate.release()
            await inHand[i]?.told
          }
      }
      const move = await operator.move('app', { from: 'a', to: 'b' })
      await move.start({ settings })
      await move.catchUp()
      await move.verify()
      await move.cutover()
      await wake(0)
      // The old side has authority again, under another epoch.
      await move.rollback()
      await wake(1)
      await move.cutover()
      await move.complete()
      await wake(2)
      const told = await Promise.all(inHand.map((one) => one.told))
      const marks = await marksIn(operator.domain('app'))
      const times = (mark: string) => marks.filter((found) => found === mark).length
      const atTheDoor = writers.flatMap(({ gate }) => gate.outcomes)
      expect(atTheDoor.length).toBe(count)
      const wrong = writers.map(({ mark }) => mark).filter((mark) => times(mark) !== 1)
      conclude(name, { kinds: kinds.length, atTheDoor, told, wrong }, since)
    }, 60_000)
  },
)

const apart = placePairs.filter(({ a, b }) => a.name !== 'memory' && b.name !== 'memory')

describe.each(apart)('processes that were stopped before a cutover from $name', ({ name, a, b, missing }) => {
  const children: ChildProcess[] = []
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
  })
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  it(`write nothing on the old side, and once on the new one: ${processCount} of them`, async () => {
    const since = performance.now()
    const target = { a: a.make().url as string, b: b.make().url as string }
    const operator = await openStore(target, { domains })
    const program = compiled('test/move/proof/stopped.ts')
    for (let i = 0; i < processCount; i++)
      children.push(fork(program, [JSON.stringify(target)], { execArgv: [] }))
    await Promise.all(children.map((child) => once(child, 'message')))
    await Promise.all(
      children.map(async (child) => {
        const inHand = once(child, 'message')
        child.send('write')
        await inHand
        child.kill('SIGSTOP')
      }),
    )
    const move = await operator.move('app', { from: 'a', to: 'b' })
    await move.start({ settings })
    await move.catchUp()
    await move.verify()
    await move.cutover()
    const stopped = await Promise.all(
      children.map(async (child) => {
        const answer = once(child, 'message')
        child.send('go')
        child.kill('SIGCONT')
        return ((await answer) as [Stopped])[0]
      }),
    )
    const marks = await marksIn(operator.domain('app'))
    await operator.close()
    const own = children.map(({ pid }) => String(pid))
    const wrong = own.filter((mark) => marks.filter((found) => found === mark).length !== 1)
    const atTheDoor = stopped.flatMap((one) => one.atTheDoor)
    expect(atTheDoor.length).toBe(processCount)
    conclude(`${name}, SIGSTOP`, { kinds: 1, atTheDoor, told: stopped.map(({ told }) => told), wrong }, since)
  }, 60_000)
})
