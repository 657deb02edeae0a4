/**
 * The steps of a move between two repositories. Each is one change of the state, which raises the epoch; then the fences
 * in the stores, where there are some, are raised behind it. A step that was broken off is completed by anybody.
 */
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import {
  type Control,
  type FoundState,
  gate,
  type RepositoryPhase,
  type Side,
  type State,
} from './control.ts'
import type { Permit, Permits } from './permit.ts'
import type { Sides } from './sides.ts'

/** Milliseconds between two looks at permits that are out. */
const watchMs = 10

/** Who leads in a phase; while sealed, whoever led before. */
const leads: Readonly<Record<Exclude<RepositoryPhase, 'sealed'>, Side>> = {
  legacy: 'legacy',
  dual: 'legacy',
  reverse: 'next',
  next: 'next',
}

/** The phase in which a side leads and the other one follows. */
export function phaseOf(lead: Side): 'dual' | 'reverse' {
  return lead === 'legacy' ? 'dual' : 'reverse'
}

/** The state that a step leads to. */
export function nextState(
  { state }: FoundState,
  phase: RepositoryPhase,
  change: Partial<
    Pick<State, 'by' | 'isSettled' | 'isBackfilled' | 'begun' | 'maxPauseMs' | 'verified'>
  > = {},
): State {
  const lead = phase === 'sealed' ? state.lead : leads[phase]
  const step = { phase, lead, epoch: state.epoch + 1, isSettled: false, maxPauseMs: null }
  return { ...state, ...step, ...change }
}

export class Steps<R> {
  readonly control: Control
  readonly permits: Permits
  readonly sides: Sides<R>

  constructor(control: Control, permits: Permits, sides: Sides<R>) {
    this.control = control
    this.permits = permits
    this.sides = sides
  }

  /** Takes the step that `decide` makes of the state, if it makes one; has the stores accept its epoch. */
  async take(decide: (found: FoundState) => State | undefined): Promise<void> {
    for (;;) {
      const found = await this.control.look()
      const next = decide(found)
      if (next === undefined) return
      if (!(await this.control.change(found, next))) continue
      if (next.phase !== 'sealed') await this.open(next.epoch)
      return
    }
  }

  /** Has the stores accept an epoch. One that cannot be reached now is opened later, by whoever is refused there. */
  async open(epoch: number): Promise<void> {
    await Promise.allSettled([this.sides.open(epoch)])
  }

  /** Waits until nobody works under an earlier epoch any more: `aborted` when one of the signals is. */
  async settle(signals: readonly (AbortSignal | undefined)[]): Promise<FoundState> {
    for (;;) {
      const found = await this.control.look()
      if (found.state.isSettled || (await this.trySettle(found))) return this.control.look()
      await sleep(this.control.clock, watchMs)
      const aborted = signals.find((signal) => signal?.aborted)
      if (aborted !== undefined)
        throw new UnderpinError('aborted', 'Waiting for other processes was aborted', {
          hint: 'Whatever step was taken stands, and any process goes on from there.',
          cause: aborted.reason,
        })
    }
  }

  /** Notes that nobody works under an earlier epoch any more, if it is so; looks once. */
  async trySettle(found: FoundState, own?: Permit): Promise<boolean> {
    const { state } = found
    if ((await this.permits.watch(state.epoch - 1, own)) > 0) return false
    // Whoever raised the epoch may have died before the stores knew it.
    if (state.phase !== 'sealed') await this.sides.open(state.epoch)
    return this.control.change(found, { ...state, isSettled: true })
  }

  /** Waits for all permits but one's own, not longer than until a time of the monotonic clock. */
  async emptied(epoch: number, until: number, own?: Permit): Promise<void> {
    const { clock, name } = this.control
    for (;;) {
      const left = await this.permits.watch(epoch, own)
      if (left === 0) return
      if (clock.monotonic() > until)
        throw gate(
          name,
          `${left} process(es) did not give back their permits in time`,
          'A call is under way for too long, or a process is stopped: its permit runs out by itself. Nothing was lost; cut over again then, or allow a longer pause.',
          { permits: left },
        )
      await sleep(clock, watchMs)
    }
  }
}
