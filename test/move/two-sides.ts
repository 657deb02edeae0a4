/** Two bare backends for tests of moves: a domain for each run, so that runs need no place of their own. */

import { memory } from '../../src/backend/memory.ts'
import { systemClock } from '../../src/clock.ts'
import type { Backend } from '../../src/index.ts'
import { openBackend } from '../../src/index.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { encodeValue } from '../../src/model/value.ts'
import { Move } from '../../src/move/move.ts'
import { wrap } from '../../src/wrapper/forward.ts'
import { retry } from '../../src/wrapper/retry.ts'
import type { PlaceKind } from '../places.ts'

export interface TwoSides {
  readonly a: Backend
  readonly b: Backend
}

async function openSide(kind: PlaceKind): Promise<Backend> {
  const { url } = kind.make()
  const backend = url === undefined ? memory() : await openBackend(url)
  await backend.open()
  return wrap(backend, [retry({ clock: systemClock, deadlineMs: 2_000 })])
}

export async function openSides(a: PlaceKind, b: PlaceKind): Promise<TwoSides> {
  return { a: await openSide(a), b: await openSide(b) }
}

export async function closeSides({ a, b }: TwoSides): Promise<void> {
  await a.close()
  await b.close()
}

/** A domain with events, which `a` holds. */
export async function createDomain({ a }: TwoSides, domain: string, events = 12): Promise<void> {
  await a.transition(domain, vacantFence, {
    ...{ ...vacantFence, role: 'authority', epoch: 1, incarnation: systemClock.id() },
  })
  for (let i = 0; i < events; i++) await append(a, domain, i)
}

/** An event, at whoever holds authority. */
export async function append(on: Backend, domain: string, i: number): Promise<void> {
  const { epoch } = await on.fence(domain)
  const data = encodeValue(i)
  const write = { kind: 'append', stream: 's', type: 'E', data, meta: null } as const
  await on.commit(domain, epoch, [{ at: systemClock.now(), writes: [write], checks: [] }])
}

export function moveOf({ a, b }: TwoSides, domain: string, clock = systemClock): Move {
  return new Move(domain, { from: { name: 'a', backend: a }, to: { name: 'b', backend: b } }, clock)
}

/** What the stream holds, by who holds authority; undefined if nobody does. */
export async function eventsOf({ a, b }: TwoSides, domain: string): Promise<unknown[] | undefined> {
  for (const side of [a, b]) {
    const { role } = await side.fence(domain)
    if (role !== 'authority') continue
    const range = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 1_000 }
    return (await side.read(domain, 's', range)).items.map(({ data }) => JSON.parse(data))
  }
  return undefined
}
