/**
 * What an application does all the time while its domain is moved: writers, readers, subscribers, holders of a lock, jobs
 * and operations that are asked for by token. Each call, and what it was told, goes to the ledger.
 */
import { setTimeout as pause } from 'node:timers/promises'
import {
  type Domain,
  type FeedItem,
  idempotencyToken,
  isUnderpinError,
  type NewEvent,
} from '../../../src/index.ts'
import { randomOf } from '../../crash/random.ts'
import { definitions, effects } from '../../job/app.ts'
import { ask, choose, type Key, type RegisterStore, revisionIn } from '../../linearizability/record.ts'
import { moment, type Tell } from './told.ts'

export { openRegisters as openApp, type RegisterStore as AppStore } from '../../linearizability/record.ts'

/** The streams that are looked at when all is over. */
export const streams = {
  /** What the two subscriptions handled. */
  exact: 'out-exact',
  least: 'out-least',
  locked: 'locked',
  jobs: effects,
  once: 'done-once',
} as const
/** Streams that subscribers read begin so. */
export const inputPrefix = 'in-'
/** The type of the event that ends the readers. */
export const endMark = 'end'

export interface Who {
  readonly number: number
  readonly seed: number
  /** Milliseconds between two calls of one caller, on average. */
  readonly paceMs: number
  readonly ttlMs: number
  /** Milliseconds to wait for a lock or an operation, and for a reader to come to the end when all is over. */
  readonly patienceMs: number
}

export type App = Domain<NewEvent, { things: unknown }>

export interface Ends {
  /** Writers, holders and askers begin nothing any more. */
  readonly ending: AbortSignal
  /** Told when what they had under way then has been answered. */
  readonly onEnded: () => void
  /** Nothing is left to be handled. */
  readonly over: AbortSignal
}

interface Caller extends Ends {
  readonly store: RegisterStore
  readonly app: App
  readonly who: Who
  readonly tell: Tell
  readonly random: () => number
}

/** All roles at once, until the signals say so. Fails only by a mistake of the test: what calls fail with is told. */
export async function work(store: RegisterStore, who: Who, tell: Tell, ends: Ends): Promise<void> {
  const app: App = store.domain('app')
  const caller = { store, app, who, tell, ...ends, random: randomOf(who.seed + who.number) }
  const changing = [write, write, stepRegister, stepRegister, hold, enqueue, askOnce]
  const handling = [read, subscribe, runJobs].map((role) => role(caller))
  await Promise.all(changing.map((role, i) => role(caller, i)))
  ends.onEnded()
  await Promise.all(handling)
}

/** Until the signal aborts, at the caller's pace. */
async function again({ ending, who, random }: Caller, turn: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 0; !ending.aborted; n++) {
    await turn(n)
    await pause(2 * who.paceMs * random())
  }
}

/** What it fails with is told, not thrown. */
async function noted<T>(
  { tell }: Caller,
  what: string,
  call: () => Promise<T>,
  mark?: string,
): Promise<T | undefined> {
  try {
    return await call()
  } catch (error) {
    const { code, message } = isUnderpinError(error) ? error : { code: 'none', message: String(error) }
    tell({ kind: 'failed', what, code, message, ...(mark !== undefined && { mark }) })
    return undefined
  }
}

