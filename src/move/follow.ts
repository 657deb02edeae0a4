/**
 * A standing copy of a domain: a replica, or a backup that is at most as old as the lag. It is a move that nobody cuts
 * over, and has no other way of working: where it stands, its gaps, its throttle and its end are those of the move.
 */
import type { Move } from './move.ts'
import type { MoverOptions } from './mover.ts'
import type { MoveSettings } from './settings.ts'

export interface FollowOptions extends Pick<MoverOptions, 'signal' | 'onProgress'> {
  /** The backend that holds the copy, by its name in the store. */
  readonly to: string
  /** Who asked for it: a name for the record. */
  readonly by?: string
  /** Where the copy is made anew; a copy that is there keeps its settings, which {@link Move.set} changes. */
  readonly settings?: Partial<MoveSettings>
}

/** Makes the copy if there is none, and keeps it up until the signal aborts or somebody ends it (`cancel`). */
export async function follow(move: Move, { signal, onProgress, by, settings }: FollowOptions): Promise<void> {
  const { phase } = await move.status()
  if (phase === 'none' || phase === 'prepared' || phase === 'named')
    await move.start({ ...(by !== undefined && { by }), ...(settings && { settings }) })
  await move.run({ signal, ...(onProgress && { onProgress }) })
}
