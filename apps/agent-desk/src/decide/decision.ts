/** What a decider makes of a command. */
import type { DeskEvent } from '../event.ts'

export interface Decision {
  /** What happens; nothing if what the command asks for is so already. */
  readonly events: readonly DeskEvent[]
  /** Streams that the decision depends on, besides those of its events. */
  readonly reads?: readonly string[]
  /** A project without an open turn, also when the events are committed: in whichever thread, one begun meanwhile too. */
  readonly idleProject?: string
}

/** The fields of an update that were given, or undefined if there are none. */
export function given<T extends object>(
  fields: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  return entries.length === 0 ? undefined : (Object.fromEntries(entries) as never)
}