/** Writes marks, one by one and several without waiting for the one before, in the order of their numbers. */
async function write(caller: Caller, role: number): Promise<void> {
  const { app, who, tell, random } = caller
  const name = `${who.number}.${role}`
  const own = `${inputPrefix}${name}`
  let n = 0
  const one = (
    stream: string,
    append: (event: {
      type: string
      data: string
    }) => Promise<{ positions: readonly number[]; seqs: readonly number[] }>,
  ) => {
    const mark = `${name}/${n++}`
    tell({ kind: 'asked', mark, stream })
    const call = async () => {
      const { positions, seqs } = await append({ type: 'wrote', data: mark })
      tell({ kind: 'done', mark, position: positions[0] as number, seq: seqs[0] as number })
    }
    return noted(caller, 'write', call, mark)
  }
  const plain = (stream: string) => one(stream, (event) => app.log.append(stream, event))
  const kinds = [
    () => plain(own),
    () => Promise.all([plain(own), plain(own), plain(own)]),
    () => plain('shared'),
    async () => {
      const expect = await noted(caller, 'seq', () => app.log.seq(own))
      if (expect !== undefined) await one(own, (event) => app.log.append(own, event, { expect }))
    },
    () => one(own, (event) => app.log.append(own, event, { id: `id-${name}-${n}` })),
    () =>
      one(own, async (event) => {
        const work = app.transaction(
          async (tx) => {
            const found = await tx.get('things', `sum-${name}`)
            tx.append(own, event)
            tx.put('things', `sum-${name}`, Number(found?.value ?? 0) + 1)
          },
          { retries: 100 },
        )
        const { positions, seqs } = await work
        return { positions, seqs }
      }),
  ]
  await again(caller, () => (kinds[Math.floor(random() * kinds.length)] as () => Promise<unknown>)())
}

/** A key is left for the next one before its history becomes long. */
const stepsPerKey = 100

/** Reads and writes documents and streams that all others read and write as well. */
async function stepRegister(caller: Caller, role: number): Promise<void> {
  const { store, who, tell, random } = caller
  const seen = new Map<string, number>()
  await again(caller, async (n) => {
    const kind = random() < 0.6 ? 'document' : 'stream'
    const key: Key = { kind, name: `${kind}-${Math.floor(n / stepsPerKey)}-${Math.floor(random() * 2)}` }
    const chosen = choose(key, seen.get(key.name) ?? 0, random)
    // Numbers that no other process writes.
    const isNumber = chosen.kind === 'write' && chosen.value !== null
    const call = isNumber ? { ...chosen, value: (chosen.value as number) * 64 + who.number } : chosen
    const from = moment()
    const mark = `${who.number}.${role} ${n}`
    if (call.kind === 'write') tell({ kind: 'begun', mark, key, from, call })
    const answer = await noted(caller, 'register', () => ask(store, key, call), mark)
    if (answer === undefined || answer.kind === 'unknown')
      tell({
        kind: 'failed',
        what: 'register',
        mark,
        code: answer?.kind ?? 'retryable',
        message: JSON.stringify(call),
      })
    if (answer === undefined || (answer.kind === 'unknown' && call.kind === 'read')) return
    const to = answer.kind === 'unknown' ? Number.POSITIVE_INFINITY : moment()
    tell({ kind: 'register', mark, key, operation: { from, to, call, answer } })
    const revision = revisionIn(call, answer)
    if (revision !== undefined) seen.set(key.name, revision)
  })
}

/** Follows the feed from its beginning to the end mark. */
async function read(caller: Caller): Promise<void> {
  const { app, who, tell, over } = caller
  const events: number[] = []
  const documents: Record<string, number> = {}
  let [outOfOrder, last, isAtEnd] = [0, 0, false]
  const late = new AbortController()
  let timer: NodeJS.Timeout | undefined
  over.addEventListener('abort', () => {
    timer = setTimeout(() => late.abort(), who.patienceMs)
  })
  await noted(caller, 'follow', async () => {
    for await (const item of app.follow({ signal: late.signal })) {
      if (item.position <= last) outOfOrder++
      last = item.position
      if (item.kind === 'event') events.push(item.position)
      else documents[`${item.collection}/${item.id}`] = item.position
      isAtEnd = item.kind === 'event' && item.type === endMark
      if (isAtEnd) break
    }
  })
  clearTimeout(timer)
  if (!isAtEnd)
    tell({
      kind: 'failed',
      what: 'follow',
      code: 'none',
      message: `Never came to the end mark, only to ${last}`,
    })
  tell({ kind: 'seen', seen: { events, documents, outOfOrder } })
}

