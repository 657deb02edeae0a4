/** Measures what the target takes to copy a record, on an empty copy of a domain that is nobody's. */
import type { Backend, CallOptions } from '../../backend/backend.ts'
import type { Clock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { emptyDigest } from '../../model/digest.ts'
import type { Fence, Role } from '../../model/fence.ts'
import type { FeedPart } from '../../model/page.ts'

/** Its fence stays, poisoned; what was written to it is removed. */
const probeDomain = 'underpin-probe'

/**
 * Applies pages, the first of a feed, and removes them again. Milliseconds for each record; undefined if there are none.
 * `foreign` if somebody uses a domain of that name, `locked` if another probe is under way.
 */
export async function probeTarget(
  target: Backend,
  pages: readonly FeedPart[],
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const records = pages.reduce((sum, { items }) => sum + items.length, 0)
  if (records === 0) return undefined
  const options = signal && { signal }
  const copy = await prepareProbe(target, clock, options)
  try {
    const since = clock.monotonic()
    for (const page of pages) await target.apply(probeDomain, copy.epoch, page, options)
    return (clock.monotonic() - since) / records
  } finally {
    await clearProbe(target, clock)
  }
}

async function prepareProbe(target: Backend, clock: Clock, options: CallOptions | undefined): Promise<Fence> {
  const found = await target.fence(probeDomain, options)
  if (!['vacant', 'poisoned', 'prepared', 'follower'].includes(found.role))
    throw new UnderpinError('foreign', `${target.name} holds a domain ${probeDomain} that somebody uses`, {
      hint: 'Plan without the probe.',
    })
  // One that was killed left a copy behind.
  const free =
    found.role === 'prepared' || found.role === 'follower'
      ? await step(target, found, 'poisoned', options)
      : found
  const prepared = await step(target, free, 'prepared', options, clock.id())
  return step(target, prepared, 'follower', options)
}

/** Becoming `prepared` is what empties a copy. */
async function clearProbe(target: Backend, clock: Clock): Promise<void> {
  const found = await target.fence(probeDomain)
  if (found.role !== 'follower') return
  const poisoned = await step(target, found, 'poisoned', undefined)
  const emptied = await step(target, poisoned, 'prepared', undefined, clock.id())
  await step(target, emptied, 'poisoned', undefined)
}

async function step(
  target: Backend,
  from: Fence,
  role: Role,
  options: CallOptions | undefined,
  incarnation = from.incarnation,
): Promise<Fence> {
  const isNew = role === 'prepared'
  const to = {
    ...from,
    role,
    incarnation,
    epoch: from.epoch + 1,
    ...(isNew && { head: 0, digest: emptyDigest }),
  }
  // Taken from the fence as it is now: of one that follows, head and digest have moved with its pages.
  if (await target.transition(probeDomain, from, to, options)) return to
  throw new UnderpinError('locked', `Somebody else probes ${target.name} at the same time`, {
    hint: 'Plan again.',
  })
}
