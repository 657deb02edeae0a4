/** Callers on one key go one after another; callers on other keys do not wait for them. */
import { UnderpinError } from '../../error.ts'

export class KeyQueue {
  readonly #tails = new Map<string, Promise<void>>()

  /**
   * Resolves when everybody who asked before for one of these keys has left; to be left in turn. All keys are asked for
   * at once, so no two callers wait for each other.
   */
  async enter(keys: readonly string[], signal: AbortSignal | undefined): Promise<() => void> {
    const before = [...new Set(keys.flatMap((key) => this.#tails.get(key) ?? []))]
    let open = () => {}
    const tail = new Promise<void>((resolve) => {
      open = resolve
    })
    for (const key of keys) this.#tails.set(key, tail)
    const leave = () => {
      for (const key of keys) if (this.#tails.get(key) === tail) this.#tails.delete(key)
      open()
    }
    if (before.length === 0) return leave
    const turn = Promise.all(before)
    try {
      await orAborted(turn, signal)
      return leave
    } catch (error) {
      void turn.then(leave)
      throw error
    }
  }
}

/** The tails never fail: only the signal ends the waiting early. */
async function orAborted(turn: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return void (await turn)
  let abort = () => {}
  const aborted = new Promise<void>((resolve) => {
    abort = resolve
    signal.addEventListener('abort', abort, { once: true })
  })
  if (!signal.aborted) await Promise.race([turn, aborted])
  signal.removeEventListener('abort', abort)
  if (signal.aborted)
    throw new UnderpinError('aborted', 'The commit was aborted while it waited for others on its key', {
      cause: signal.reason,
    })
}
