/**
 * The search for who holds authority over a domain: one for all calls that wait. Each candidate is looked at again and
 * again, by itself, so that one that does not answer holds up nobody whose domain is with another.
 */
import type { Backend } from './backend/backend.ts'
import { type Clock, sleep } from './clock.ts'
import { UnderpinError } from './error.ts'
import type { Fence, Role } from './model/fence.ts'

/** A backend, and the epoch under which calls name it. */
export interface Authority {
  readonly backend: Backend
  readonly epoch: number
}

/** What a search found. */
export interface Found extends Authority {
  readonly role: Role
}

/** A candidate's fence as it was seen last, and since when it has been in that role under that epoch. */
export interface Sighting {
  readonly backend: Backend
  readonly fence: Fence
  /** By the clock's monotonic time. */
  readonly since: number
}

/** May help a domain that nobody holds authority over; called while calls wait, one call at a time. */
export type Help = (seen: readonly Sighting[], signal: AbortSignal) => Promise<void>

export interface SearchOptions {
  readonly clock: Clock
  readonly deadlineMs: number
  /** What is searched for: whoever is in one of these roles. */
  readonly roles: readonly Role[]
  readonly help?: Help | undefined
}

export interface FindOptions {
  /** When the call that waits began, by the clock's monotonic time; it waits until its signal aborts, if left out. */
  readonly since?: number
  readonly signal?: AbortSignal | undefined
  /** Who refused the call: it counts again only when it has been looked at twice. */
  readonly refused?: Authority | undefined
}

/** Milliseconds between two looks: a part of the time that was waited already, so that a short pause stays short. */
const leastDelayMs = 1
const mostDelayMs = 50
const delayPart = 0.25

export class Search {
  readonly #domain: string
  readonly #candidates: readonly Backend[]
  readonly #options: SearchOptions
  #round: Round | undefined

  constructor(domain: string, candidates: readonly Backend[], options: SearchOptions) {
    this.#domain = domain
    this.#candidates = candidates
    this.#options = options
  }

