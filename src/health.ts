/** The health of a store's domains: who holds them, where they are wanted, and what is in the way. */
import type { Backend, CallOptions } from './backend/backend.ts'
import { type Clock, sleep } from './clock.ts'
import { type ErrorCode, isUnderpinError } from './error.ts'
import type { Fence } from './model/fence.ts'
import type { Position } from './model/position.ts'
import { type Stage, stageOf } from './move/sides.ts'
import type { Placement } from './placement.ts'

/** How a backend stands to a domain. */
export type BackendHealth =
  | { readonly isReachable: true; readonly fence: Fence }
  | { readonly isReachable: false; readonly code: ErrorCode | 'error'; readonly message: string }

export interface DomainHealth {
  readonly domain: string
  /** The backend that accepts commits now; null while none does, or while the one that may cannot be reached. */
  readonly authority: string | null
  readonly epoch: number | null
  readonly head: Position | null
  readonly backends: Readonly<Record<string, BackendHealth>>
  /** Where a move between two of the backends stands; null if there is none. */
  readonly move: { readonly from: string; readonly to: string; readonly stage: Stage } | null
  readonly wanted: Placement
  /** What is not as it should be, each with what to do; empty if all is well. */
  readonly problems: readonly string[]
}

export interface StoreHealth {
  /** Every domain has a backend that accepts commits. Backends out of reach and unmet wishes are problems, but no illness. */
  readonly isHealthy: boolean
  readonly domains: readonly DomainHealth[]
}

export interface HealthOptions extends CallOptions {
  /** Milliseconds after which a backend that has not answered counts as out of reach; 2,000 if left out. */
  readonly timeoutMs?: number
}

export async function domainHealth(
  domain: string,
  backends: ReadonlyMap<string, Backend>,
  wanted: Placement,
  clock: Clock,
  options: HealthOptions = {},
): Promise<DomainHealth> {
  const entries = [...backends].map(async ([name, backend]) => {
    return [name, await backendHealth(domain, backend, clock, options)] as const
  })
  const found = await Promise.all(entries)
  const fences = found.flatMap(([name, health]) =>
    health.isReachable ? [{ name, fence: health.fence }] : [],
  )
  const holder = fences.find(({ fence }) => fence.role === 'authority')
  const move = moveOf(fences)
  return {
    domain,
    authority: holder?.name ?? null,
    epoch: holder?.fence.epoch ?? null,
    head: holder?.fence.head ?? null,
    backends: Object.fromEntries(found),
    move,
    wanted,
    problems: [
      ...found.flatMap(([name, health]) => (health.isReachable ? [] : [`${name}: ${health.message}`])),
      ...(holder === undefined
        ? [`No backend accepts commits${move === null ? '' : `: ${told(move)}`}.`]
        : []),
      ...misplaced(domain, holder?.name, wanted, move),
    ],
  }
}

async function backendHealth(
  domain: string,
  backend: Backend,
  clock: Clock,
  { signal, timeoutMs = 2_000 }: HealthOptions,
): Promise<BackendHealth> {
  const over = new AbortController()
  const end = () => over.abort(signal?.reason)
  signal?.addEventListener('abort', end, { once: true })
  if (signal?.aborted) end()
  const asked = backend.fence(domain, { signal: over.signal })
  const late = sleep(clock, timeoutMs, over.signal).then(() => undefined)
  try {
    const fence = await Promise.race([asked, late])
    if (fence !== undefined) return { isReachable: true, fence }
    return { isReachable: false, code: 'timeout', message: `no answer within ${timeoutMs} ms` }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { isReachable: false, code: isUnderpinError(error) ? error.code : 'error', message }
  } finally {
    signal?.removeEventListener('abort', end)
    over.abort()
    // It was given up: how it ends is of no matter any more.
    void Promise.allSettled([asked])
  }
}

interface Named {
  readonly name: string
  readonly fence: Fence
}

/** Between who leads, the one of the highest epoch that holds or held authority last, and the copy that it names. */
function moveOf(fences: readonly Named[]): DomainHealth['move'] {
  const [from] = fences
    .filter(({ fence }) => ['authority', 'sealed', 'handed-off'].includes(fence.role))
    .sort((a, b) => b.fence.epoch - a.fence.epoch || rank(a.fence) - rank(b.fence))
  if (from === undefined || from.fence.successor === null) return null
  const to = fences.find(({ fence }) => fence.incarnation === from.fence.successor)
  if (to === undefined) return null
  return { from: from.name, to: to.name, stage: stageOf({ source: from.fence, target: to.fence }) }
}

function rank({ role }: Fence): number {
  return role === 'authority' ? 0 : 1
}

function told({ from, to, stage }: NonNullable<DomainHealth['move']>): string {
  return `the move from ${from} to ${to} is ${stage}; underpin move status says how it goes on`
}

function misplaced(
  domain: string,
  authority: string | undefined,
  { backend, by }: Placement,
  move: DomainHealth['move'],
): string[] {
  if (by === 'default' || authority === undefined || authority === backend) return []
  const next =
    move === null ? `underpin move plan -d ${domain} -s URL --to URL (of ${backend})` : 'underpin move status'
  return [
    `${by === 'flag' ? 'A flag' : 'The configuration'} wants it on ${backend}, it is on ${authority}: ${next}`,
  ]
}
