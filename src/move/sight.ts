/** What can be seen of a move from here, though a side may not answer. */
import type { CallOptions } from '../backend/backend.ts'
import { type Clock, sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import { type Fence, sameFence, vacantFence } from '../model/fence.ts'
import { within } from './again.ts'
import { leadOf, type Sides, type Stage, stageOf, turned, turnedView } from './sides.ts'
import type { Latency } from './status.ts'

export interface Sight {
  /** With the leading side as the source, as far as that can be told. */
  readonly sides: Sides
  readonly isTurned: boolean
  /** Of the leading side and of the other; undefined where a side does not answer. */
  readonly source: Fence | undefined
  readonly target: Fence | undefined
  /** Undefined unless both answer. */
  readonly stage: Stage | undefined
  readonly latency: Latency | undefined
  readonly unreachable: readonly { readonly side: 'source' | 'target'; readonly message: string }[]
}

/** Milliseconds after which a side counts as not answering. */
const answerMs = 3_000
/** Looks at each side where their time matters, of which the fastest counts: the round trip, and not what waited before it. */
export const timedLooks = 3

/** Looks at both sides, without changing anything. Fails only if the signal aborts. */
export async function see(given: Sides, signal?: AbortSignal, times = 1): Promise<Sight> {
  // Together: one that does not answer is waited for once.
  let [source, target] = await Promise.all([
    seeOne(given, 'source', signal, times),
    seeOne(given, 'target', signal, times),
  ])
  // One look between two equal ones of the other side: then both were so at one moment.
  for (let isOneMoment = false; !isOneMoment && source.fence !== undefined && target.fence !== undefined; ) {
    const before = source.fence
    target = { ...(await seeOne(given, 'target', signal)), ms: target.ms }
    source = { ...(await seeOne(given, 'source', signal)), ms: source.ms }
    isOneMoment = source.fence === undefined || sameCopy(source.fence, before)
  }
  signal?.throwIfAborted()
  const view = {
    source: source.fence ?? vacantFence,
    target: target.fence ?? vacantFence,
    last: 'target',
  } as const
  const isTurned = leadOf(view) === 'target'
  const led = isTurned ? turnedView(view) : view
  const [first, second] = isTurned ? [target, source] : [source, target]
  const isSeen = first.fence !== undefined && second.fence !== undefined
  return {
    sides: isTurned ? turned(given) : given,
    isTurned,
    ...{ source: first.fence, target: second.fence },
    stage: isSeen ? stageOf(led) : undefined,
    latency: isSeen ? { sourceMs: first.ms, targetMs: second.ms } : undefined,
    unreachable: [
      ...(first.fence === undefined ? [{ side: 'source' as const, message: first.message }] : []),
      ...(second.fence === undefined ? [{ side: 'target' as const, message: second.message }] : []),
    ],
  }
}

/** The same but for its head, which moves without a transition. */
function sameCopy(a: Fence, b: Fence): boolean {
  return sameFence(a, { ...b, head: a.head, digest: a.digest })
}

interface Look {
  /** Undefined if the side does not answer. */
  readonly fence: Fence | undefined
  readonly message: string
  readonly ms: number
}

async function seeOne(
  sides: Sides,
  side: 'source' | 'target',
  signal: AbortSignal | undefined,
  times = 1,
): Promise<Look> {
  const { clock, domain } = sides
  try {
    return await within(clock, answerMs, signal, async (over) => {
      let [fence, ms]: [Fence, number] = [vacantFence, Number.POSITIVE_INFINITY]
      for (let i = 0; i < times; i++) {
        const since = clock.monotonic()
        fence = await askAgain(clock, over, (options) => sides[side].fence(domain, options))
        ms = Math.min(ms, clock.monotonic() - since)
      }
      return { fence, message: '', ms }
    })
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    const message = error.code === 'aborted' ? `no answer within ${answerMs} ms` : error.message
    return { fence: undefined, message, ms: Number.POSITIVE_INFINITY }
  }
}

/** Milliseconds between two questions to a side that is out of reach. */
const askEveryMs = 50

/** Asks until there is an answer. When the signal aborts, the last failure stands, which says more than that it did. */
async function askAgain<T>(
  clock: Clock,
  signal: AbortSignal,
  ask: (options: CallOptions) => Promise<T>,
): Promise<T> {
  // Who has waited for ever already is not made to wait by the store, which would keep the failure to itself.
  const options = { signal, since: Number.NEGATIVE_INFINITY }
  for (;;)
    try {
      return await ask(options)
    } catch (error) {
      if (signal.aborted || !isUnderpinError(error, 'unavailable')) throw error
      await sleep(clock, askEveryMs, signal)
      if (signal.aborted) throw error
    }
}

/** What is seen when both sides answer. */
export interface FullSight extends Sight {
  readonly source: Fence
  readonly target: Fence
  readonly stage: Stage
}

/** Looks at both sides; `unavailable` if one does not answer. */
export async function seeBoth(given: Sides, signal?: AbortSignal): Promise<FullSight> {
  return requireBoth(await see(given, signal))
}

/** What was seen, if both sides answered; else `unavailable`. */
export function requireBoth(sight: Sight): FullSight {
  const { domain } = sight.sides
  const { source, target, stage } = sight
  if (source !== undefined && target !== undefined && stage !== undefined)
    return { ...sight, source, target, stage }
  const messages = sight.unreachable.map(({ side, message }) => `${sight.sides[side].name}: ${message}`)
  throw new UnderpinError(
    'unavailable',
    `Domain ${domain}: a side does not answer (${messages.join('; ')})`,
    {
      hint: 'underpin move status tells what can be done meanwhile.',
      details: { domain },
    },
  )
}
