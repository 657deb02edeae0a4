import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Broadcast } from '../src/broadcast.ts'
import { Desk } from '../src/desk.ts'
import { testFolder } from './support/folder.ts'
import { strict } from './support/strict.ts'

const folder = testFolder()
let opened = 0
let dataDir: string
let desk: Desk
let broadcast: Broadcast
let over: AbortController
let telling: Promise<void>
beforeEach(async () => {
  dataDir = join(folder, String(opened++))
  desk = await Desk.open(dataDir, strict)
  broadcast = new Broadcast(desk)
  over = new AbortController()
  telling = broadcast.run(over.signal)
})
afterEach(async () => {
  over.abort()
  await telling
  await desk.close()
})

const store = (on: Desk, count: number) =>
  on.events.appendAll(
    Array.from(
      { length: count },
      (_, value) => ({ type: 'setting.changed', data: { key: 'k', value } }) as const,
    ),
  )

/** The sequences that a reader is told, so many of them; `onEach` holds it up. */
async function told(
  after: number,
  count: number,
  onEach: (n: number) => unknown = () => {},
): Promise<number[]> {
  const sequences: number[] = []
  for await (const { sequence } of broadcast.from(after, over.signal)) {
    sequences.push(sequence)
    await onEach(sequences.length)
    if (sequences.length === count) break
  }
  return sequences
}

const upTo = (from: number, last: number) => Array.from({ length: last - from + 1 }, (_, i) => from + i)

it('tells what is stored and what comes, each once', async () => {
  await store(desk, 10)
  const reading = told(4, 16)
  await store(desk, 5)
  await store(desk, 5)
  expect(await reading).toEqual(upTo(5, 20))
})

it('tells a reader that is too slow the rest from the store, without a gap', async () => {
  await store(desk, 1)
  const fast = told(0, 5_001)
  const slow = told(0, 5_001, async (n) => {
    if (n === 2) await fast
  })
  for (let i = 0; i < 10; i++) await store(desk, 500)
  expect(await fast).toEqual(upTo(1, 5_001))
  expect(await slow).toEqual(upTo(1, 5_001))
})

it('tells what another process stores', async () => {
  const other = await Desk.open(dataDir, strict)
  const reading = told(0, 3)
  await store(other, 3)
  expect(await reading).toEqual([1, 2, 3])
  await other.close()
})

it('ends with its signal, whoever waits', async () => {
  const reading = told(0, 1)
  over.abort()
  expect(await reading).toEqual([])
})
