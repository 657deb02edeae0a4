/** Folding the feed into memory: whole, or kept current. */
import type { CallOptions } from '../../backend/backend.ts'
import type { Change } from '../../model/change.ts'
import type { Position } from '../../model/position.ts'
import type { Port } from '../port.ts'
import type { Projection } from './definition.ts'
import { Fold, failedAt, project } from './fold.ts'
import { refuseTruncated } from './whole.ts'

const pageSize = 2_000

export interface ReplayOptions extends CallOptions {
  /** Up to this position; up to the head if left out. */
  readonly until?: Position
}

/** A fold that goes along the feed. */
export class Replay<S> {
  readonly fold: Fold<S, never>
  readonly #port: Port
  readonly #projection: Projection<S>
  #position: Position

  constructor(port: Port, projection: Projection<S>, after: Position = 0) {
    this.#port = port
    this.#projection = projection
    this.#position = after
    this.fold = new Fold(projection as Projection<S, never>)
  }

  /** Everything up to here is folded. */
  get position(): Position {
    return this.#position
  }

  /** Folds one page, or the part of it up to `until`; whether there is more. */
  async advance(
    { until = Number.POSITIVE_INFINITY, ...options }: ReplayOptions,
    changed?: (key: string, position: Position) => void,
  ): Promise<boolean> {
    const page = await this.#port.changes(this.#position, pageSize, options)
    this.take(page.items, until, changed)
    this.#position = Math.min(page.next, until)
    return this.#position < Math.min(until, page.head)
  }

  take(
    changes: readonly Change[],
    until: Position,
    changed?: (key: string, position: Position) => void,
  ): void {
    for (const change of changes) {
      if (change.kind !== 'event' || change.position > until) continue
      try {
        const told = changed && ((key: string) => changed(key, change.position))
        for (const event of project(this.#port.events, change)) this.fold.take(event as never, told)
      } catch (error) {
        throw failedAt(this.#projection, change, error)
      }
    }
  }
}

/** The states by key that a replay of all events gives. */
export async function replay<S>(
  port: Port,
  projection: Projection<S>,
  options: ReplayOptions = {},
): Promise<Map<string, S>> {
  await refuseTruncated(port, projection.name, options)
  const replaying = new Replay(port, projection)
  while (await replaying.advance(options));
  return replaying.fold.states
}
