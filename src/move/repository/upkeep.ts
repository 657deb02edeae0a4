/** What nobody in particular does: every process does it now and then, and two at once do no harm. */
import { Alarm, sleep } from '../../clock.ts'
import type { Attendant } from './attendant.ts'
import { drain } from './drain.ts'
import { reopen } from './flip.ts'
import { messageOf } from './gap.ts'
import type { Shadow } from './shadow.ts'
import type { Steps } from './step.ts'

/** Milliseconds between two rounds, on average, and at least. */
const roundMs = 1_000
const restMs = 50
/** Milliseconds that a seal may stand beyond the time it was given. */
const graceMs = 1_000

export class Upkeep<R> {
  readonly #steps: Steps<R>
  readonly #attendant: Attendant
  readonly #shadow: Shadow
  readonly #alarm = new Alarm()
  #sealed: { readonly epoch: number; readonly since: number } | undefined
  #working: Promise<void> = Promise.resolve()
  #trouble: string | undefined

  constructor(steps: Steps<R>, attendant: Attendant, shadow: Shadow) {
    this.#steps = steps
    this.#attendant = attendant
    this.#shadow = shadow
  }

  /** Why the last round could not be done. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Has the next round begin soon. */
  soon(): void {
    this.#alarm.ring()
  }

  begin(): void {
    this.#working = this.#work()
  }

  /** To be called when the attendant is closed. */
  ended(): Promise<void> {
    return this.#working
  }

  async #work(): Promise<void> {
    const { clock } = this.#steps.control
    const { signal } = this.#attendant
    while (!signal.aborted) {
      try {
        await this.#round()
        this.#trouble = undefined
      } catch (error) {
        // Told by the status, and tried again: whatever is left undone is seen there, too.
        this.#trouble = messageOf(error)
      }
      await sleep(clock, restMs, signal)
      await this.#alarm.wait(clock, roundMs * (0.5 + clock.random()), signal)
    }
  }

  async #round(): Promise<void> {
    const { permits, control } = this.#steps
    const found = await control.look()
    const { state } = found
    await permits.watch(state.epoch)
    if (state.phase === 'sealed') return this.#reopenAbandoned(state.epoch, state.maxPauseMs ?? 0)
    this.#sealed = undefined
    if (!state.isSettled) await this.#steps.trySettle(found)
    if (state.phase === 'dual' || state.phase === 'reverse') await this.#drain()
    await this.#shadow.store()
  }

  /** Whoever sealed may have died. That was so long ago by this process's own clock. */
  async #reopenAbandoned(epoch: number, maxPauseMs: number): Promise<void> {
    const now = this.#steps.control.clock.monotonic()
    if (this.#sealed?.epoch !== epoch) this.#sealed = { epoch, since: now }
    else if (now - this.#sealed.since > maxPauseMs + graceMs) await reopen(this.#steps, epoch)
  }

  async #drain(): Promise<void> {
    const { control, sides } = this.#steps
    // Not while writes wait: who sealed may be dead, and that is looked for here, too.
    const permit = await this.#attendant.enterToRead()
    if (permit === undefined) return
    try {
      const state = { ...permit.state, isSettled: (await control.look()).state.isSettled }
      await drain(control, sides.copy, permit.as(state), { signal: this.#attendant.signal })
    } finally {
      permit.leave()
    }
  }
}
