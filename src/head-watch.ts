/**
 * Heads of a domain as they move, of whichever backend serves it. Hints end on a backend that was left, often without a
 * word, so a watch looks whether its backend still serves, and ends when anybody finds that another one does.
 */
import type { Backend } from './backend/backend.ts'
import type { Clock } from './clock.ts'
import { isUnderpinError } from './error.ts'
import type { Position } from './model/position.ts'

export interface HeadWatchOptions {
  readonly domain: string
  readonly clock: Clock
  readonly find: (signal: AbortSignal) => Promise<Backend>
  /** Whether a backend still serves the domain; where it does not, whoever finds next looks anew. */
  readonly isServing: (backend: Backend, signal: AbortSignal) => Promise<boolean>
}

/** Milliseconds for which a backend counts as serving while its head rises. */
const trustedForMs = 500

interface Run {
  readonly backend: Backend
  readonly over: AbortController
}

export class HeadWatch {
  readonly #options: HeadWatchOptions
  readonly #running = new Set<Run>()

  constructor(options: HeadWatchOptions) {
    this.#options = options
  }

  /** A backend was found to serve the domain: nobody needs to watch another one. */
  found(backend: Backend): void {
    for (const run of this.#running) if (run.backend !== backend) run.over.abort()
  }

  /** Ends when the signal aborts or the backend is closed. No head comes twice, and none lower than one before. */
  async *heads(signal: AbortSignal): AsyncGenerator<Position> {
    let last = -1
    for (let isLeft = true; isLeft && !signal.aborted; ) {
      const backend = await this.#find(signal)
      if (backend === undefined) return
      const run = { backend, over: new AbortController() }
      this.#running.add(run)
      try {
        for await (const head of this.#headsOf(run, signal)) {
          if (head > last) yield head
          last = Math.max(last, head)
        }
      } finally {
        this.#running.delete(run)
      }
      isLeft = run.over.signal.aborted
    }
  }

  async #find(signal: AbortSignal): Promise<Backend | undefined> {
    try {
      return await this.#options.find(signal)
    } catch (error) {
      if (signal.aborted || isUnderpinError(error, 'closed')) return undefined
      throw error
    }
  }

  /** Those of one backend, until it is left. */
  async *#headsOf({ backend, over }: Run, signal: AbortSignal): AsyncGenerator<Position> {
    const { clock, domain, isServing } = this.#options
    let seen = -1
    let lookedAt = Number.NEGATIVE_INFINITY
    try {
      for await (const head of backend.watch(domain, AbortSignal.any([signal, over.signal]))) {
        yield head
        // A hint without a higher head tells of another role; a late one may tell of both at once.
        const now = clock.monotonic()
        const isDue = head <= seen || now - lookedAt > trustedForMs
        seen = head
        if (!isDue) continue
        lookedAt = now
        if (await isServing(backend, signal)) continue
        over.abort()
        return
      }
    } catch (error) {
      // What fails on a backend that was left, or is closed, is of no matter.
      if (!over.signal.aborted && !signal.aborted && !isUnderpinError(error, 'closed')) throw error
    }
  }
}
