/** Moves of several domains as one: the same verbs over a list. */

import type { CutOptions } from './cut.ts'
import type { Gap, Progress } from './mirror.ts'
import type { By, CallWith, Drill, Ending, Move, StartOptions } from './move.ts'
import type { MovePlan, PlanOptions } from './plan.ts'
import type { CutoverReport } from './report.ts'
import type { SettingsChange } from './settings.ts'
import type { SoakOptions } from './soak.ts'
import type { MoveStatus } from './status.ts'
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

  cutover(options?: CutOptions): Promise<PerDomain<CutoverReport>> {
    return this.#inTurn((move) => move.cutover(options))
  }

  rollback(options?: CutOptions): Promise<PerDomain<CutoverReport>> {
    return this.#inTurn((move) => move.rollback(options))
  }

  go(): Promise<PerDomain<void>> {
    return this.#inTurn((move) => move.go())
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
