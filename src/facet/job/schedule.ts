/**
 * Schedules: documents of `$schedules` that say when the next job is due. Whichever worker sees first that it is, commits
 * the job and the time after that together, dependent on the schedule's revision: one job for each time, over any number
 * of processes.
 */
import { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Document, Tombstone } from '../../model/document.ts'
import { checkId, quote } from '../../model/key.ts'
import type { Query } from '../../model/page.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'
import { type Cron, loadCron } from './cron.ts'
import { schedulesCollection } from './record.ts'

/** What becomes of times that passed while no worker ran: one job for the last of them, one for each, or none. */
export type MissedRuns = 'last' | 'each' | 'none'

export interface ScheduleOptions {
  /** Names the schedule, so that a job can have several; the name of the job if left out. */
  readonly key?: string
  /** In which the times are meant: `Europe/Vienna`; UTC if left out. */
  readonly timeZone?: string
  /** `last` if left out. */
  readonly missed?: MissedRuns
  readonly priority?: number
  readonly group?: string
}

export interface ScheduleInfo {
  readonly key: string
  readonly name: string
  readonly cron: string
  readonly timeZone: string
  readonly missed: MissedRuns
  readonly data: unknown
  /** Milliseconds since 1970; null if it is never due again. */
  readonly nextAt: number | null
}

interface ScheduleRecord {
  readonly name: string
  readonly cron: string
  readonly timeZone: string
  readonly missed: MissedRuns
  readonly data: unknown
  readonly priority: number
  readonly group: string | null
  readonly attempts: number
  readonly nextAt: number | null
}

/** Makes the write of a job; given by the facet, which knows how. */
export type MakeJob = (
  name: string,
  data: unknown,
  options: { readonly priority: number; readonly group: string | undefined; readonly attempts: number },
) => Write

/** Later than this, a time counts as missed. */
const missedAfterMs = 60_000
/** How many times one commit makes up for. */
const mostAtOnce = 1_000

export class Schedules {
  readonly #port: Port
  readonly #make: MakeJob

  constructor(port: Port, make: MakeJob) {
    this.#port = port
    this.#make = make
  }

  /** Sets a schedule. What is so already keeps its next time: every process may do this whenever it starts. */
  async set(
    { name, cron, data, attempts }: Pick<ScheduleRecord, 'name' | 'cron' | 'data' | 'attempts'>,
    options: ScheduleOptions,
  ): Promise<ScheduleInfo> {
    const { key = name, timeZone = 'UTC', missed = 'last', priority = 0, group = null } = options
    checkMissed(missed)
    checkId(key, 'The key of a schedule', this.#port.limits)
    const times = await loadCron(cron, timeZone)
    const wanted = { name, cron, timeZone, missed, data, priority: priority + 0, group, attempts }
    for (;;) {
      const found = await this.#find(key)
      const { nextAt: foundAt = null, ...before } = found?.record ?? {}
      const isSame = found !== undefined && encodeValue(before) === encodeValue(wanted)
      const nextAt = isSame ? foundAt : times.after(this.#port.clock.now())
      const record: ScheduleRecord = { ...wanted, nextAt }
      if (isSame || (await this.#commit(key, record, found?.revision ?? 'absent', [])))
        return toInfo(key, record)
    }
  }

  /** Ends a schedule; false if there is none. Its jobs stay. */
  async remove(key: string): Promise<boolean> {
    for (;;) {
      const found = await this.#find(key)
      if (found === undefined) return false
      const outcome = await this.#port.commit({
        at: this.#port.clock.now(),
        writes: [{ kind: 'delete', collection: schedulesCollection, id: key }],
        checks: [{ kind: 'document', collection: schedulesCollection, id: key, expect: found.revision }],
      })
      if (outcome.kind === 'refused') throw outcome.error
      if (outcome.kind === 'committed') return true
    }
  }

  async list(): Promise<ScheduleInfo[]> {
    const found: ScheduleInfo[] = []
    for (let after: string | null = null, isDone = false; !isDone; ) {
      const page: Awaited<ReturnType<Port['scan']>> = await this.#port.scan({
        collection: schedulesCollection,
        by: 'id',
        prefix: '',
        backwards: false,
        limit: 1_000,
        after,
      })
      for (const { id, data } of page.items) found.push(toInfo(id, decodeValue(data) as ScheduleRecord))
      after = page.next
      isDone = after === null
    }
    return found
  }

