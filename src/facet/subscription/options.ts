/** What an application says of a subscription, checked and completed. */
import { UnderpinError } from '../../error.ts'
import { checkName } from '../../model/key.ts'
import type { Limits } from '../../model/limit.ts'
import type { Position } from '../../model/position.ts'
import { checkAfter, type FeedItem } from '../feed.ts'
import type { NewEvent } from '../shape.ts'
import type { Collections, Transaction } from '../transaction.ts'
import { type ChangeFilter, checkFilter, type KeyOf } from './entry.ts'

/** What a handler is told beside the change. */
export interface HandlerContext {
  /** Aborts when the subscription is stopped, its lease is lost, or the handler takes longer than `handlerMs`. */
  readonly signal: AbortSignal
  /** From 1; higher when it failed before. */
  readonly attempt: number
  readonly partition: number
  /** Whether it was parked before. */
  readonly isReplay: boolean
}

export interface TransactionContext<E extends NewEvent, C extends Collections> extends HandlerContext {
  /** What is written with it is committed together with the checkpoint: all or nothing, and once. */
  readonly tx: Transaction<E, C>
}

export interface RetryOptions {
  /** Attempts before a change is parked; 8 if left out. */
  readonly attempts?: number
  /** Milliseconds before the second attempt, doubled for each further one, with jitter; 100 if left out. */
  readonly firstMs?: number
  /** Milliseconds between attempts at most; 30,000 if left out. */
  readonly lastMs?: number
}

interface CommonOptions<E extends NewEvent> {
  /** Names its checkpoint and lease: who runs under the same name shares the work. */
  readonly name: string
  /** Where it begins when it is run for the first time; `'start'` if left out. */
  readonly from?: 'start' | 'now' | Position
  readonly filter?: ChangeFilter
  /** Changes of one key are handled in order, one at a time. The stream, or the document's collection and id, if left out. */
  readonly key?: KeyOf<E>
  /** Parts by hash of the key, each with a consumer and a checkpoint, shared fairly among those who run it; 1 if left out. */
  readonly partitions?: number
  readonly retry?: RetryOptions
  /**
   * What becomes of a change that cannot be handled: `'park'` (the default) puts it aside, with the reason, after the
   * last attempt; `'retry'` tries for ever, and nothing behind it is handled meanwhile.
   */
  readonly poison?: 'park' | 'retry'
  /** Whether later changes of the key of a parked one are handled (`'go-on'`, the default) or parked behind it. */
  readonly parkedKey?: 'go-on' | 'block'
  /**
   * What becomes of events that were compacted away before they were handled: `'fail'` (the default) stops the
   * subscription with `truncated`, before it is given anything that comes behind them; `'skip'` goes on without them.
   */
  readonly compacted?: 'fail' | 'skip'
  /** Changes that are read at once, and handed to `handleBatch`; more if a commit has more; 500 if left out. */
  readonly batch?: number
  /** Milliseconds without a sign of life after which another process takes over; 5,000 if left out. */
  readonly ttlMs?: number
  /** Milliseconds that a handler may take; 300,000 if left out. */
  readonly handlerMs?: number
}

type Handler<E extends NewEvent, X> =
  | {
      /** Handles one change. */
      readonly handle: (item: FeedItem<E>, context: X) => unknown
      readonly handleBatch?: never
    }
  | {
      /** Handles some changes at once: whole commits. A batch that fails is tried again one change at a time. */
      readonly handleBatch: (items: readonly FeedItem<E>[], context: X) => unknown
      readonly handle?: never
    }

export type AtLeastOnceOptions<E extends NewEvent> = CommonOptions<E> &
  Handler<E, HandlerContext> & {
    readonly mode?: 'at-least-once'
    /** Keys that are handled at the same time; 1 if left out. Not with `handleBatch`. */
    readonly parallel?: number
    /** Milliseconds that a handled change may wait for its checkpoint: what is seen again after a crash; 100 if left out. */
    readonly saveEveryMs?: number
  }

export type ExactlyOnceOptions<E extends NewEvent, C extends Collections> = CommonOptions<E> &
  Handler<E, TransactionContext<E, C>> & {
    readonly mode: 'exactly-once'
    /** Parallel handlers would not see what each other writes: use partitions. */
    readonly parallel?: never
    readonly saveEveryMs?: never
  }

