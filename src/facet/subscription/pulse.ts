/** One watch of a domain for all who wait in a process. */
import { setMaxListeners } from 'node:events'
import { sleep } from '../../clock.ts'
import { isUnderpinError } from '../../error.ts'
import type { Port } from '../port.ts'

const rewatchAfterMs = 250

/** Wakes its listeners whenever the domain may have moved, until the signal aborts or the store is closed. */
export class Pulse {
  readonly #listeners = new Set<Listener>()
  readonly #ending = new AbortController()
  /** Aborts when there is nothing more to wait for: the signal aborted, the store was closed, or {@link end} was called. */
  readonly over: AbortSignal

  constructor(port: Port, signal: AbortSignal) {
    this.over = AbortSignal.any([signal, this.#ending.signal])
    // Each consumer and each wait listens to it: many are no leak.
    setMaxListeners(0, this.over)
    void this.#watch(port)
  }

  listen(port: Port): Listener {
    const listener = new Listener(port, this.over, () => this.#listeners.delete(listener))
    this.#listeners.add(listener)
    return listener
  }

  end(): void {
    this.#ending.abort()
  }

  /** Hints only: a watch that fails is begun again, and meanwhile what is wrong with the store shows when it is read. */
  async #watch(port: Port): Promise<void> {
    for (let isOpen = true; isOpen && !this.over.aborted; ) {
      try {
        for await (const _hint of port.watch(this.over)) this.#wakeAll()
        isOpen = false
      } catch (error) {
        isOpen = !isUnderpinError(error, 'closed')
        this.#wakeAll()
        if (isOpen) await sleep(port.clock, rewatchAfterMs, this.over)
      }
    }
    this.end()
  }

  #wakeAll(): void {
    for (const listener of this.#listeners) listener.wake()
  }
}

/** One who waits. */
export class Listener {
  readonly #port: Port
  readonly #over: AbortSignal
  readonly #onClose: () => void
  #isDue = false
  #resolve: () => void = () => {}

  constructor(port: Port, over: AbortSignal, onClose: () => void) {
    this.#port = port
    this.#over = over
    this.#onClose = onClose
  }

  wake(): void {
    this.#isDue = true
    this.#resolve()
  }

  /** To be called before looking: what moves while one looks then ends the next wait at once. */
  clear(): void {
    this.#isDue = false
  }

  /** Waits until the domain may have moved since {@link clear}, or for so many milliseconds, or until a signal aborts. */
  async next(signal: AbortSignal, ms?: number): Promise<void> {
    if (this.#isDue || this.#over.aborted || signal.aborted) return
    const ends = [signal, this.#over]
    let cancel = () => {}
    const woken = new Promise<void>((resolve) => {
      this.#resolve = resolve
      if (ms !== undefined) cancel = this.#port.clock.timer(Math.max(0, ms), resolve)
    })
    const end = this.#resolve
    for (const each of ends) each.addEventListener('abort', end)
    await woken
    cancel()
    for (const each of ends) each.removeEventListener('abort', end)
  }

  close(): void {
    this.#onClose()
  }
}
