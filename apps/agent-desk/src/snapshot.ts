/** Snapshots of the state in memory: so that a start need not read every event that ever was. */
import type { SqliteHandle } from 'underpin/sqlite'
import { DeskState, stateVersion } from './state.ts'

const kept = 2

/** The state of the latest snapshot of this version; an empty one if there is none. */
export function loadSnapshot(handle: SqliteHandle): DeskState {
  const sql = 'SELECT state FROM state_snapshots WHERE version = ? ORDER BY sequence DESC LIMIT 1'
  const found = handle.prepare(sql).get(stateVersion) as { state: string } | undefined
  return found === undefined ? new DeskState() : DeskState.restore(found.state)
}

/** Keeps the state, and the snapshot before it. */
export function saveSnapshot(handle: SqliteHandle, state: DeskState, now: Date): void {
  handle
    .prepare('INSERT OR REPLACE INTO state_snapshots VALUES (?, ?, ?, ?)')
    .run(state.sequence, stateVersion, state.toText(), now.toISOString())
  const sql = `DELETE FROM state_snapshots WHERE sequence NOT IN (SELECT sequence FROM state_snapshots ORDER BY sequence DESC LIMIT ${kept})`
  handle.prepare(sql).run()
}

export function dropSnapshots(handle: SqliteHandle): void {
  handle.exec('DELETE FROM state_snapshots')
}
