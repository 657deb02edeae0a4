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
    await this.#atOnce((move) =>
      move.run({
        signal: options.signal,
        onProgress: (progress) => options.onProgress?.(move.domain, progress),
      }),
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

  soak(options: SoakOptions): Promise<PerDomain<MoveStatus>> {
    return this.#atOnce((move) => move.soak(options))
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
    const held = [...this.moves.values()].filter(({ domain }) => statuses.get(domain)?.record?.isHeld)
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
      await this.#hold(waiting, options.signal)
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
    const waiting = [...this.moves.values()].filter(
      (move) => statuses.get(move.domain)?.authority !== move[goal],
    )
    for (const { domain } of waiting) {
      const status = statuses.get(domain)
      // One that was begun goes on: its gates held when it was.
      if (status !== undefined && !begun.includes(status.phase)) checkGates(status, force, mayBeHeld)
    }
    return waiting
  }

  /** All of them wait; one that cannot withdraws the holds of the others. */
  async #hold(moves: readonly Move[], signal: AbortSignal | undefined): Promise<void> {
    const over = new AbortController()
    const onAbort = () => over.abort(signal?.reason)
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    const holding = moves.map(async (move) => {
      try {
        await move.hold({ signal: over.signal })
      } catch (error) {
        over.abort(error)
        throw error
      }
    })
    const settled = await Promise.allSettled(holding)
    signal?.removeEventListener('abort', onAbort)
    for (const hold of settled)
      if (hold.status === 'rejected')
        throw isUnderpinError(over.signal.reason) ? over.signal.reason : hold.reason
  }

  async #inTurn<T>(call: (move: Move) => Promise<T>): Promise<PerDomain<T>> {
    const answers = new Map<string, T>()
    for (const move of this.moves.values()) answers.set(move.domain, await call(move))
    return answers
  }

  async #atOnce<T>(call: (move: Move) => Promise<T>): Promise<PerDomain<T>> {
    const moves = [...this.moves.values()]
    const answers = await Promise.all(moves.map(call))
    return new Map(moves.map((move, i) => [move.domain, answers[i] as T]))
  }
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
