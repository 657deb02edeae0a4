/** Folds: how a state is made of events. */
import type { ProjectedEvent } from '../projection/definition.ts'
import type { NewEvent } from '../shape.ts'

/**
 * A pure fold of events to a state that JSON can hold. Pure: the same events give the same state, on any machine, at any
 * time. Clocks, random numbers and what was read elsewhere belong into events.
 */
export interface Fold<S, E extends NewEvent = NewEvent> {
  /** Lower case, digits, and single "-" or "_" between them. What is kept of the state is kept under it. */
  readonly name: string
  /** To be raised whenever `seed` or `step` changes: what was kept under another version is not used. */
  readonly version: number
  /** The state before the first event; each use begins with a copy. */
  readonly seed: S
  /** The state after an event. It may change and return the state that it is given. */
  readonly step: (state: S, event: ProjectedEvent<E>) => S
}
