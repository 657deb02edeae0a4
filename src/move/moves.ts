/** Moves of several domains as one: the same verbs over a list. */

import { isUnderpinError, UnderpinError } from '../error.ts'
import { type CutOptions, checkGates } from './cut.ts'
import type { Gap, Progress } from './mirror.ts'
import type { By, CallWith, Drill, Ending, Move, StartOptions } from './move.ts'
import type { MovePlan, PlanOptions } from './plan.ts'
import type { CutoverReport } from './report.ts'
import type { SettingsChange } from './settings.ts'
import type { SoakOptions } from './soak.ts'
import type { MoveStatus, Phase } from './status.ts'
import type { CompareOptions, Comparison } from './verify.ts'

/** What each domain's move answered, by domain, in the order in which they were named. */
export type PerDomain<T> = ReadonlyMap<string, T>

export class Moves {
  /** The move of each domain. */
  readonly moves: PerDomain<Move>

  /** Use `store.moves(domains, { to })`. */
  constructor(moves: readonly Move[]) {
    this.moves = new Map(moves.map((move) => [move.domain, move]))
  }

  plan(options?: PlanOptions): Promise<PerDomain<MovePlan>> {
    return this.#inTurn((move) => move.plan(options))
  }

  status(options?: CallWith): Promise<PerDomain<MoveStatus>> {
    return this.#inTurn((move) => move.status(options))
  }

  start(options?: StartOptions): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.start(options))
  }

  /** Copies all of them until the signal aborts. */
  async run(options: {
    readonly signal: AbortSignal
    readonly onProgress?: (domain: string, progress: Progress) => void
  }): Promise<void> {
    await together(this.#list, options.signal, (move, signal) =>
      move.run({ signal, onProgress: (progress) => options.onProgress?.(move.domain, progress) }),
    )
  }

  catchUp(options?: CallWith): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.catchUp(options))
  }

  pause(): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.pause())
  }

  resume(): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.resume())
  }

  set(settings: SettingsChange): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.set(settings))
  }

  verify(options?: CompareOptions): Promise<PerDomain<Comparison>> {
    return this.#inTurn((move) => move.verify(options))
  }

  gaps(options?: CallWith): Promise<PerDomain<readonly Gap[]>> {
    return this.#inTurn((move) => move.gaps(options))
  }

  /** Soaks all of them at once; ends when all have soaked, or one fails. */
  async soak(options: SoakOptions): Promise<PerDomain<MoveStatus>> {
    const statuses = await together(this.#list, options.signal, (move, signal) =>
      move.soak({ ...options, signal }),
    )
    return new Map(statuses.map((status) => [status.domain, status]))
  }

  /**
   * Cuts over one domain after the other, once all gates of all of them hold: else `gate`, and nothing was done. Where one
   * fails, it stops: `details` has the domains that are `done`, the one that `failed`, and those that are `left`; the same
   * call again goes on there. With `hold`, all of them wait until {@link go}.
   */
  cutover(options: CutOptions = {}): Promise<PerDomain<CutoverReport>> {
    return this.#cut('to', options)
  }

  /** The same in the other direction. */
  rollback(options: CutOptions = {}): Promise<PerDomain<CutoverReport>> {
    return this.#cut('from', options)
  }

  /** Lets those that are held go on. */
  async go(): Promise<void> {
    const statuses = await this.status()
    const held = this.#list.filter(({ domain }) => statuses.get(domain)?.record?.isHeld)
    if (held.length === 0)
      throw new UnderpinError('gate', 'None of the domains has a cutover that is held', {
        hint: 'Cut over with hold.',
      })
    for (const move of held) await move.go()
  }

  complete(options?: By): Promise<PerDomain<Ending>> {
    return this.#inTurn((move) => move.complete(options))
  }

  cancel(options?: By): Promise<PerDomain<Ending>> {
    return this.#inTurn((move) => move.cancel(options))
  }

  drill(options?: Omit<CutOptions, 'hold'>): Promise<PerDomain<Drill>> {
    return this.#inTurn((move) => move.drill(options))
  }

  report(options?: CallWith): Promise<PerDomain<readonly CutoverReport[]>> {
    return this.#inTurn((move) => move.report(options))
  }

  async #cut(
    goal: 'to' | 'from',
    { hold = false, ...options }: CutOptions,
  ): Promise<PerDomain<CutoverReport>> {
    const waiting = await this.#waiting(goal, options, hold)
    if (hold) {
      await together(waiting, options.signal, (move, signal) => move.hold({ signal }))
      await this.#waiting(goal, options, false)
    }
    const reports = new Map<string, CutoverReport>()
    const done = [...this.moves.keys()].filter((domain) => !waiting.some((move) => move.domain === domain))
    for (const [at, move] of waiting.entries()) {
      try {
        reports.set(move.domain, await (goal === 'to' ? move.cutover(options) : move.rollback(options)))
        done.push(move.domain)
      } catch (error) {
        throw stoppedAt(move.domain, done, waiting.slice(at + 1), error)
      }
    }
    return reports
  }

  /** Those that are not where they shall be; `gate` unless all gates of all of them hold. */
  async #waiting(
    goal: 'to' | 'from',
    { force, signal }: CutOptions,
    mayBeHeld: boolean,
  ): Promise<readonly Move[]> {
    const statuses = await this.status(signal && { signal })
    const waiting = this.#list.filter((move) => statuses.get(move.domain)?.authority !== move[goal])
    for (const { domain } of waiting) {
      const status = statuses.get(domain)
      // One that was begun goes on: its gates held when it was.
      if (status !== undefined && !begun.includes(status.phase)) checkGates(status, force, mayBeHeld)
    }
    return waiting
  }

  async #inTurn<T>(call: (move: Move) => Promise<T>): Promise<PerDomain<T>> {
    const answers = new Map<string, T>()
    for (const move of this.moves.values()) answers.set(move.domain, await call(move))
    return answers
  }

  get #list(): readonly Move[] {
    return [...this.moves.values()]
  }
}

/** The same for several moves at once; where one fails, the others are ended, and the first failure stands. */
async function together<T>(
  moves: readonly Move[],
  signal: AbortSignal | undefined,
  call: (move: Move, signal: AbortSignal) => Promise<T>,
): Promise<readonly T[]> {
  const over = new AbortController()
  const onAbort = () => over.abort(signal?.reason)
  if (signal?.aborted) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  const failures: unknown[] = []
  const calls = moves.map(async (move) => {
    try {
      return [await call(move, over.signal)]
    } catch (error) {
      failures.push(error)
      over.abort(error)
      return []
    }
  })
  const answers = await Promise.all(calls)
  signal?.removeEventListener('abort', onAbort)
  if (failures.length > 0) throw failures[0]
  return answers.flat(1) as T[]
}

/** Phases in which a cutover is under way. */
const begun: readonly Phase[] = ['sealed', 'decided', 'turning', 'stranded']

function stoppedAt(failed: string, done: readonly string[], left: readonly Move[], cause: unknown): unknown {
  if (!isUnderpinError(cause)) return cause
  const names = left.map(({ domain }) => domain)
  return new UnderpinError(
    cause.code,
    `Stopped at ${failed}: ${cause.message}. Done: ${done.join(', ') || 'none'}; left: ${names.join(', ') || 'none'}`,
    {
      ...(cause.hint !== undefined && { hint: cause.hint }),
      details: { ...cause.details, done, failed, left: names },
      cause,
    },
  )
}
