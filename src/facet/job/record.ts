/** Jobs as they are stored: documents of `$jobs`, and the indexes that they are claimed, found and counted by. */
import type { Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import { type CollectionDefinition, checkFields, type IndexDefinition } from '../../model/collection.ts'
import { type Document, isExpired, type Tombstone } from '../../model/document.ts'
import type { Limits } from '../../model/limit.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import { leaseCollections } from '../lease.ts'
import type { OwnCollections } from '../port.ts'

export const jobsCollection = '$jobs'
export const schedulesCollection = '$schedules'

/**
 * - `waiting`: a worker may take it.
 * - `delayed`: until its time, or until its next attempt.
 * - `lined`: behind another one of its group.
 * - `running`: a worker has it.
 * - `completed`, `cancelled`, `dead`: finished; `dead` is the dead letter.
 */
export type JobState = 'waiting' | 'delayed' | 'lined' | 'running' | 'completed' | 'cancelled' | 'dead'
export const jobStates: readonly JobState[] = [
  'waiting',
  'delayed',
  'lined',
  'running',
  'completed',
  'cancelled',
  'dead',
]

/** Why an attempt failed. */
export interface JobError {
  readonly message: string
  readonly code: string | null
  readonly stack: string | null
  /** The attempt that failed so. */
  readonly attempt: number
}

export interface JobProgress {
  readonly value: number
  readonly note: string | null
}

/** The value of a job's document. Flags are there only while they are true, so that most jobs are in few indexes. */
export interface JobRecord {
  readonly name: string
  readonly state: JobState
  readonly data: unknown
  /** The priority with its sign turned, so that the highest comes first. */
  readonly rank: number
  /** Behind all that this process enqueued before: microseconds since 1970, about. */
  readonly order: number
  readonly enqueuedAt: number
  /** Milliseconds since 1970 before which it does not run. */
  readonly runAt: number
  readonly attempt: number
  readonly attempts: number
  readonly group?: string
  readonly inLane?: true
  readonly dedupe?: string
  readonly isDeduped?: true
  /** Which of the places that a concurrency limit leaves; while it runs. */
  readonly slot?: number
  readonly holdsSlot?: true
  /** The lease of the worker that has it, or had it last. */
  readonly worker?: string
  readonly isCancelling?: true
  readonly startedAt?: number
  readonly finishedAt?: number
  readonly progress?: JobProgress
  readonly result?: unknown
  readonly error?: JobError
}

const index = (
  fields: readonly string[],
  where: IndexDefinition['where'] = {},
  unique = false,
): IndexDefinition => ({ fields, unique, where })

const jobs: CollectionDefinition = {
  fields: {
    name: 'string',
    state: 'string',
    rank: 'number',
    order: 'number',
    runAt: 'number',
    group: 'string',
    inLane: 'boolean',
    dedupe: 'string',
    isDeduped: 'boolean',
    slot: 'number',
    holdsSlot: 'boolean',
    worker: 'string',
    isCancelling: 'boolean',
  },
  indexes: {
    queue: index(['state', 'name', 'rank', 'order']),
    due: index(['runAt'], { state: 'delayed' }),
    worker: index(['worker'], { state: 'running' }),
    cancelling: index(['worker'], { isCancelling: true }),
    lane: index(['name', 'group', 'order'], { inLane: true }),
    lined: index(['name', 'group'], { state: 'lined' }),
    /** One of a group at a time: the store itself refuses a second one. */
    group: index(['name', 'group'], { state: 'running', inLane: true }, true),
    /** So many at once as there are slots. */
    slot: index(['name', 'slot'], { holdsSlot: true }, true),
    dedupe: index(['name', 'dedupe'], { isDeduped: true }, true),
  },
}

const schedules: CollectionDefinition = {
  fields: { nextAt: 'number', isPaused: 'boolean' },
  indexes: { due: index(['nextAt']) },
}

export const jobCollections: OwnCollections = {
  ...leaseCollections,
  [jobsCollection]: jobs,
  [schedulesCollection]: schedules,
}

/** A job as it was found: its record, and the revision that a commit about it depends on. */
export interface FoundJob {
  readonly id: string
  readonly revision: number
  readonly record: JobRecord
}

/** The job of a document; undefined if there is none, or no longer. */
export function toFound(document: Document | Tombstone | undefined, now: number): FoundJob | undefined {
  if (document?.kind !== 'document' || isExpired(document.expiresAt, now)) return undefined
  return { id: document.id, revision: document.position, record: decodeValue(document.data) as JobRecord }
}

/** A job as applications see it. */
export interface JobInfo<Data = unknown, Result = unknown> {
  readonly id: string
  readonly name: string
  readonly state: JobState
  readonly data: Data
  readonly priority: number
  readonly group: string | undefined
  readonly dedupe: string | undefined
  /** How often it was begun. */
  readonly attempt: number
  /** How often it is tried in all. */
  readonly attempts: number
  /** Milliseconds since 1970, like all times here. */
  readonly enqueuedAt: number
  readonly runAt: number
  readonly startedAt: number | undefined
  readonly finishedAt: number | undefined
  /** Whether it runs and is to be cancelled. */
  readonly isCancelling: boolean
  readonly progress: JobProgress | undefined
  /** What its handler returned; undefined until it is completed. */
  readonly result: Result | undefined
  /** Why its last attempt failed. */
  readonly error: JobError | undefined
}

export function toInfo<Data, Result>({ id, record }: FoundJob): JobInfo<Data, Result> {
  const { name, state, data, rank, group, dedupe, attempt, attempts } = record
  const { enqueuedAt, runAt, startedAt, finishedAt, isCancelling = false, progress, result, error } = record
  return {
    id,
    name,
    state,
    data: data as Data,
    priority: 0 - rank,
    group,
    dedupe,
    attempt,
    attempts,
    enqueuedAt,
    runAt,
    startedAt,
    finishedAt,
    isCancelling,
    progress,
    result: result as Result | undefined,
    error,
  }
}

/** Bytes that a job needs beyond what it was enqueued with: its worker, its progress, its error. */
const reservedBytes = 65_536

/** The write of a new job; refuses data and keys that are over a limit, or leave no room for what becomes of the job. */
export function enqueueWrite(id: string, record: JobRecord, limits: Limits): Write {
  const valueBytes = Math.max(limits.valueBytes - reservedBytes, limits.valueBytes / 2)
  const data = encodeValue(record, { ...limits, valueBytes })
  checkFields(jobsCollection, jobs, record, limits)
  return { kind: 'put', collection: jobsCollection, id, data, expiresAt: null }
}

/** The write of a job's next state. */
export function putJob(id: string, record: JobRecord, expiresAt: number | null = null): Write {
  return { kind: 'put', collection: jobsCollection, id, data: encodeValue(record), expiresAt }
}

/** A commit about a job depends on nobody having changed it meanwhile. */
export function unchanged({ id, revision }: Pick<FoundJob, 'id' | 'revision'>): Check {
  return { kind: 'document', collection: jobsCollection, id, expect: revision }
}
