/**
 * Where an operator wants a domain: by a flag, `ORDERS_STORE=postgres`, or in the configuration. It says where a domain
 * that is new is created, and nothing else: who holds authority is in the fences, and only a move changes that.
 */
import { UnderpinError } from './error.ts'

/** Variables by name, as `process.env` is. */
export type Flags = Readonly<Record<string, string | undefined>>

export interface Placement {
  /** The name of a backend. */
  readonly backend: string
  /** What says so: a flag, the domain's `backend`, or that it is the first one. */
  readonly by: 'flag' | 'config' | 'default'
}

/** The flag of a domain: `agent-desk` has `AGENT_DESK_STORE`. */
function flagOf(domain: string): string {
  return `${domain.toUpperCase().replaceAll('-', '_')}_STORE`
}

/** Where a domain is wanted; `invalid` for a backend that the store does not have. */
export function placementOf(
  domain: string,
  config: string | undefined,
  flags: Flags | undefined,
  backends: readonly string[],
): Placement {
  const flag = flagOf(domain)
  const value = flags?.[flag]
  if (value === undefined || value === '') {
    const backend = config ?? (backends[0] as string)
    check(backend, `Domain ${domain} is placed`, backends)
    return { backend, by: config === undefined ? 'default' : 'config' }
  }
  check(value, `The flag ${flag} places domain ${domain}`, backends)
  return { backend: value, by: 'flag' }
}

/** `invalid` if a flag that is set would be that of two domains: `a-b` and `a_b`. */
export function checkFlags(domains: readonly string[], flags: Flags = {}): void {
  for (const domain of domains) {
    const flag = flagOf(domain)
    const sharing = domains.filter((other) => flagOf(other) === flag)
    if (sharing.length === 1 || !flags[flag]) continue
    throw new UnderpinError('invalid', `The flag ${flag} is that of domains ${sharing.join(' and ')}`, {
      hint: 'Say where they are wanted in their configuration: domains: { …: { backend } }.',
    })
  }
}

function check(backend: string, what: string, backends: readonly string[]): void {
  if (backends.includes(backend)) return
  throw new UnderpinError(
    'invalid',
    `${what} on the backend ${JSON.stringify(backend)}, which is not among ${backends.join(', ')}`,
    { hint: 'Use one of these names: they are those that openStore was given.', details: { backends } },
  )
}
