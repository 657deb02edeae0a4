/**
 * Creates a domain on any of its candidates, so that two processes which want it in different places do not make two of
 * it. The first candidate is the register: whoever changes its vacant fence has decided. If the domain is wanted
 * elsewhere, an empty copy is laid out there, and the register hands off to it: a cutover of nothing, by the same steps.
 */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import { type Fence, vacantFence } from '../model/fence.ts'
import { giveUp, settle } from './cutover.ts'

export interface Creation {
  readonly domain: string
  /** In the same order in every process. */
  readonly candidates: readonly Backend[]
  /** Which of them it is wanted on. */
  readonly on: Backend
  readonly clock: Clock
}

/** Does nothing where a candidate has the domain already, and goes on where a process died that was creating it. */
export async function createDomain(creation: Creation): Promise<void> {
  for (;;) {
    const fences = await look(creation)
    if (isThere(fences)) return
    await (creation.on === creation.candidates[0] ? createHere(creation) : handOff(creation))
  }
}

/** Whether a candidate has the domain. `foreign` if two of them do, each by itself. */
export async function hasDomain({ domain, candidates }: Omit<Creation, 'on' | 'clock'>): Promise<boolean> {
  const holders = (fences: readonly Fence[]) =>
    candidates.filter((_, i) => fences[i]?.role === 'authority').map(({ name }) => name)
  const fences = await look({ domain, candidates })
  // Looked at one after the other, both sides of a cutover may seem to hold it: but not twice.
  if (holders(fences).length > 1 && holders(await look({ domain, candidates })).length > 1)
    throw new UnderpinError(
      'foreign',
      `Domain ${domain} is on ${holders(fences).join(' and on ')}, each with authority: these are two domains of one name`,
      {
        hint: 'Open the store with the backend that holds the right one alone, and remove the other one.',
        details: { domain },
      },
    )
  return isThere(fences)
}

function look({ domain, candidates }: Pick<Creation, 'domain' | 'candidates'>): Promise<readonly Fence[]> {
  return Promise.all(candidates.map((backend) => backend.fence(domain)))
}

/** By the register, or by a candidate that has more than an empty copy laid out for a domain to come. */
function isThere([register, ...others]: readonly Fence[]): boolean {
  if (register?.role !== 'vacant') return true
  return others.some((fence) => fence.role !== 'vacant' && !isLaidOut(fence))
}

function isLaidOut({ role, epoch, head }: Fence): boolean {
  return role === 'follower' && epoch === 0 && head === 0
}

async function createHere({ domain, on, clock }: Creation): Promise<void> {
  await on.transition(domain, vacantFence, {
    ...{ ...vacantFence, role: 'authority', epoch: 1, incarnation: clock.id() },
  })
}

async function handOff({ domain, candidates, on, clock }: Creation): Promise<void> {
  const register = candidates[0] as Backend
  const copy = { ...vacantFence, role: 'follower', incarnation: clock.id() } as const
  await on.transition(domain, vacantFence, copy)
  const found = await on.fence(domain)
  if (!isLaidOut(found)) return
  const { incarnation: successor } = found
  const decided = {
    ...vacantFence,
    role: 'handed-off',
    epoch: 1,
    incarnation: clock.id(),
    successor,
  } as const
  if (!(await register.transition(domain, vacantFence, decided))) return
  await settle({ domain, clock, source: register, target: on })
  await giveUp({ domain, clock, source: on, target: register })
}
