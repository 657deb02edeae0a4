/** A consumer's turn: its lease, and the checkpoint that moves only together with what was done. */
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Check } from '../../model/check.ts'
import type { Outcome, TableHandler } from '../../model/commit.ts'
import type { Position } from '../../model/position.ts'
import { assertCommitted } from '../draft.ts'
import { type Lease, lostLease } from '../lease.ts'
import type { Port } from '../port.ts'
import {
  type Checkpoint,
  checkpoints,
  checkpointWrites,
  readCheckpoints,
  type StoredCheckpoint,
  type Trouble,
} from './checkpoint.ts'

/** The checkpoint was moved by somebody else (a reset): what was under way has no meaning any more. */
export class Moved extends Error {}

/** What is committed together with the checkpoint. */
export interface Effect {
  readonly writes?: readonly Write[]
  readonly checks?: readonly Check[]
  readonly tables?: TableHandler | undefined
  readonly trouble?: Trouble
}

/** When what was done without a checkpoint gets one: after so many changes, or milliseconds. */
export interface Pace {
  readonly limit: number
  readonly saveEveryMs: number
}

export class Session {
  /** Aborts when the consumer is stopped or its lease is lost. */
  readonly signal: AbortSignal
  readonly #port: Port
  readonly #id: string
  readonly #lease: Lease
  readonly #pace: Pace
  #stored: StoredCheckpoint | undefined
  #position: Position = 0
  #unsaved = 0
  #unsavedSince = 0

  constructor(port: Port, id: string, lease: Lease, stop: AbortSignal, pace: Pace) {
    this.#port = port
    this.#id = id
    this.#lease = lease
    this.#pace = pace
    this.signal = AbortSignal.any([stop, lease.signal])
  }

  /** Everything up to here is done, as far as this process knows. */
  get position(): Position {
    return this.#position
  }

  /** The checkpoint as it was last seen in the store. */
  get stored(): StoredCheckpoint {
    if (this.#stored === undefined) throw new TypeError('The checkpoint was not loaded')
    return this.#stored
  }

  /** Changes that were done since the checkpoint was last saved. */
  get unsaved(): number {
    return this.#unsaved
  }

  /** Milliseconds until what was done must get a checkpoint; undefined if nothing was. */
  get saveInMs(): number | undefined {
    if (this.#unsaved === 0) return undefined
    if (this.#unsaved >= this.#pace.limit) return 0
    return Math.max(0, this.#unsavedSince + this.#pace.saveEveryMs - this.#port.clock.monotonic())
  }

  /** Saves the checkpoint if it is time. */
  async saveWhenDue(): Promise<void> {
    if (this.saveInMs === 0) await this.save(this.#position)
  }

  /** Reads the checkpoint again; true if it was reset, or read for the first time. */
  async load(): Promise<boolean> {
    const [found] = await readCheckpoints(this.#port, [this.#id], { signal: this.signal })
    if (found === undefined) {
      throw new UnderpinError('invalid', `The checkpoint ${this.#id} is gone`, {
        hint: 'Somebody deleted it from $subscriptions. Start the consumer again to begin anew.',
      })
    }
    const isReset = this.#stored?.resets !== found.resets
    this.#stored = found
    if (isReset) this.#forward(found.position)
    return isReset
  }

  /** Whether a change in the feed is somebody else's doing to this checkpoint. */
  isForeign(change: { readonly kind: string; readonly position: Position }): boolean {
    if (change.kind === 'event') return false
    const { collection, id } = change as unknown as { collection: string; id: string }
    return collection === checkpoints && id === this.#id && change.position > this.stored.revision
  }

  /** Goes on behind changes that need no checkpoint of their own, or later: `count` of them were done. */
  done(position: Position, count: number): void {
    if (this.#unsaved === 0) this.#unsavedSince = this.#port.clock.monotonic()
    this.#position = position
    this.#unsaved += count
  }

  /**
   * Commits the checkpoint at `position` together with `effect`, under the lease, all or nothing: it is applied once,
   * also if its outcome is unknown at first. Fails with {@link Moved} after a reset, with `lost-lease`, with `conflict`
   * if a check of the effect failed, or with what the store fails with; then nothing was written.
   */
  async save(position: Position, effect: Effect = {}): Promise<void> {
    for (let triesLeft = 5; ; triesLeft--) {
      const before = this.stored
      const outcome = await this.#commit(position, effect).catch((error: unknown) => {
        if (isUnderpinError(error, 'unknown') && triesLeft > 0 && !this.signal.aborted) return undefined
        throw error
      })
      if (outcome?.kind === 'committed') return this.#saved(position, effect, outcome.positions.at(-1))
      if (outcome !== undefined && !this.#isOvertaken(outcome)) {
        assertCommitted(outcome)
        return
      }
      if ((await this.load()) || this.#hasOther(before, position)) throw new Moved()
      if (this.stored.position >= position && position > before.position) return this.#forward(position)
    }
  }

  #commit(position: Position, { writes = [], checks = [], tables, trouble = undefined }: Effect) {
    const next: Checkpoint = { ...this.stored, position, trouble: trouble ?? null }
    const { write, check } = checkpointWrites(this.#id, this.stored.revision, next)
    return this.#port.commit({
      at: this.#port.clock.now(),
      writes: [...writes, write],
      checks: [...checks, this.#lease.check, check],
      ...(tables === undefined ? {} : { tables }),
    })
  }

  /** Whether the checkpoint is not where it was left, nor where it was to go. */
  #hasOther(before: StoredCheckpoint, position: Position): boolean {
    return this.stored.position !== before.position && this.stored.position !== position
  }

  /** Whether a commit failed only for the checkpoint's revision: it was paused, or a commit of unknown outcome came through. */
  #isOvertaken(outcome: Outcome): boolean {
    if (this.#lease.isRefused(outcome)) throw lostLease(this.#lease.id)
    if (outcome.kind !== 'failed') return false
    return outcome.failed.some(
      (failed) => failed.kind === 'document' && failed.collection === checkpoints && failed.id === this.#id,
    )
  }

  #saved(position: Position, { trouble }: Effect, revision = this.stored.revision): void {
    const at = this.#port.clock.now()
    this.#stored = { ...this.stored, position, trouble: trouble ?? null, revision, at }
    this.#forward(position)
  }

  #forward(position: Position): void {
    this.#position = position
    this.#unsaved = 0
  }
}
