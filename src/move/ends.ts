/** The two backends of a move, found among those of a store. */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Fence } from '../model/fence.ts'
import { within } from './again.ts'

export interface MoveOptions {
  /** The backend that the domain shall move to, by its name in the store. */
  readonly to: string
  /** The backend that it moves from; the one with authority (or, behind a cutover, the old side), if left out. */
  readonly from?: string
}

/** Where an operator wants a domain, by a flag or the configuration: it decides nothing. */
export interface Wanted {
  readonly backend: string
  readonly by: 'flag' | 'config' | 'default'
}

export interface MoveEnds {
  readonly wanted?: Wanted | undefined
  readonly from: { readonly name: string; readonly backend: Backend }
  readonly to: { readonly name: string; readonly backend: Backend }
}

/** Finds the two ends among a store's backends. One that does not answer is passed over, if the others tell enough. */
export async function endsOf(
  domain: string,
  backends: ReadonlyMap<string, Backend>,
  { to, from }: MoveOptions,
  clock: Clock,
): Promise<MoveEnds> {
  const target = end(backends, to)
  if (from === to) throw new UnderpinError('invalid', `A domain cannot move from ${to} to itself`)
  if (from !== undefined) return { from: end(backends, from), to: target }
  const others = [...backends.keys()].filter((name) => name !== to)
  const [only] = others
  if (only !== undefined && others.length === 1) return { from: end(backends, only), to: target }
  const seen = new Map<string, Fence | undefined>()
  await Promise.all(
    [to, ...others].map(async (name) =>
      seen.set(name, await seeFence(end(backends, name).backend, domain, clock)),
    ),
  )
  const successor = seen.get(to)?.successor ?? null
  const found = others.find((name) => {
    const fence = seen.get(name)
    if (fence === undefined) return false
    return successor === null
      ? ['authority', 'sealed', 'handed-off'].includes(fence.role)
      : fence.incarnation === successor
  })
  if (found !== undefined) return { from: end(backends, found), to: target }
  const away = [...seen].filter(([, fence]) => fence === undefined).map(([name]) => name)
  throw new UnderpinError(
    'invalid',
    `None of ${others.join(', ')} holds domain ${domain} or is its old side${away.length > 0 ? `; ${away.join(', ')} did not answer` : ''}`,
    { hint: 'Say which backend it moves from.' },
  )
}

/** Milliseconds after which a backend is passed over. */
const answerMs = 3_000

async function seeFence(backend: Backend, domain: string, clock: Clock): Promise<Fence | undefined> {
  try {
    return await within(clock, answerMs, undefined, (signal) => backend.fence(domain, { signal }))
  } catch (error) {
    // Named in the refusal, if nothing better is found without it.
    if (isUnderpinError(error)) return undefined
    throw error
  }
}

function end(backends: ReadonlyMap<string, Backend>, name: string) {
  const backend = backends.get(name)
  if (backend !== undefined) return { name, backend }
  throw new UnderpinError(
    'invalid',
    `The store has no backend ${JSON.stringify(name)}: it has ${[...backends.keys()].join(', ')}`,
  )
}
