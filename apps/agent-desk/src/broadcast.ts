/**
 * Events as they come, to any number of readers: the feed is read once, and told to all. A reader begins with what is
 * stored, joins where that ends, and goes back to what is stored when it is too slow. So nothing is skipped or told twice,
 * and nobody is waited for.
 */
import type { Desk } from './desk.ts'
import type { StoredDeskEvent } from './event.ts'

/** Events that wait for a reader; one that is slower reads them from the store. */
const waitingAtMost = 1_000

export class Broadcast {
  readonly #desk: Desk
  /** The last event that was told. */
  #last: number
  readonly #readers = new Set<Waiting>()
  #isTelling = false

  constructor(desk: Desk) {
    this.#desk = desk
    this.#last = desk.state.sequence
  }

  /** Whether readers are told of what happens now; else they wait, and are told when {@link Broadcast.run} begins again. */
  get isTelling(): boolean {
    return this.#isTelling
  }

  /** Tells of what happens behind the last event that was told, until the signal aborts or the feed fails. */
  async run(signal: AbortSignal): Promise<void> {
    this.#isTelling = true
    try {
      for await (const item of this.#desk.feed.live({ after: this.#last, signal })) {
        if (item.kind !== 'event') continue
        const { type, data, position, at } = item
        this.#last = position
        const event = { type, data, sequence: position, storedAt: new Date(at).toISOString() }
        for (const reader of this.#readers) reader.add(event as StoredDeskEvent)
      }
    } finally {
      this.#isTelling = false
    }
  }

  /** All events behind a sequence, then those to come, until the signal aborts. */
  async *from(sequence: number, signal: AbortSignal): AsyncGenerator<StoredDeskEvent> {
    let at = sequence
    while (!signal.aborted) {
      const waiting = new Waiting(signal)
      const joinedAt = this.#last
      this.#readers.add(waiting)
      try {
        for (const event of this.#desk.events.replayFrom(at)) {
          if (event.sequence > joinedAt || signal.aborted) break
          yield event
          at = event.sequence
        }
        for await (const event of waiting.events()) {
          if (event.sequence <= at) continue
          yield event
          at = event.sequence
        }
      } finally {
        this.#readers.delete(waiting)
      }
    }
  }
}

/** What was told since a reader joined, and not yet taken. */
class Waiting {
  readonly #signal: AbortSignal
  #events: StoredDeskEvent[] = []
  #hasTooMany = false
  #wake: () => void = () => undefined

  constructor(signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', () => this.#wake(), { once: true })
  }

  add(event: StoredDeskEvent): void {
    this.#hasTooMany ||= this.#events.length >= waitingAtMost
    if (!this.#hasTooMany) this.#events.push(event)
    this.#wake()
  }

  /** Ends behind the first gap, which the store fills, or when the signal aborts. */
  async *events(): AsyncGenerator<StoredDeskEvent> {
    while (!this.#signal.aborted) {
      const events = this.#events
      this.#events = []
      yield* events
      if (this.#events.length > 0) continue
      if (this.#hasTooMany) return
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        if (this.#signal.aborted) resolve()
      })
    }
  }
}
