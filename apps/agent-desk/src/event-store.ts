/** The events of the desk: appended in one commit with the tables made of them, replayed in order of sequence. */
import type { Domain } from 'underpin'
import type { SqliteHandle } from 'underpin/sqlite'
import { stillOpen } from './decide/found.ts'
import { type DeskEvent, type StoredDeskEvent, streamOf } from './event.ts'
import { project } from './projection.ts'
import { statement } from './statements.ts'

export interface AppendAllOptions {
  /** Streams and how many events each must have; else nothing is written, and it fails with `conflict`. */
  readonly expect?: ReadonlyMap<string, number>
  /** A project that must have no open turn when the events are committed; else nothing is written: `wrong-state`. */
  readonly idleProject?: string | undefined
}

/** So that a page is a string that JavaScript can hold (512 Mi characters), were each event of the largest size, 1 MiB. */
const pageEvents = 256

/**
 * One page as one text: an array for each event. A million rows that cross from SQLite one value at a time take longer
 * than all the rest of a start.
 */
const pageSql = `SELECT '[' || group_concat('[' || sequence || ',"' || event_type || '","' || stored_at || '",' || payload || ']') || ']' AS page
  FROM (SELECT sequence, event_type, stored_at, payload FROM events WHERE sequence > ? ORDER BY sequence LIMIT ${pageEvents})`

type PageRow = [number, DeskEvent['type'], string, DeskEvent['data']]

export class EventStore {
  readonly #domain: Domain<DeskEvent>
  readonly #handle: SqliteHandle

  constructor(domain: Domain<DeskEvent>, handle: SqliteHandle) {
    this.#domain = domain
    this.#handle = handle
  }

  /**
   * Appends events and changes the tables made of them, all or nothing; when it resolves, they are on the disk. Gives
   * the events back with the sequence and time that they were stored with. No events: nothing happens.
   */
  async appendAll(
    events: readonly DeskEvent[],
    { expect = new Map(), idleProject }: AppendAllOptions = {},
  ): Promise<StoredDeskEvent[]> {
    if (events.length === 0) return []
    const { positions, at } = await this.#domain.transaction((tx) => {
      for (const [stream, seq] of expect) tx.checkStream(stream, seq)
      for (const event of events) tx.append(streamOf(event), event)
      tx.tables<SqliteHandle>((handle, committed) => {
        if (idleProject !== undefined) checkIdle(handle, idleProject)
        project(handle, toStored(events, committed.positions, committed.at))
      })
    })
    return toStored(events, positions, at)
  }

  /** All events, in order. */
  replayAll(): Generator<StoredDeskEvent> {
    return this.replayFrom(0)
  }

  /**
   * The events behind a sequence, in order: page by page, each a read of its own, so that a caller may take its time. It
   * reads the view `events`, which shows what is stored without looking at its checksums; `underpin verify` does that.
   */
  *replayFrom(sequence: number): Generator<StoredDeskEvent> {
    for (const page of replayPages(this.#handle, sequence)) yield* page
  }
}

/** Events behind a sequence, in pages; of a handle that may be in a transaction. */
export function* replayPages(handle: SqliteHandle, sequence: number): Generator<readonly StoredDeskEvent[]> {
  for (let after = sequence; ; ) {
    const { page } = statement(handle, pageSql).get(after) as { page: string | null }
    if (page === null) return
    const events = (JSON.parse(page) as PageRow[]).map(
      ([sequence, type, storedAt, data]) => ({ type, data, sequence, storedAt }) as StoredDeskEvent,
    )
    after = events.at(-1)?.sequence ?? after
    yield events
    if (events.length < pageEvents) return
  }
}

/**
 * Looks at the tables inside the commit, because no stream tells of all threads of a project: turns write to their
 * threads, and a thread begun meanwhile is one that nobody could name.
 */
function checkIdle(handle: SqliteHandle, projectId: string): void {
  const sql = `SELECT turn_id AS turnId, thread_id AS threadId FROM projection_turns JOIN projection_threads USING (thread_id)
    WHERE project_id = ? AND state IN ('requested', 'running', 'interrupted') LIMIT 1`
  const open = statement(handle, sql).get(projectId) as { turnId: string; threadId: string } | undefined
  if (open !== undefined) throw stillOpen(open.turnId, open.threadId)
}

function toStored(events: readonly DeskEvent[], positions: readonly number[], at: number): StoredDeskEvent[] {
  const storedAt = new Date(at).toISOString()
  return events.map((event, i) => ({ ...event, sequence: positions[i] as number, storedAt }))
}
