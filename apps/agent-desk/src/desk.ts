/** The desk: takes commands, decides them over the state in memory, and stores what happens. */
import { type Domain, isUnderpinError, type Verification } from 'underpin'
import type { SqliteHandle } from 'underpin/sqlite'
import { type Command, parseCommand } from './command.ts'
import { type Database, openDatabase } from './database.ts'
import { decide } from './decide/decide.ts'
import { type DeskEvent, type StoredDeskEvent, streamOf } from './event.ts'
import { EventStore } from './event-store.ts'
import { Lanes, laneOf } from './lanes.ts'
import { Refusal } from './refusal.ts'
import { rebuildProjections } from './shadow.ts'
import { dropSnapshots, loadSnapshot, saveSnapshot } from './snapshot.ts'
import type { DeskState } from './state.ts'

/** What became of a command. */
export interface Dispatched<C extends Command = Command> {
  /** With the ids that were drawn for it. */
  readonly command: C
  /** What happened; nothing if what it asks for was so already. */
  readonly events: readonly StoredDeskEvent[]
}

/** How the state in memory was made when the desk was opened. */
export interface Start {
  /** The last event that the snapshot covered; 0 if there was none. */
  readonly snapshot: number
  /** Events that were replayed behind it. */
  readonly replayed: number
  /** Whether the tables were not of the last event, and had to be made anew. */
  readonly wasRebuilt: boolean
}

export interface DeskOptions {
  /** Told of a snapshot that cannot be taken: whatever was asked for is stored all the same. */
  readonly onError: (error: unknown) => void
  /** Events between two snapshots; 50,000 if left out. */
  readonly snapshotEvery?: number
}

/** Times that a command is decided again because another process changed what it depends on. */
const attempts = 20

export class Desk {
  readonly events: EventStore
  readonly start: Start
  readonly #database: Database
  readonly #state: DeskState
  readonly #lanes = new Lanes()
  readonly #onError: DeskOptions['onError']
  readonly #snapshotEvery: number
  /** The last event that a snapshot was tried at: one that fails is not tried again at every event. */
  #snapshotAt: number

  private constructor(
    database: Database,
    start: Omit<Start, 'replayed'>,
    state: DeskState,
    { onError, snapshotEvery = 50_000 }: DeskOptions,
  ) {
    this.#database = database
    this.#onError = onError
    this.#snapshotEvery = snapshotEvery
    this.events = new EventStore(database.desk, database.handle)
    this.#state = state
    this.#snapshotAt = state.sequence
    this.catchUp()
    this.start = { ...start, replayed: state.sequence - start.snapshot }
  }

  /** Opens the desk of a folder: makes or migrates its database, and the state in memory from a snapshot and the events behind it. */
  static async open(dataDir: string, options: DeskOptions): Promise<Desk> {
    const database = await openDatabase(dataDir)
    try {
      const wasRebuilt = areTablesBehind(database.handle)
      if (wasRebuilt) {
        rebuildProjections(database.file)
        // What made the tables another desk's, a restore say, may have done so to the snapshots.
        dropSnapshots(database.handle)
      }
      const state = loadSnapshot(database.handle)
      return new Desk(database, { snapshot: state.sequence, wasRebuilt }, state, options)
    } catch (error) {
      await database.close()
      throw error
    }
  }

  /** What is decided by; up to date with this process, and with others as of {@link catchUp}. */
  get state(): DeskState {
    return this.#state
  }

  /** To read the tables with. */
  get handle(): SqliteHandle {
    return this.#database.handle
  }

  /** The feed of the desk's events. */
  get feed(): Domain<DeskEvent> {
    return this.#database.desk
  }

  get runtime(): Domain {
    return this.#database.runtime
  }

  /**
   * Does what a command asks for: when it resolves, that is on the disk and in the tables. Commands on the same thread
   * are decided one behind the other; what another process did meanwhile is taken in, and the command decided again.
   * Rejects with a `Refusal` if it cannot be done; nothing was written then.
   */
  async dispatch(input: unknown): Promise<Dispatched> {
    const command = parseCommand(input)
    this.catchUp()
    const events = await this.#lanes.enter(laneOf(this.#state, command), () => this.#decide(command))
    return { command, events }
  }

  /** Reads every event and recomputes its checksum: what replay, which reads the view, does not. */
  verifyStored(): Promise<Verification> {
    return this.#database.verify()
  }

  get file(): string {
    return this.#database.file
  }

  /** Takes in what is stored behind the state in memory: what other processes did. */
  catchUp(): void {
    for (const event of this.events.replayFrom(this.#state.sequence)) this.#state.take(event)
  }

  /** Takes a snapshot, and closes the database. */
  async close(): Promise<void> {
    if (this.#state.sequence > this.#snapshotAt) this.#trySnapshot()
    await this.#database.close()
  }

  snapshot(): void {
    this.#snapshotAt = this.#state.sequence
    saveSnapshot(this.handle, this.#state, new Date())
  }

  /** It only makes the next start shorter: nothing that is done already fails with it. */
  #trySnapshot(): void {
    try {
      this.snapshot()
    } catch (error) {
      this.#onError(error)
    }
  }

  async #decide(command: Command): Promise<readonly StoredDeskEvent[]> {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const { events, reads = [], idleProject } = decide(this.#state, command)
      const depends = new Set([...events.map(streamOf), ...reads])
      const expect = new Map([...depends].map((stream) => [stream, this.#state.seqOf(stream)]))
      try {
        const stored = await this.events.appendAll(events, { expect, idleProject })
        this.#take(stored)
        return stored
      } catch (error) {
        this.catchUp()
        if (!isUnderpinError(error, 'conflict')) throw error
      }
    }
    throw new Refusal(
      'unavailable',
      `Other processes changed the same things ${attempts} times`,
      'Try again.',
    )
  }

  /** Events that this process stored: at once if they are the next ones, else with those before them. */
  #take(stored: readonly StoredDeskEvent[]): void {
    if (stored[0]?.sequence === this.#state.sequence + 1) for (const event of stored) this.#state.take(event)
    else if ((stored.at(-1)?.sequence ?? 0) > this.#state.sequence) this.catchUp()
    if (this.#state.sequence - this.#snapshotAt >= this.#snapshotEvery) this.#trySnapshot()
  }
}

/** After a restore from an export, say, or when the database was written by something else than the desk. */
function areTablesBehind(handle: SqliteHandle): boolean {
  const sql =
    'SELECT (SELECT sequence FROM projection_progress) AS have, (SELECT max(sequence) FROM events) AS want'
  const { have, want } = handle.prepare(sql).get() as { have: number; want: number | null }
  return have !== (want ?? 0)
}
