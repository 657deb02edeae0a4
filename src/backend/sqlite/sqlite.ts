/** The SQLite backend: one file, any number of processes. */
import { type Clock, systemClock } from '../../clock.ts'
import { EmbeddedBackend } from '../async.ts'
import type { Supports } from '../backend.ts'
import { borrow, type SqliteHandle } from './driver.ts'
import { adoptHandle, openFile, type SqliteDurability } from './file.ts'
import { parseTarget } from './target.ts'
import { SqliteVerbs } from './verbs.ts'

export { openHandle, type SqliteHandle } from './driver.ts'
export { inspectSqlite, type SqliteInspection } from './inspect.ts'

export interface SqliteOptions {
  /** `durable` (synchronous=FULL) outlives a power failure; `process` (NORMAL) only a crash of the process. */
  readonly durability?: SqliteDurability
  /** Milliseconds between looks for commits of other processes, while somebody watches; 20 if left out. */
  readonly pollMs?: number
  readonly clock?: Clock
}

/**
 * A backend on a SQLite file, by path or URL (`sqlite:./app.db?durability=process`, `sqlite::memory:`), or on a handle
 * of `node:sqlite`, `@photostructure/sqlite` or `better-sqlite3` that the caller opened and will close.
 */
export function sqlite(target: string | SqliteHandle, options: SqliteOptions = {}): SqliteBackend {
  return new SqliteBackend(target, options)
}

export class SqliteBackend extends EmbeddedBackend {
  readonly name: string = 'sqlite'
  readonly supports: Supports
  readonly sync: SqliteVerbs
  readonly #clock: Clock
  readonly #pollMs: number
  #watchers = 0
  #stopPolling: (() => void) | undefined

  constructor(target: string | SqliteHandle, options: SqliteOptions) {
    super()
    const { path, durability } =
      typeof target === 'string'
        ? parseTarget(target, options.durability)
        : { path: undefined, durability: options.durability ?? 'durable' }
    const isMemory = path === ':memory:'
    this.supports = {
      durability: isMemory ? 'none' : durability,
      sync: true,
      shared: !isMemory,
      tables: true,
      watch: 'poll',
      limits: {},
    }
    const connect =
      typeof target === 'string'
        ? () => openFile(path as string, durability)
        : () => adoptHandle(borrow(target), durability)
    this.sync = new SqliteVerbs(
      path ?? 'the SQLite handle',
      connect,
      (domain) => this.heads.moved(domain),
      typeof target !== 'string',
    )
    this.#clock = options.clock ?? systemClock
    this.#pollMs = options.pollMs ?? 20
  }

  protected override watchBegins(): void {
    const seen = this.sync.dataVersion()
    this.#watchers++
    if (this.#watchers === 1) this.#poll(seen)
  }

  protected override watchEnds(): void {
    this.#watchers--
    if (this.#watchers === 0) this.#stopPolling?.()
  }

  /** SQLite tells nobody of another process's commit; its data version is cheap to look at. */
  #poll(seen: number): void {
    this.#stopPolling = this.#clock.timer(this.#pollMs, () => {
      const found = this.#dataVersion()
      if (found !== seen) this.heads.movedAll()
      this.#poll(found)
    })
  }

  /** A failure to look counts as a change: the watcher meets the same failure when it reads the fence, and says so. */
  #dataVersion(): number {
    try {
      return this.sync.dataVersion()
    } catch {
      return Number.NaN
    }
  }

  override async close(): Promise<void> {
    this.#stopPolling?.()
    await super.close()
  }
}
