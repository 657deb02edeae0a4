/** What an application declares of its jobs: what they are given, and how often, how long and how many at once they run. */
import { UnderpinError } from '../../error.ts'
import { checkId, quote } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import type { Schema } from '../schema.ts'

declare const type: unique symbol

/** How often a job that failed is tried, and when: after `delayMs`, then `factor` times as long each time, less a random part. */
export interface RetryPolicy {
  /** How often it is tried in all, before it goes to the dead letter; 5 if left out. */
  readonly attempts?: number
  /** Milliseconds before the second attempt; 1,000 if left out. */
  readonly delayMs?: number
  /** 2 if left out. */
  readonly factor?: number
  /** The longest delay in milliseconds; 1 hour if left out. */
  readonly maxDelayMs?: number
  /** The part of a delay that is random, 0 to 1: jobs that failed together do not come back together; 0.5 if left out. */
  readonly jitter?: number
}

export interface JobOptions<Data> {
  /** Data is validated with it when a job is enqueued, and stored as it returns it. */
  readonly schema?: Schema<Data>
  readonly retry?: RetryPolicy
  /** Milliseconds after which an attempt is aborted and counts as failed; none if left out. */
  readonly timeoutMs?: number
  /** How many of these jobs run at once, over all processes; as many as there are workers for if left out. */
  readonly concurrency?: number
  /** Milliseconds that a job is kept when it was completed or cancelled; 1 day if left out, 0 to delete it at once. */
  readonly keepMs?: number
  /** Milliseconds that a dead job is kept; for ever if left out. */
  readonly keepDeadMs?: number
}

/** A declared kind of job. Made with {@link job}, which gives it its types. */
export interface JobDefinition<Data, Result> extends JobOptions<Data> {
  readonly [type]?: { readonly data: Data; readonly result: Result }
}

// biome-ignore lint/suspicious/noExplicitAny: a job of any types.
export type JobDefinitions = Readonly<Record<string, JobDefinition<any, any>>>
export type DataOf<J> = J extends JobDefinition<infer Data, unknown> ? Data : never
export type ResultOf<J> = J extends { readonly [type]?: { readonly result: infer Result } } ? Result : unknown

/** Declares a kind of job: `job<{ to: string }>({ retry: { attempts: 3 } })`. Its data and result are JSON. */
export function job<Data, Result = unknown>(options: JobOptions<Data> = {}): JobDefinition<Data, Result> {
  return options
}

/** Declares the jobs of a domain by name; `invalid` if a number among their options makes no sense. */
export function defineJobs<const D extends JobDefinitions>(definitions: D): D {
  for (const [name, definition] of Object.entries(definitions)) {
    checkId(name, 'The name of a job', limits)
    const { retry = {}, timeoutMs, concurrency, keepMs, keepDeadMs } = definition
    checkNumber(name, 'retry.attempts', retry.attempts, 1, Number.MAX_SAFE_INTEGER)
    checkNumber(name, 'concurrency', concurrency, 1, 1_000)
    checkNumber(name, 'retry.jitter', retry.jitter, 0, 1)
    checkNumber(name, 'retry.factor', retry.factor, 1, 1_000)
    const times = { timeoutMs, keepMs, keepDeadMs, 'retry.delayMs': retry.delayMs }
    for (const [field, ms] of Object.entries({ ...times, 'retry.maxDelayMs': retry.maxDelayMs }))
      checkNumber(name, field, ms, field === 'timeoutMs' ? 1 : 0, Number.MAX_SAFE_INTEGER)
  }
  return definitions
}

function checkNumber(name: string, field: string, value: unknown, least: number, most: number): void {
  if (value === undefined) return
  const mustBeWhole = least === 1 && field !== 'retry.factor'
  const fits = typeof value === 'number' && value >= least && value <= most
  if (fits && (!mustBeWhole || Number.isSafeInteger(value))) return
  throw new UnderpinError('invalid', `The ${field} of job ${quote(name)} cannot be ${quote(value)}`, {
    hint: `It must be a ${mustBeWhole ? 'whole ' : ''}number from ${least} on${most === Number.MAX_SAFE_INTEGER ? '' : `, at most ${most}`}.`,
    details: { job: name, field },
  })
}

const defaultAttempts = 5

/** How often a job is tried in all. */
export function attemptsOf({ retry }: JobOptions<unknown>): number {
  return retry?.attempts ?? defaultAttempts
}

/** Milliseconds until the next attempt, behind `attempt` that failed. */
export function retryDelay(retry: RetryPolicy | undefined, attempt: number, random: number): number {
  const { delayMs = 1_000, factor = 2, maxDelayMs = 3_600_000, jitter = 0.5 } = retry ?? {}
  const delay = Math.min(maxDelayMs, delayMs * factor ** (attempt - 1))
  return Math.round(delay * (1 - jitter * random))
}