export type SubscriptionOptions<E extends NewEvent, C extends Collections> =
  | AtLeastOnceOptions<E>
  | ExactlyOnceOptions<E, C>

/** The options as they are used. */
export interface Plan<E extends NewEvent = NewEvent> {
  readonly name: string
  readonly from: 'start' | 'now' | Position
  readonly filter: ChangeFilter
  readonly key: KeyOf<E> | undefined
  readonly partitions: number
  readonly attempts: number
  readonly firstMs: number
  readonly lastMs: number
  readonly mayPark: boolean
  readonly blocksKeys: boolean
  readonly skipsCompacted: boolean
  readonly limit: number
  readonly ttlMs: number
  readonly handlerMs: number
  readonly isOnce: boolean
  readonly parallel: number
  readonly saveEveryMs: number
  readonly isBatched: boolean
  readonly run: (items: readonly FeedItem<E>[], context: HandlerContext) => Promise<void>
}

/** Fails with `invalid` for what cannot be meant, and with a `TypeError` for what the types forbid. */
export function toPlan<E extends NewEvent, C extends Collections>(
  options: SubscriptionOptions<E, C>,
  limits: Limits,
): Plan<E> {
  checkName(options.name, 'The subscription', limits)
  checkFilter(options.filter ?? {})
  const {
    from = 'start',
    mode = 'at-least-once',
    parallel = 1,
    poison = 'park',
    parkedKey = 'go-on',
    compacted = 'fail',
  } = options
  if (from !== 'start' && from !== 'now') checkAfter(from)
  oneOf('mode', mode, ['at-least-once', 'exactly-once'])
  oneOf('poison', poison, ['park', 'retry'])
  oneOf('parkedKey', parkedKey, ['go-on', 'block'])
  oneOf('compacted', compacted, ['fail', 'skip'])
  const isBatched = options.handleBatch !== undefined
  if (parallel !== 1 && (isBatched || mode === 'exactly-once'))
    throw new TypeError('parallel goes with handle in mode at-least-once only: use partitions')
  return {
    name: options.name,
    from,
    filter: options.filter ?? {},
    key: options.key,
    partitions: whole('partitions', options.partitions ?? 1, 1, 1_024),
    attempts: whole('retry.attempts', options.retry?.attempts ?? 8, 1),
    firstMs: whole('retry.firstMs', options.retry?.firstMs ?? 100, 0),
    lastMs: whole('retry.lastMs', options.retry?.lastMs ?? 30_000, 0),
    mayPark: poison === 'park',
    blocksKeys: parkedKey === 'block',
    skipsCompacted: compacted === 'skip',
    limit: whole('batch', options.batch ?? Math.min(500, limits.pageItems), 1, limits.pageItems),
    ttlMs: whole('ttlMs', options.ttlMs ?? 5_000, 30),
    handlerMs: whole('handlerMs', options.handlerMs ?? 300_000, 1),
    isOnce: mode === 'exactly-once',
    parallel: whole('parallel', parallel, 1),
    saveEveryMs: whole('saveEveryMs', options.saveEveryMs ?? 100, 0),
    isBatched,
    run: runnerOf(options),
  }
}

function runnerOf<E extends NewEvent, C extends Collections>(
  options: SubscriptionOptions<E, C>,
): Plan<E>['run'] {
  const { handle, handleBatch } = options as unknown as Record<
    'handle' | 'handleBatch',
    ((given: unknown, context: HandlerContext) => unknown) | undefined
  >
  if ((handle === undefined) === (handleBatch === undefined))
    throw new TypeError('A subscription needs either handle or handleBatch')
  return async (items, context) => {
    if (handleBatch !== undefined) await handleBatch(items, context)
    else for (const item of items) await handle?.(item, context)
  }
}

function whole(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
  throw new UnderpinError('invalid', `${name} must be a whole number ${range}, not ${value}`)
}

function oneOf(name: string, value: unknown, known: readonly string[]): void {
  if (known.includes(value as string)) return
  throw new TypeError(`${name} must be one of ${known.join(', ')}, not ${String(value)}`)
}