  /** Enqueues what is due; when the next one will be. A schedule that cannot be read holds up none of the others. */
  async fire(): Promise<number> {
    const now = this.#port.clock.now()
    const failures: unknown[] = []
    for (let after: string | null = null, isDone = false; !isDone; ) {
      const query: Query = { ...byTime, from: 0, below: now + 1, limit: 100, after }
      const page: Awaited<ReturnType<Port['scan']>> = await this.#port.scan(query)
      for (const { id, data, position } of page.items) {
        const schedule = { key: id, revision: position, record: decodeValue(data) as ScheduleRecord }
        await this.#fireOne(schedule, now).catch((error) => failures.push(error))
      }
      after = page.next
      isDone = after === null
    }
    if (failures.length > 0) throw failures[0]
    const { items } = await this.#port.scan({ ...byTime, from: 0, limit: 1, after: null } satisfies Query)
    return toSchedule(items[0])?.record.nextAt ?? Number.POSITIVE_INFINITY
  }

  async #fireOne({ key, revision, record }: FoundSchedule, now: number): Promise<void> {
    const times = await loadCron(record.cron, record.timeZone)
    const { due, nextAt } = dueTimes(times, record, now)
    const { name, data, priority, group, attempts } = record
    const writes = due.map(() => this.#make(name, data, { priority, group: group ?? undefined, attempts }))
    await this.#commit(key, { ...record, nextAt }, revision, writes)
  }

  async #commit(
    key: string,
    record: ScheduleRecord,
    expect: number | 'absent',
    jobs: readonly Write[],
  ): Promise<boolean> {
    const data = encodeValue(record, this.#port.limits)
    const outcome = await this.#port.commit({
      at: this.#port.clock.now(),
      writes: [{ kind: 'put', collection: schedulesCollection, id: key, data, expiresAt: null }, ...jobs],
      checks: [{ kind: 'document', collection: schedulesCollection, id: key, expect }],
    })
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.kind === 'committed'
  }

  async #find(key: string): Promise<FoundSchedule | undefined> {
    const { documents } = await this.#port.get([{ collection: schedulesCollection, id: key }])
    return toSchedule(documents[0])
  }
}

const byTime = {
  collection: schedulesCollection,
  by: 'index',
  index: 'due',
  equals: [],
  backwards: false,
} as const

interface FoundSchedule {
  readonly key: string
  readonly revision: number
  readonly record: ScheduleRecord
}

function toSchedule(document: Document | Tombstone | undefined): FoundSchedule | undefined {
  if (document?.kind !== 'document') return undefined
  const record = decodeValue(document.data) as ScheduleRecord
  return { key: document.id, revision: document.position, record }
}

/** The times up to now that get a job, and the first one behind now. */
function dueTimes(
  times: Cron,
  { missed, nextAt }: Pick<ScheduleRecord, 'missed' | 'nextAt'>,
  now: number,
): { readonly due: readonly number[]; readonly nextAt: number | null } {
  if (missed !== 'each') {
    const first = nextAt ?? now
    const last = times.before(now + 1) ?? first
    const isMissed = now - Math.max(first, last) > missedAfterMs
    return { due: missed === 'none' && isMissed ? [] : [last], nextAt: times.after(now) }
  }
  const due: number[] = []
  let at = nextAt
  for (; at !== null && at <= now && due.length < mostAtOnce; at = times.after(at)) due.push(at)
  return { due, nextAt: at }
}

function toInfo(key: string, record: ScheduleRecord): ScheduleInfo {
  const { name, cron, timeZone, missed, data, nextAt } = record
  return { key, name, cron, timeZone, missed, data, nextAt }
}

function checkMissed(missed: unknown): void {
  if (missed === undefined || missed === 'last' || missed === 'each' || missed === 'none') return
  throw new UnderpinError('invalid', `What becomes of missed runs cannot be ${quote(missed)}`, {
    hint: "Give 'last', 'each' or 'none'.",
  })
}
