/** The waiters of one process: for each key one at a time, in the order in which they came. */
import type { CallOptions } from '../../backend/backend.ts'
import type { Clock } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import { quote } from '../../model/key.ts'

export interface EnterOptions extends CallOptions {
  /** Milliseconds to wait for the turn; 0 takes it only if nobody has it. */
  readonly waitMs: number
}

interface Waiter<W> {
  readonly want: W
  readonly start: (turn: Turn<W>) => void
}

export class Turns<W = undefined> {
  readonly #clock: Clock
  /** Who waits, for each key that somebody has. */
  readonly #lines = new Map<string, Set<Waiter<W>>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The turn; undefined if the time passes, `aborted` if the signal aborts. It must be left. `want` is what the one before sees. */
  enter(key: string, want: W, { waitMs, signal }: EnterOptions): Promise<Turn<W> | undefined> {
    if (signal?.aborted) return Promise.reject(aborted(key, signal))
    const line = this.#lines.get(key)
    if (line === undefined) {
      const own = new Set<Waiter<W>>()
      this.#lines.set(key, own)
      return Promise.resolve(this.#turn(key, own))
    }
    if (waitMs <= 0) return Promise.resolve(undefined)
    return this.#wait(key, line, want, { waitMs, ...(signal && { signal }) })
  }

  #wait(
    key: string,
    line: Set<Waiter<W>>,
    want: W,
    { waitMs, signal }: EnterOptions,
  ): Promise<Turn<W> | undefined> {
    return new Promise((resolve, reject) => {
      const end = () => {
        cancel()
        signal?.removeEventListener('abort', onAbort)
        line.delete(waiter)
      }
      const onAbort = () => {
        end()
        reject(aborted(key, signal))
      }
      const start = (turn: Turn<W>) => {
        end()
        resolve(turn)
      }
      const waiter = { want, start }
      const cancel = this.#clock.timer(waitMs, () => {
        end()
        resolve(undefined)
      })
      signal?.addEventListener('abort', onAbort, { once: true })
      line.add(waiter)
    })
  }

  #turn(key: string, line: Set<Waiter<W>>): Turn<W> {
    return new Turn(
      () => first(line)?.want,
      () => {
        const next = first(line)
        if (next === undefined) this.#lines.delete(key)
        else next.start(this.#turn(key, line))
      },
    )
  }
}

/** One's turn, until it is left. */
export class Turn<W> {
  readonly #next: () => W | undefined
  readonly #leave: () => void
  #isOver = false

  constructor(next: () => W | undefined, leave: () => void) {
    this.#next = next
    this.#leave = leave
  }

  /** What the next in line wants; undefined if nobody waits. */
  get next(): W | undefined {
    return this.#next()
  }

  /** Lets the next one in; a second time, nothing. */
  leave(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#leave()
  }
}

function first<W>(line: Set<W>): W | undefined {
  const [found] = line
  return found
}

function aborted(key: string, signal: AbortSignal | undefined): UnderpinError {
  return new UnderpinError('aborted', `Waiting for ${quote(key)} was aborted`, { cause: signal?.reason })
}
