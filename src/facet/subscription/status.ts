/** How a subscription is getting on, and why it waits, for people. */
import type { CallOptions } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import type { Port } from '../port.ts'
import { describeUnseen, findUnseen } from '../unseen.ts'
import { readCheckpoints, type StoredCheckpoint } from './checkpoint.ts'
import { leaseOf } from './consumer.ts'
import { consumerId } from './delivery.ts'
import { entriesOf, type Need, needsStream, partitionOf } from './entry.ts'
import { type Holder, holdersOf } from './grants.ts'

/** One word for programs, one sentence for people. */
export interface Why {
  readonly code:
    | 'caught-up'
    | 'behind'
    | 'retrying'
    | 'paused'
    | 'no-consumer'
    | 'silent-consumer'
    | 'not-started'
    | 'unavailable'
    | 'truncated'
  readonly text: string
}

export interface Lag {
  /** Positions from the first change that is wanted and not done to the head; 0 when caught up. */
  readonly positions: number
  /** Seconds since that change was committed. */
  readonly seconds: number
}

export interface PartitionStatus {
  readonly partition: number
  /** Everything up to here is done; undefined before it was run for the first time. */
  readonly position: Position | undefined
  readonly lag: Lag
  /** Who has its lease: its consumer, or one that died a moment ago. */
  readonly holder: string | undefined
  readonly why: Why
}

export interface SubscriptionStatus {
  readonly name: string
  /** Of the partition that is furthest behind. */
  readonly lag: Lag
  /** Of the partition that needs attention most. */
  readonly why: Why
  /** Changes that were put aside. */
  readonly parked: number
  readonly partitions: readonly PartitionStatus[]
}

export interface StatusQuestion extends Need {
  readonly name: string
}

const noLag: Lag = { positions: 0, seconds: 0 }
/** Pages that are looked through for the first change that is wanted; behind them, any change counts. */
const pagesAtMost = 10
const urgency: readonly Why['code'][] = [
  'unavailable',
  'truncated',
  'retrying',
  'silent-consumer',
  'no-consumer',
  'paused',
  'not-started',
  'behind',
  'caught-up',
]

/** The status of each partition; a store that is out of reach is an answer, too. */
export async function partitionStatuses(
  port: Port,
  question: StatusQuestion,
  options?: CallOptions,
): Promise<readonly PartitionStatus[]> {
  const ids = Array.from({ length: question.partitions }, (_, i) => consumerId(question.name, i))
  try {
    const checkpoints = await readCheckpoints(port, ids, options)
    const holders = await holdersOf(port, ids.map(leaseOf), options)
    const statuses: PartitionStatus[] = []
    for (const [partition, checkpoint] of checkpoints.entries()) {
      const holder = holders[partition]
      const lag =
        checkpoint === undefined ? noLag : await lagOf(port, question, partition, checkpoint, options)
      const why =
        (await whyTruncated(port, question, partition, checkpoint, options)) ??
        whyOf(port.clock.now(), checkpoint, lag, holder)
      statuses.push({ partition, position: checkpoint?.position, lag, holder: holder?.holder, why })
    }
    return statuses
  } catch (error) {
    if (!isUnderpinError(error) || !error.retryable) throw error
    const why: Why = { code: 'unavailable', text: `The store cannot be reached: ${error.message}` }
    return ids.map((_, partition) => ({ partition, position: undefined, lag: noLag, holder: undefined, why }))
  }
}

/** The status of the whole, from those of its partitions. */
export function summaryOf(
  name: string,
  partitions: readonly PartitionStatus[],
  parked: number,
): SubscriptionStatus {
  const [worst] = partitions.toSorted((a, b) => urgency.indexOf(a.why.code) - urgency.indexOf(b.why.code))
  const [last] = partitions.toSorted((a, b) => b.lag.positions - a.lag.positions)
  const why = worst?.why ?? { code: 'not-started', text: 'It has no partitions' }
  const where = partitions.length > 1 && why.code !== 'caught-up' ? `Partition ${worst?.partition}: ` : ''
  return {
    name,
    lag: last?.lag ?? noLag,
    why: { code: why.code, text: where === '' ? why.text : `${where}${lowerFirst(why.text)}` },
    parked,
    partitions,
  }
}

async function lagOf(
  port: Port,
  { filter, key, partitions }: StatusQuestion,
  partition: number,
  { position }: StoredCheckpoint,
  options?: CallOptions,
): Promise<Lag> {
  let after = position
  for (let pages = 0; pages < pagesAtMost; pages++) {
    const page = await port.changes(after, Math.min(500, port.limits.pageItems), options)
    const first = entriesOf(port, page.items, filter, key).find(
      (entry) => partitionOf(entry.key, partitions) === partition,
    )
    if (first !== undefined) return lagFrom(port, first, page.head)
    if (page.next >= page.head) return noLag
    after = page.next
  }
  const { items, head } = await port.changes(after, 1, options)
  return items[0] === undefined ? noLag : lagFrom(port, items[0], head)
}

function lagFrom(
  port: Port,
  first: { readonly position: Position; readonly at: number },
  head: Position,
): Lag {
  return { positions: head - first.position + 1, seconds: Math.max(0, port.clock.now() - first.at) / 1_000 }
}

async function whyTruncated(
  port: Port,
  question: StatusQuestion,
  partition: number,
  checkpoint: StoredCheckpoint | undefined,
  options?: CallOptions,
): Promise<Why | undefined> {
  if (checkpoint === undefined || question.skipsCompacted) return undefined
  const needs = (stream: string) => needsStream(stream, question, partition)
  const unseen = await findUnseen(port, checkpoint.position, needs, options)
  return unseen && { code: 'truncated', text: describeUnseen(unseen) }
}

function whyOf(
  now: number,
  checkpoint: StoredCheckpoint | undefined,
  lag: Lag,
  holder: Holder | undefined,
): Why {
  if (checkpoint === undefined) return { code: 'not-started', text: 'It was never run' }
  const behind = `${lag.positions} position${lag.positions === 1 ? '' : 's'} (${lag.seconds.toFixed(1)} s) behind`
  const { isPaused, trouble, position } = checkpoint
  if (isPaused) return { code: 'paused', text: `It is paused, ${behind}` }
  if (holder === undefined) return { code: 'no-consumer', text: `Nobody runs it; it is ${behind}` }
  if (holder.silentForMs > holder.ttlMs) {
    const text = `Its consumer ${holder.holder} gave no sign of life for ${(holder.silentForMs / 1_000).toFixed(1)} s, and nobody took over; it is ${behind}`
    return { code: 'silent-consumer', text }
  }
  if (trouble !== null && trouble.position > position) {
    const until = new Date(Math.max(now, trouble.untilMs)).toISOString()
    const text = `The change at position ${trouble.position} failed in attempt ${trouble.attempt} (${trouble.error}); tried again at ${until}; it is ${behind}`
    return { code: 'retrying', text }
  }
  if (lag.positions > 0) return { code: 'behind', text: `It is ${behind}; ${holder.holder} is at work on it` }
  return { code: 'caught-up', text: `It is caught up; held by ${holder.holder}` }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