  /**
   * Ends with the signal (`aborted`) or when the deadline of the call has passed: `fenced`, or `unavailable` if a
   * candidate that may be the one cannot be reached. At once if no candidate can be: all are vacant, closed or out of reach.
   */
  find({ since, signal, refused }: FindOptions): Promise<Found> {
    const { clock, deadlineMs } = this.#options
    const leftMs = (begun: number) => Math.max(0, deadlineMs - (clock.monotonic() - begun))
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedError(signal))
      const round = this.#join(refused)
      const end = (answer: () => void) => {
        cancel()
        signal?.removeEventListener('abort', onAbort)
        this.#leave(round)
        answer()
      }
      const onAbort = () => end(() => reject(abortedError(signal)))
      const onDeadline = () => end(() => reject(this.#nobody(round)))
      const cancel = since === undefined ? () => {} : clock.timer(leftMs(since), onDeadline)
      signal?.addEventListener('abort', onAbort, { once: true })
      round.found.then(
        (found) => end(() => resolve(found)),
        (error) => end(() => reject(error)),
      )
    })
  }

  /** All that wait fail with `closed`. */
  close(): void {
    if (this.#round !== undefined)
      this.#fail(this.#round, new UnderpinError('closed', 'The store was closed'))
  }

  /** What a call fails with that waited for its deadline. */
  nobody(): UnderpinError {
    return this.#nobody(this.#round)
  }

  #nobody({ sightings, errors, helpError }: Round = new Round(0)): UnderpinError {
    const found = this.#candidates.map((backend) => {
      const role = sightings.get(backend)?.fence.role
      return `${backend.name}: ${role ?? 'not seen'}`
    })
    const [cause = helpError] = [...errors.values()]
    return new UnderpinError(
      errors.size === 0 ? 'fenced' : 'unavailable',
      `No backend holds authority over domain ${this.#domain} (${found.join(', ')})`,
      {
        hint: 'Nothing was written. If the domain is being moved, `underpin move status` says where that stands.',
        details: { domain: this.#domain },
        ...(cause === undefined ? {} : { cause }),
      },
    )
  }

  #join(refused: Authority | undefined): Round {
    const round = this.#round ?? this.#begin()
    round.callers++
    if (refused !== undefined) round.refused.push(refused)
    return round
  }

  #leave(round: Round): void {
    if (--round.callers === 0) this.#end(round)
  }

  #begin(): Round {
    const round = new Round(this.#options.clock.monotonic())
    this.#round = round
    // A promise that every caller has left may fail with nobody there to hear of it.
    void Promise.allSettled([round.found])
    for (const backend of this.#candidates) void this.#watch(round, backend)
    return round
  }

  #end(round: Round): void {
    round.over.abort()
    if (this.#round === round) this.#round = undefined
  }

  async #watch(round: Round, backend: Backend): Promise<void> {
    const { clock } = this.#options
    const { signal } = round.over
    for (let looks = 1; !signal.aborted; looks++) {
      try {
        this.#see(round, backend, await backend.fence(this.#domain, { signal }), looks)
      } catch (error) {
        this.#miss(round, backend, error)
      }
      const waitedMs = (clock.monotonic() - round.since) * delayPart
      const delayMs = Math.min(mostDelayMs, Math.max(leastDelayMs, waitedMs))
      if (!signal.aborted) await sleep(clock, delayMs * (0.75 + clock.random() / 2), signal)
    }
  }

  #see(round: Round, backend: Backend, fence: Fence, looks: number): void {
    if (round.over.signal.aborted) return
    const { clock } = this.#options
    const { sightings, errors } = round
    const before = sightings.get(backend)
    const isAsBefore = before?.fence.role === fence.role && before.fence.epoch === fence.epoch
    sightings.set(backend, { backend, fence, since: isAsBefore ? before.since : clock.monotonic() })
    errors.delete(backend)
    const isRefused = round.refused.some((by) => by.backend === backend && by.epoch === fence.epoch)
    if (this.#options.roles.includes(fence.role) && !(isRefused && looks === 1)) {
      this.#end(round)
      round.resolve({ backend, epoch: fence.epoch, role: fence.role })
      return
    }
    const isVacant = [...sightings.values()].every((seen) => seen.fence.role === 'vacant')
    if (isVacant && sightings.size === this.#candidates.length) this.#fail(round, this.#nobody(round))
    else if (looks > 1) this.#help(round)
  }

  #miss(round: Round, backend: Backend, error: unknown): void {
    if (round.over.signal.aborted) return
    round.errors.set(backend, error)
    if (round.errors.size === this.#candidates.length) this.#fail(round, error)
  }

  #fail(round: Round, error: unknown): void {
    this.#end(round)
    round.reject(error)
  }

  #help(round: Round): void {
    const { help } = this.#options
    if (help === undefined || round.isHelping) return
    round.isHelping = true
    help([...round.sightings.values()], round.over.signal)
      .catch((error: unknown) => {
        // The search goes on: whoever is not found in time hears of it.
        round.helpError = error
      })
      .finally(() => {
        round.isHelping = false
      })
  }
}

/** One search, from the first call that waits until somebody is found or nobody waits any more. */
class Round {
  readonly since: number
  readonly sightings = new Map<Backend, Sighting>()
  /** Why candidates could not be looked at. */
  readonly errors = new Map<Backend, unknown>()
  readonly refused: Authority[] = []
  readonly over = new AbortController()
  readonly found: Promise<Found>
  resolve: (found: Found) => void = () => {}
  reject: (error: unknown) => void = () => {}
  callers = 0
  isHelping = false
  helpError: unknown

  constructor(since: number) {
    this.since = since
    this.found = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

function abortedError(signal: AbortSignal | undefined): UnderpinError {
  return new UnderpinError('aborted', 'The call was aborted; nothing was written', { cause: signal?.reason })
}
