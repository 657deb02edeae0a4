/** Holds what callers were told against what the domain holds when all is quiet. Pure, so that it can be shown what it must find. */
import type { FeedItem, JobInfo } from '../../../src/index.ts'
import { judge as judgeJobs } from '../../job/judge.ts'
import { check, type Operation } from '../../linearizability/checker.ts'
import type { Key } from '../../linearizability/record.ts'
import { judge as judgeReader, type Truth } from '../../process/judge.ts'
import { judge as judgeHandled } from '../../subscription/judge.ts'
import type { Told } from './told.ts'
import { inputPrefix, streams } from './work.ts'

/** The whole domain, when all is quiet. */
export interface Whole {
  readonly items: readonly FeedItem[]
  readonly jobs: readonly Pick<JobInfo, 'id' | 'state' | 'result'>[]
}

/** How often each promise was broken. */
export interface Verdict {
  /** Acknowledged, and not there. */
  readonly lost: number
  /** There more than once. */
  readonly doubled: number
  /** There at another place than its caller was told, or in another order than its caller asked; or a broken sequence. */
  readonly reordered: number
  /** There, though its caller was told that it is not, or never asked for. */
  readonly untrue: number
  /** What readers were not given, or out of order, or twice. */
  readonly unread: number
  /** What subscribers were not given, or out of order, or (exactly once) twice. */
  readonly unhandled: number
  /** Writes under a lock that somebody else had by then. */
  readonly doubleLocks: number
  /** Operations done twice, not at all, or answered in two ways. */
  readonly onceDoubles: number
  /** Jobs that were lost, or done twice. */
  readonly jobs: number
  /** Keys of which what callers were told has no explanation. */
  readonly notLinearizable: number
  /** Calls that failed with an error that tells of the move. */
  readonly errors: number
}

export const nothingWrong: Verdict = {
  lost: 0,
  doubled: 0,
  reordered: 0,
  untrue: 0,
  unread: 0,
  unhandled: 0,
  doubleLocks: 0,
  onceDoubles: 0,
  jobs: 0,
  notLinearizable: 0,
  errors: 0,
}

export function judge(told: readonly Told[], whole: Whole): Verdict {
  const events = whole.items.filter((item) => item.kind === 'event')
  return {
    ...judgeWrites(told, events),
    unread: unreadIn(told, whole.items, events),
    unhandled: unhandledIn(events),
    doubleLocks: overlapsIn(dataOf(events, streams.locked) as Wrote[]),
    onceDoubles: doublesIn(dataOf(events, streams.once) as number[], told),
    jobs: jobFaults(told, events, whole.jobs),
    notLinearizable: historiesOf(told).filter(
      ([key, done]) => check({ isGapless: key.kind === 'stream' }, done).kind !== 'linearizable',
    ).length,
    errors: told.filter(({ kind }) => kind === 'failed').length,
  }
}

export const sumOf = (verdict: Verdict): number => Object.values(verdict).reduce((a, b) => a + b, 0)

type EventItem = Extract<FeedItem, { kind: 'event' }>

function dataOf(events: readonly EventItem[], stream: string): unknown[] {
  return events.filter((event) => event.stream === stream).map(({ data }) => data)
}

/** The writers' marks: `<caller>/<number>`. */
function judgeWrites(told: readonly Told[], events: readonly EventItem[]) {
  const asked = new Map<string, string>()
  const failed = new Map<string, string>()
  const done = new Map<string, { position: number; seq: number }>()
  for (const entry of told) {
    if (entry.kind === 'asked') asked.set(entry.mark, entry.stream)
    else if (entry.kind === 'done') done.set(entry.mark, entry)
    else if (entry.kind === 'failed' && entry.mark !== undefined) failed.set(entry.mark, entry.code)
  }
  const found = new Map<string, EventItem>()
  let [lost, doubled, reordered, untrue] = [0, 0, breaksIn(events), 0]
  const last = new Map<string, number>()
  for (const event of events) {
    if (event.type !== 'wrote' || typeof event.data !== 'string') continue
    const mark = event.data
    if (found.has(mark)) doubled++
    else {
      found.set(mark, event)
      const [caller = '', number] = mark.split('/')
      if (Number(number) < (last.get(caller) ?? -1)) reordered++
      last.set(caller, Number(number))
    }
    const code = failed.get(mark)
    if (asked.get(mark) !== event.stream || (code !== undefined && code !== 'unknown')) untrue++
  }
  for (const [mark, { position, seq }] of done) {
    const event = found.get(mark)
    if (event === undefined) lost++
    else if (event.position !== position || event.seq !== seq) reordered++
  }
  return { lost, doubled, reordered, untrue }
}

