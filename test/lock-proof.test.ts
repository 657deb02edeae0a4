import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Domain } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { placeKinds } from './places.ts'
import { append } from './proof.ts'

const schedules = Number(process.env.UNDERPIN_LOCK_SCHEDULES ?? 12)
const seed = Number(process.env.UNDERPIN_SEED ?? 1 + Math.floor(Math.random() * 1_000_000))
const ttlMs = 200
const hourMs = 3_600_000

interface Wrote {
  readonly pid: number
  readonly token: number
}

/** Writes that took effect while, or after, somebody with a higher token had written; or under another one's token. */
function overlaps(writes: readonly Wrote[]): number {
  const owners = new Map<number, number>()
  let highest = 0
  let count = 0
  for (const { pid, token } of writes) {
    const owner = owners.get(token) ?? pid
    owners.set(token, owner)
    if (token < highest || owner !== pid) count++
    highest = Math.max(highest, token)
  }
  return count
}

/** Several processes that take one lock in turn, and what is done to them. */
class Lockers {
  readonly #url: string
  readonly #mode: string
  readonly #app: Domain
  readonly #children: ChildProcess[] = []
  readonly refusals: Record<string, number> = {}

  constructor(url: string, mode: 'fenced' | 'unfenced', app: Domain) {
    this.#url = url
    this.#mode = mode
    this.#app = app
  }

  async start(count: number): Promise<void> {
    const worker = fileURLToPath(new URL('./process/locker.ts', import.meta.url))
    const started = Array.from({ length: count }, () =>
      fork(worker, [this.#url, 'key', String(ttlMs), this.#mode], { execArgv: ['--import', 'tsx'] }),
    )
    this.#children.push(...started)
    for (const child of started) child.on('message', (message) => this.#note(message))
    await Promise.all(started.map((child) => once(child, 'message')))
  }

  #note(message: unknown): void {
    const { refused } = message as { refused?: string }
    if (refused !== undefined) this.refusals[refused] = (this.refusals[refused] ?? 0) + 1
  }

  /** Who wrote last: most likely the holder. */
  async holder(): Promise<{ child: ChildProcess; last: Wrote }> {
    for (;;) {
      const last = await this.last()
      const child = this.#children.find(({ pid }) => pid === last?.pid)
      if (last !== undefined && child !== undefined) return { child, last }
      await pause(5)
    }
  }

  async last(): Promise<Wrote | undefined> {
    const { events } = await this.#app.log.read('key', { backwards: true, limit: 1 })
    return events[0]?.data as Wrote | undefined
  }

  /** Waits until somebody else has written, which must be within the time. */
  async taken({ token }: Pick<Wrote, 'token'>, withinMs: number): Promise<boolean> {
    for (const until = performance.now() + withinMs; performance.now() < until; await pause(10))
      if ((await this.last())?.token !== token) return true
    return false
  }

  /** Has somebody stop itself between two writes under one lease; tells who, and under which token. */
  async stand(): Promise<{ child: ChildProcess; token: number }> {
    const [child] = this.#children as [ChildProcess]
    const standing = new Promise<number>((resolve) =>
      child.on('message', ({ stands }: { stands?: number }) => stands !== undefined && resolve(stands)),
    )
    child.send('stand')
    return { child, token: await standing }
  }

  async kill(child: ChildProcess): Promise<void> {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    this.#children.splice(this.#children.indexOf(child), 1)
    await this.start(1)
  }

  jump(jumpMs: number, child: ChildProcess): void {
    child.send({ jumpMs })
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        const ended = once(child, 'exit')
        child.send('stop')
        await ended
      }),
    )
  }
}

async function writesOf(app: Domain): Promise<Wrote[]> {
  const writes: Wrote[] = []
  for await (const item of app.follow({ signal: AbortSignal.timeout(60_000) })) {
    if (item.kind === 'event' && item.stream === 'key') writes.push(item.data as Wrote)
    if (item.position === (await app.head())) break
  }
  return writes
}

describe.each(placeKinds.filter(({ name }) => name !== 'memory'))(
  'three processes that take a lock in turn on $name',
  ({ name, make, missing }) => {
    beforeEach(({ skip }) => skip(missing !== '', missing))

    it(
      `write nothing that overlaps, in ${schedules} schedules with stops, kills and clock jumps`,
      async () => {
        console.log(`UNDERPIN_SEED=${seed}`)
        const since = performance.now()
        const random = randomOf(seed)
        const place = make()
        const app = (await place.open({ app: {} })).domain('app') as Domain
        const lockers = new Lockers(place.url as string, 'fenced', app)
        await lockers.start(3)
        const done = { stops: 0, takenOver: 0, kills: 0, jumps: 0 }
        // A holder is stopped between two writes only by luck: until it has happened, or it cannot be luck any more.
        const isDone = (i: number) => i >= schedules && (lockers.refusals['lost-lease'] || i >= 5 * schedules)
        for (let i = 0; !isDone(i); i++) {
          const { child, last } = await lockers.holder()
          await pause(15 * random())
          const kind = random()
          if (kind < 0.4) {
            done.jumps++
            lockers.jump(random() < 0.5 ? hourMs : -hourMs, child)
          }
          if (kind > 0.8) {
            done.kills++
            await lockers.kill(child)
            continue
          }
          done.stops++
          child.kill('SIGSTOP')
          // From before the lease ends to long after it; some are woken in the very moment of the takeover.
          const wasTaken = await lockers.taken(last, ttlMs * (0.8 + 1.5 * random()))
          if (wasTaken) done.takenOver++
          child.kill('SIGCONT')
          await lockers.taken((await lockers.last()) as Wrote, 20_000)
        }
        await lockers.end()
        const writes = await writesOf(app)
        const failed = overlaps(writes)
        const seconds = (performance.now() - since) / 1_000
        console.log(
          name,
          done,
          `${writes.length} writes, refused:`,
          lockers.refusals,
          `overlapping: ${failed}`,
        )
        append({
          promise: 'locks: no overlapping effective writes',
          backend: name,
          tried: schedules,
          failed,
          unknown: 0,
          seed,
          seconds,
        })
        expect(failed).toBe(0)
        expect(new Set(writes.map(({ token }) => token)).size).toBeGreaterThan(schedules)
        expect(lockers.refusals['lost-lease'] ?? 0).toBeGreaterThan(0)
      },
      60_000 + 10_000 * schedules,
    )
  },
)

describe('the judge of overlapping writes', () => {
  it('finds a lower token behind a higher one, and one token of two processes', () => {
    const write = (pid: number, token: number) => ({ pid, token })
    expect(overlaps([write(1, 3), write(1, 3), write(2, 5), write(1, 8)])).toBe(0)
    expect(overlaps([write(1, 3), write(2, 5), write(1, 3)])).toBe(1)
    expect(overlaps([write(1, 3), write(2, 3)])).toBe(1)
  })

  it('finds the overlap that a lock without fencing allows', async () => {
    const sqlite = placeKinds.find(({ name }) => name === 'sqlite')
    const place = (sqlite as (typeof placeKinds)[number]).make()
    const app = (await place.open({ app: {} })).domain('app') as Domain
    const lockers = new Lockers(place.url as string, 'unfenced', app)
    await lockers.start(2)
    const { child, token } = await lockers.stand()
    expect(await lockers.taken({ token }, 20_000)).toBe(true)
    child.kill('SIGCONT')
    await expect.poll(async () => overlaps(await writesOf(app))).toBeGreaterThan(0)
    await lockers.end()
  }, 60_000)
})
