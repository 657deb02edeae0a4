/**
 * What a process knows of the state, and the permit that it holds under it: exchanged when the epoch is raised, taken anew
 * when it was lost. Calls come in by {@link Attendant.enter}, and wait there while writes wait.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { Alarm, sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import { type Control, type FoundState, isPassing } from './control.ts'
import type { Permit, Permits } from './permit.ts'

/** Milliseconds between two looks at the state if nothing hints at a change, and at least. */
const pollMs = 250
const restMs = 5

export class Attendant {
  readonly #control: Control
  readonly #permits: Permits
  readonly #closing = new AbortController()
  readonly #alarm = new Alarm()
  readonly #waiting = new Set<() => void>()
  readonly #endings = new Set<Promise<void>>()
  #found: FoundState | undefined
  #permit: Permit | undefined
  #failure: unknown
  #work: readonly Promise<void>[] = []

  constructor(control: Control, permits: Permits) {
    this.#control = control
    this.#permits = permits
  }

  /** Aborts when it is closed, or cannot go on. */
  get signal(): AbortSignal {
    return this.#closing.signal
  }

  /** Looks for the first time, and goes on in the background. */
  async open(): Promise<void> {
    await this.#look()
    this.#work = [this.#attend(), this.#hear()]
  }

  /** Lets what is under way end, and gives the permit back. */
  async close(): Promise<void> {
    this.#fail(new UnderpinError('closed', `Repository ${this.#control.name} was closed`))
    await Promise.all(this.#work)
    await Promise.all(this.#endings)
  }

  /** The state as it was last seen, which may be old; `enter` is what counts. */
  get found(): FoundState {
    if (this.#found === undefined) throw new TypeError('The repository was not opened')
    return this.#found
  }

  /** Has the state looked at again, soon. */
  look(): void {
    this.#alarm.ring()
  }

  /**
   * The permit for one call, to be left with `permit.leave()`; waits while writes wait. `timeout` if that lasts for as
   * long as a call may take, `unavailable` if the control domain cannot be reached for so long.
   */
  async enter(options: CallOptions = {}): Promise<Permit> {
    for (const since = this.#control.clock.monotonic(); ; ) {
      const permit = this.#entered()
      if (permit !== undefined) return permit
      await this.#waitSince(since, options)
    }
  }

  /** The same for a read; undefined while writes wait, for then the side that led serves reads on. */
  async enterToRead(): Promise<Permit | undefined> {
    for (const since = this.#control.clock.monotonic(); ; ) {
      const permit = this.#entered()
      if (permit !== undefined || this.found.state.phase === 'sealed') return permit
      await this.#waitSince(since, {})
    }
  }

  #entered(): Permit | undefined {
    if (this.#failure !== undefined) throw this.#failure
    const permit = this.#permit
    if (!permit?.mayBegin) return undefined
    permit.enter()
    return permit
  }

  async #waitSince(since: number, { signal }: CallOptions): Promise<void> {
    if (signal?.aborted) throw new UnderpinError('aborted', 'The call was aborted', { cause: signal.reason })
    const { clock, port } = this.#control
    const leftMs = since + port.deadlineMs - clock.monotonic()
    if (leftMs <= 0) throw this.#tooLate()
    await this.changed(Math.min(leftMs, pollMs))
  }

  /** Waits for the next look at the state, at most for so many milliseconds. */
  async changed(ms: number): Promise<void> {
    this.#alarm.ring()
    await new Promise<void>((resolve) => {
      const done = () => {
        cancel()
        this.#waiting.delete(done)
        resolve()
      }
      const cancel = this.#control.clock.timer(ms, done)
      this.#waiting.add(done)
    })
  }

  #tooLate(): UnderpinError {
    const { name } = this.#control
    if (this.found.state.phase === 'sealed')
      return new UnderpinError('timeout', `Repository ${name}: writes waited for a cutover for too long`, {
        hint: 'Nothing was written. Make the same call again.',
      })
    return new UnderpinError('unavailable', `Repository ${name}: no permit could be had`, {
      hint: 'Nothing was written. Is the control domain reachable?',
    })
  }

  async #attend(): Promise<void> {
    const { clock } = this.#control
    while (!this.signal.aborted) {
      await this.#alarm.wait(clock, pollMs, this.signal)
      await sleep(clock, restMs, this.signal)
      try {
        if (!this.signal.aborted) await this.#look()
      } catch (error) {
        // What passes is looked at again; meanwhile the permit runs out by itself.
        if (!isPassing(error)) this.#fail(error)
      }
    }
    if (this.#permit !== undefined) this.#end(this.#permit)
  }

  async #look(): Promise<void> {
    const found = await this.#control.look()
    this.#found = found
    const permit = this.#permit
    if (permit !== undefined && (permit.state.epoch !== found.state.epoch || !permit.isLive))
      this.#end(permit)
    if (this.#permit === undefined && found.state.phase !== 'sealed') {
      this.#permit = await this.#permits.take(found)
      // Whoever was too late looks again at once.
      if (this.#permit === undefined) this.look()
      else this.#permit.signal.addEventListener('abort', () => this.look(), { once: true })
    }
    this.#wake()
  }

  #end(permit: Permit): void {
    if (this.#permit === permit) this.#permit = undefined
    const ending = permit
      .end()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#endings.delete(ending))
    this.#endings.add(ending)
  }

  /** Hints of commits by others; looks are made without them, too. */
  async #hear(): Promise<void> {
    while (!this.signal.aborted) {
      try {
        for await (const _position of this.#control.port.watch(this.signal)) this.#alarm.ring()
      } catch (error) {
        if (isUnderpinError(error, 'closed')) return
        if (!isPassing(error)) return this.#fail(error)
      }
      await sleep(this.#control.clock, pollMs, this.signal)
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    this.#closing.abort()
    this.#wake()
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done()
  }
}
