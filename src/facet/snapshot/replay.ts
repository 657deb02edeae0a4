/** Replay: a state is what a snapshot holds and the tail behind it, or all events of the stream. */
import type { CallOptions } from '../../backend/backend.ts'
import type { Event } from '../../model/event.ts'
import type { Position } from '../../model/position.ts'
import type { Port } from '../port.ts'
import type { ProjectedEvent } from '../projection/definition.ts'
import { toProjected } from '../projection/fold.ts'
import type { NewEvent } from '../shape.ts'
import type { Fold } from './fold.ts'
import type { Snapshot } from './snapshots.ts'

/** Where a replay ends, if not at the stream's end. */
export interface ReplayEnd {
  /** The last seq. */
  readonly seq?: number
  /** Milliseconds since 1970: the first event that is later, and all behind it, are left out. */
  readonly time?: number
}

const pageItems = 1_000

export class Replay<S, E extends NewEvent = NewEvent> {
  state: S
  seq: number
  position: Position
  until: number
  /** Behind where it began: events, bytes of their JSON, and the time of the first. */
  events = 0
  bytes = 0
  since = 0
  /** The seq of an event that does not follow the one before: what is between was truncated. */
  gap: number | undefined
  readonly #fold: Fold<S, E>
  readonly #stream: string

  /** Begins from a snapshot, or from the seed. */
  constructor(fold: Fold<S, E>, stream: string, from: Snapshot | undefined) {
    this.#fold = fold
    this.#stream = stream
    this.state = structuredClone(from === undefined ? fold.seed : (from.state as S))
    this.seq = from?.seq ?? 0
    this.position = from?.position ?? 0
    this.until = from?.until ?? 0
  }

  /** Folds events up to the end; stops before a gap. */
  async run(port: Port, end: ReplayEnd = {}, options?: CallOptions): Promise<this> {
    const last = end.seq ?? Number.POSITIVE_INFINITY
    for (let isEnd = this.seq >= last; !isEnd; ) {
      const limit = Math.min(pageItems, port.limits.pageItems, last - this.seq)
      const range = { after: this.seq, before: Number.POSITIVE_INFINITY, backwards: false, limit }
      const page = await port.read(this.#stream, range, options)
      isEnd = !this.#take(port, page.items, end) || page.next === null || this.seq >= last
    }
    return this
  }

  get snapshot(): Snapshot {
    const { seq, position, until, state } = this
    return { version: this.#fold.version, stream: this.#stream, seq, position, until, state }
  }

  /** False where the replay ends. */
  #take(port: Port, items: readonly Event[], { time = Number.POSITIVE_INFINITY }: ReplayEnd): boolean {
    for (const event of items) {
      if (event.seq !== this.seq + 1) {
        this.gap = event.seq
        return false
      }
      if (event.at > time) return false
      if (this.events++ === 0) this.since = event.at
      this.bytes += event.data.length + (event.meta?.length ?? 0)
      this.seq = event.seq
      this.position = event.position
      this.until = Math.max(this.until, event.at)
      for (const decoded of port.events.decode(event))
        this.state = this.#fold.step(this.state, toProjected(decoded) as ProjectedEvent<E>)
    }
    return true
  }
}