/** Takes part in two subscriptions, exactly once and at least once. */
async function subscribe(caller: Caller): Promise<void> {
  const { app, over } = caller
  await Promise.all(
    subscriptionsOf(app, caller.who.ttlMs).map((one) =>
      noted(caller, 'subscription', () => one.run({ signal: over })),
    ),
  )
}

export function subscriptionsOf(app: App, ttlMs: number) {
  const common = { filter: { streams: inputPrefix }, ttlMs, batch: 20, retry: { firstMs: 5 } } as const
  const handled = (items: readonly FeedItem[]) =>
    items.map(({ position }) => ({ type: 'handled', data: position }))
  return [
    app.subscription({
      ...common,
      name: 'exact',
      mode: 'exactly-once',
      handleBatch: (items, { tx }) => tx.append(streams.exact, handled(items)),
    }),
    app.subscription({
      ...common,
      name: 'least',
      handleBatch: (items) => app.log.append(streams.least, handled(items)),
    }),
  ]
}

/** Holds the one lock again and again, and writes under it. */
async function hold(caller: Caller): Promise<void> {
  const { app, who, ending } = caller
  const { ttlMs, patienceMs, number } = who
  await again(caller, () =>
    noted(caller, 'lock', async () => {
      await app
        .withLock(
          'key',
          async ({ domain, token }) => {
            for (let n = 0; n < 3; n++)
              await domain.log.append(streams.locked, { type: 'wrote', data: { number, token, n } })
          },
          { ttlMs, waitMs: patienceMs, signal: ending },
        )
        .catch((error: unknown) => {
          // The test ended it while it waited.
          const isEnded = isUnderpinError(error) && ['locked', 'aborted', 'unknown'].includes(error.code)
          if (!isEnded || !ending.aborted) throw error
        })
    }),
  )
}

/** Works on everybody's jobs. */
async function runJobs(caller: Caller): Promise<void> {
  const { app, who, over } = caller
  const jobs = app.jobs(definitions)
  type Handler = NonNullable<Parameters<typeof jobs.work>[0]['effect']>
  const effect: Handler = ({ n }, { transaction }) =>
    transaction((tx) => {
      tx.append(streams.jobs, { type: 'done', data: { n } })
      return n
    })
  const options = { leaseMs: who.ttlMs, concurrency: 4, signal: over }
  const worker = await noted(caller, 'worker', () => jobs.work({ effect, limited: effect }, options))
  await worker?.done
}

async function enqueue(caller: Caller): Promise<void> {
  const { app, who, tell } = caller
  const jobs = app.jobs(definitions)
  await again(caller, async (i) => {
    // Numbers that 3 divides are those of groups, whose order is not that of several who enqueue.
    const n = 3 * (who.number * 1_000_000 + i) + 1 + (i % 2)
    await noted(caller, 'enqueue', async () => {
      const { id } = await jobs.enqueue(n % 3 === 1 ? 'effect' : 'limited', { n })
      tell({ kind: 'enqueued', n, id })
    })
    await pause(4 * who.paceMs)
  })
}

/** Asks for operations that all others ask for as well. */
async function askOnce(caller: Caller): Promise<void> {
  const { app, who, tell } = caller
  await again(caller, (operation) =>
    noted(caller, 'once', async () => {
      const work = (tx: { append(stream: string, event: { type: string; data: number }): void }) => {
        tx.append(streams.once, { type: 'did', data: operation })
        return `${who.number} did ${operation}`
      }
      const token = idempotencyToken('operation', String(operation))
      const { value, isReplay } = await app.once(token, { operation }, work, {
        waitMs: who.patienceMs,
        ttlMs: who.ttlMs,
      })
      tell({ kind: 'once', operation, value, isReplay })
    }),
  )
}
