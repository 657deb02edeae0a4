/** How a job goes from state to state: pure, from one record to the next. */
import { fitText } from '../fit-text.ts'
import type { JobError, JobRecord } from './record.ts'

/** The record without what only a running job has. */
function rested(record: JobRecord): JobRecord {
  const { slot: _slot, holdsSlot: _holds, isCancelling: _cancelling, ...rest } = record
  return rest
}

export interface Taken {
  readonly worker: string
  readonly at: number
  readonly slot: number | undefined
}

export function taken(record: JobRecord, { worker, at, slot }: Taken): JobRecord {
  const { progress: _progress, ...rest } = record
  const place = slot === undefined ? {} : { slot, holdsSlot: true as const }
  return { ...rest, ...place, state: 'running', worker, startedAt: at, attempt: record.attempt + 1 }
}

/** Finished: its group goes on, and its dedupe key is free. */
function finished(record: JobRecord, state: JobRecord['state'], at: number): JobRecord {
  const { inLane: _lane, isDeduped: _deduped, ...rest } = rested(record)
  return { ...rest, state, finishedAt: at }
}

export function completed(record: JobRecord, result: unknown, at: number): JobRecord {
  const { error: _error, ...rest } = finished(record, 'completed', at)
  return result === undefined ? rest : { ...rest, result }
}

export function cancelled(record: JobRecord, at: number): JobRecord {
  return finished(record, 'cancelled', at)
}

/** To be tried again behind a delay; dead when it was its last attempt. */
export function failed(record: JobRecord, error: JobError, at: number, delayMs: number): JobRecord {
  if (record.attempt >= record.attempts) return { ...finished(record, 'dead', at), error }
  return { ...rested(record), error, ...waitingFrom(at + delayMs, at) }
}

/** Given back by a worker that was told to stop: it does not count as an attempt. */
export function givenBack(record: JobRecord): JobRecord {
  return { ...rested(record), state: 'waiting', attempt: record.attempt - 1 }
}

/** Taken from a worker that died; what kills its worker again and again ends in the dead letter. */
export function bereaved(record: JobRecord, error: JobError, at: number): JobRecord {
  if (record.isCancelling) return cancelled(record, at)
  return failed(record, error, at, 0)
}

/** A finished job from the start, behind the others of its group. */
export function replayed(record: JobRecord, order: number, at: number): JobRecord {
  const { finishedAt: _finished, startedAt: _started, result: _result, progress: _progress, ...rest } = record
  const lane = record.group === undefined ? {} : { inLane: true as const }
  return { ...rest, ...lane, state: 'waiting', order, attempt: 0, runAt: at }
}

export function waitingFrom(runAt: number, now: number): Pick<JobRecord, 'state' | 'runAt'> {
  return { state: runAt > now ? 'delayed' : 'waiting', runAt }
}

const stackCharacters = 4_000

/** What is kept of an error. */
export function toJobError(error: unknown, attempt: number): JobError {
  const text = (value: unknown) => fitText(String(value), stackCharacters)
  if (!(error instanceof Error)) return { message: text(error), code: null, stack: null, attempt }
  const { code } = error as { code?: unknown }
  return {
    message: text(error.message),
    code: typeof code === 'string' ? text(code) : null,
    stack: error.stack === undefined ? null : text(error.stack),
    attempt,
  }
}
