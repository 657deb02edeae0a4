/** The two backends of a move, and what is done to their fences: one compare-and-set at a time. */
import type { Backend, CallOptions } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import { type Decision, isStep, type View } from './protocol.ts'

export interface Sides {
  readonly domain: string
  readonly source: Backend
  readonly target: Backend
  readonly clock: Clock
}

/** The same two the other way round, as after a cutover. */
export function turned({ source, target, ...rest }: Sides): Sides {
  return { ...rest, source: target, target: source }
}

/** Both fences; the source is read after the target if `last` says so. */
export async function look(
  { domain, source, target }: Sides,
  options?: CallOptions,
  last: View['last'] = 'target',
): Promise<View> {
  if (last === 'target') {
    const seen = await source.fence(domain, options)
    return { source: seen, target: await target.fence(domain, options), last }
  }
  const seen = await target.fence(domain, options)
  return { source: await source.fence(domain, options), target: seen, last }
}

/** Both fences, read at the same time: shorter, where writers wait. Which was read last is not known, so the source counts as first. */
export async function lookAtOnce({ domain, source, target }: Sides, options?: CallOptions): Promise<View> {
  const fences = [source.fence(domain, options), target.fence(domain, options)] as const
  const [seen, copy] = await Promise.all(fences)
  return { source: seen, target: copy, last: 'target' }
}

/** Takes a step that the protocol allows: false if the fence is another one by now. `gate` if it does not allow it. */
export async function take(sides: Sides, decision: Decision, options?: CallOptions): Promise<boolean> {
  if (!isStep(decision))
    throw new UnderpinError('gate', `Domain ${sides.domain}: ${decision.why}`, {
      hint: 'Look again: underpin move status tells what can be done.',
      details: { domain: sides.domain },
    })
  return sides[decision.at].transition(sides.domain, decision.from, decision.to, options)
}

/** Where a domain stands between two backends, by their fences alone: from the side that holds, or held last, authority. */
export type Stage =
  /** The other side holds no copy that counts. */
  | 'alone'
  /** The other side has an empty copy that the leading one does not name yet. */
  | 'prepared'
  /** The leading side names the copy, which does not follow yet. */
  | 'named'
  /** The other side follows: backfill, mirror, or reverse mirror. */
  | 'mirroring'
  /** The leading side is sealed; nothing is decided. */
  | 'sealed'
  /** Decided for the other side, which is not open yet. */
  | 'decided'
  /** Decided for a copy that is poisoned: the leading side has to be reclaimed. */
  | 'stranded'
  /** The leading side was just opened, and the old one does not follow it yet. */
  | 'turning'

/** Which side holds, or held last, authority. */
export function leadOf({ source, target }: Pick<View, 'source' | 'target'>): 'source' | 'target' {
  if (source.role === 'authority') return 'source'
  return ['authority', 'sealed', 'handed-off'].includes(target.role) ? 'target' : 'source'
}

/** The same view with the other side as the source. */
export function turnedView({ source, target, last }: View): View {
  return { source: target, target: source, last: last === 'source' ? 'target' : 'source' }
}

/** The stage of a view whose source leads. */
export function stageOf({ source, target }: Pick<View, 'source' | 'target'>): Stage {
  if (source.role === 'sealed') return 'sealed'
  if (source.role === 'handed-off') return target.role === 'follower' ? 'decided' : 'stranded'
  if (source.role !== 'authority') return 'alone'
  const isNamed = source.successor !== null && source.successor === target.incarnation
  if (target.role === 'handed-off') return isNamed ? 'turning' : 'alone'
  if (target.role === 'follower') return isNamed ? 'mirroring' : 'alone'
  if (target.role === 'prepared') return isNamed ? 'named' : 'prepared'
  return 'alone'
}

/** The sides and their view with the leading side as the source; `isTurned` if that is the target that was given. */
export async function lookFromLead(
  sides: Sides,
  options?: CallOptions,
): Promise<{ sides: Sides; view: View; stage: Stage; isTurned: boolean }> {
  const view = await look(sides, options)
  const isTurned = leadOf(view) === 'target'
  const led = isTurned ? turnedView(view) : view
  return { sides: isTurned ? turned(sides) : sides, view: led, stage: stageOf(led), isTurned }
}
