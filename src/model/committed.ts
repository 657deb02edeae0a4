/**
 * The records that commits wrote, kept beside their outcomes while somebody in this process hands them on, who would else
 * have to read them again. Nothing is kept, and nothing costs, while nobody does.
 */
import type { Change } from './change.ts'
import type { Committed } from './commit.ts'

const kept = new WeakMap<Committed, readonly Change[]>()
let keepers = 0

/** From now on the records of commits are kept; the returned function ends that. */
export function keepChanges(): () => void {
  keepers++
  let isOver = false
  return () => {
    if (!isOver) keepers--
    isOver = true
  }
}

/** Keeps the records of a commit, which are those of its group from `from` on. Gives the outcome. */
export function noteChanges(outcome: Committed, group: readonly Change[], from: number): Committed {
  if (keepers > 0) kept.set(outcome, group.slice(from))
  return outcome
}

/** The records that a commit wrote, in the order of their positions; undefined if they were not kept. */
export function changesOf(outcome: Committed): readonly Change[] | undefined {
  return kept.get(outcome)
}