/** Positions that do not rise, and seqs that are not the next of their stream. */
function breaksIn(events: readonly EventItem[]): number {
  const seqs = new Map<string, number>()
  let [breaks, last] = [0, 0]
  for (const { position, stream, seq } of events) {
    if (position <= last || seq !== (seqs.get(stream) ?? 0) + 1) breaks++
    last = position
    seqs.set(stream, seq)
  }
  return breaks
}

function unreadIn(told: readonly Told[], items: readonly FeedItem[], events: readonly EventItem[]): number {
  const documents: Record<string, number> = {}
  for (const item of items)
    if (item.kind !== 'event') documents[`${item.collection}/${item.id}`] = item.position
  const all: Pick<Truth, 'events' | 'documents'> = {
    events: events.map(({ position }) => position),
    documents,
  }
  let unread = 0
  for (const entry of told) {
    if (entry.kind !== 'seen') continue
    // What came behind the end mark was not for it.
    const end = entry.seen.events.at(-1) ?? 0
    const until = {
      events: all.events.filter((position) => position <= end),
      documents: Object.fromEntries(Object.entries(documents).filter(([, position]) => position <= end)),
    }
    const { missing, doubled, outOfOrder, foreign } = judgeReader(entry.seen, 0, until)
    // A state that was superseded by one behind the end may have been given instead.
    unread += missing + doubled + outOfOrder + foreign
  }
  return unread
}

function unhandledIn(events: readonly EventItem[]): number {
  const wanted = events
    .filter(({ stream }) => stream.startsWith(inputPrefix))
    .map(({ position }) => ({ position, key: '' }))
  const exact = judgeHandled(wanted, dataOf(events, streams.exact) as number[])
  const least = judgeHandled(wanted, dataOf(events, streams.least) as number[])
  const faults = [exact, least].map(({ missing, outOfOrder, foreign }) => missing + outOfOrder + foreign)
  return exact.doubled + faults.reduce((a, b) => a + b, 0)
}

interface Wrote {
  readonly number: number
  readonly token: number
}

/** Writes that took effect behind one with a higher token, or under somebody else's. */
function overlapsIn(writes: readonly Wrote[]): number {
  const owners = new Map<number, number>()
  let [highest, overlaps] = [0, 0]
  for (const { number, token } of writes) {
    const owner = owners.get(token) ?? number
    owners.set(token, owner)
    if (token < highest || owner !== number) overlaps++
    highest = Math.max(highest, token)
  }
  return overlaps
}

function doublesIn(effects: readonly number[], told: readonly Told[]): number {
  const seen = new Set<number>()
  const values = new Map<number, string>()
  const firsts = new Set<number>()
  let wrong = 0
  for (const operation of effects) {
    if (seen.has(operation)) wrong++
    seen.add(operation)
  }
  for (const entry of told) {
    if (entry.kind !== 'once') continue
    const { operation, value, isReplay } = entry
    if (!seen.has(operation) || (values.get(operation) ?? value) !== value) wrong++
    values.set(operation, value)
    if (!isReplay && firsts.has(operation)) wrong++
    if (!isReplay) firsts.add(operation)
  }
  return wrong
}

/** A job whose enqueuer was killed before it was told is nobody's fault. */
function jobFaults(told: readonly Told[], events: readonly EventItem[], jobs: Whole['jobs']): number {
  const enqueued = new Map<number, string>()
  for (const entry of told) if (entry.kind === 'enqueued') enqueued.set(entry.n, entry.id)
  const ids = new Set(enqueued.values())
  const effects = (dataOf(events, streams.jobs) as { n: number }[]).map(({ n }) => n)
  const untold = new Set(effects.filter((n) => !enqueued.has(n)))
  const { lost, missing, doubled, foreign } = judgeJobs({
    enqueued,
    effects: effects.filter((n) => !untold.has(n)),
    jobs: jobs.filter(({ id }) => ids.has(id)),
  })
  const untoldDoubles = effects.filter((n) => untold.has(n)).length - untold.size
  return lost + missing + doubled + foreign + untoldDoubles
}

function historiesOf(told: readonly Told[]): [Key, Operation[]][] {
  const histories = new Map<string, [Key, Operation[]]>()
  const add = (key: Key, operation: Operation) => {
    const history = histories.get(`${key.kind} ${key.name}`)
    if (history === undefined) histories.set(`${key.kind} ${key.name}`, [key, [operation]])
    else history[1].push(operation)
  }
  const answered = new Set<string>()
  for (const entry of told) {
    if (entry.kind === 'register') add(entry.key, entry.operation)
    if ((entry.kind === 'register' || entry.kind === 'failed') && entry.mark !== undefined)
      answered.add(entry.mark)
  }
  // Of a caller who was killed before it was told: it may have been written, or not.
  for (const entry of told) {
    if (entry.kind !== 'begun' || answered.has(entry.mark)) continue
    const { key, from, call } = entry
    add(key, { from, to: Number.POSITIVE_INFINITY, call, answer: { kind: 'unknown' } })
  }
  return [...histories.values()]
}
